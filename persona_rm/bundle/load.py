"""Read a bundle from its folder, and write one. Errors in a bundle are raised here, before a cluster is started."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.bundle_file import YAML, BundleFile, invalid, members_of, with_format, with_paths
from persona_rm.config import absolute_in, relative_in
from persona_rm.errors import DataError, MemberError
from persona_rm.io.json_rows import JsonRow, need_file, open_atomic
from persona_rm.io.yaml_file import read_yaml
from persona_rm.methods.base import PromptedMethod
from persona_rm.profiles.tombstones import sha256_of
from persona_rm.space import load_space
from persona_rm.types import Persona
from persona_rm.users.users_file import User, checked_users, read_users, user_row


def read_file(folder: str | Path) -> BundleFile:
    """Read only bundle.yaml; its paths become absolute. Raises `DataError` with the file and the key."""
    folder = Path(folder).resolve()
    path = folder / YAML
    if not path.is_file():
        if folder.is_file():
            raise DataError("this is a file, and a bundle is a folder; name the folder", file=folder)
        writes = "`persona-rm bundle USERS --out FOLDER` writes one, as a run of a recipe with a `ppo` section does"
        raise DataError(f"no reward bundle here: {writes}", file=path)
    try:
        content = read_yaml(path)
        file = BundleFile.model_validate(content)
        return BundleFile.model_validate(with_paths(file, absolute_in(folder), folder))
    except ValidationError as error:
        raise invalid(error, path) from error
    except MemberError as error:
        raise DataError(error.problem, file=path, key=error.key) from error


def load_bundle(folder: str | Path) -> Bundle:
    """Read bundle.yaml and users.jsonl, and open the profile store. The models of backends are not loaded yet.

    The users file may be empty if the bundle names a profile store. Raises `DataError` with file, row and key.
    """
    folder, file = Path(folder).resolve(), read_file(folder)
    bundle = Bundle(folder, file, {})
    _check_members(bundle, folder / YAML)
    _ = bundle.store, bundle.fitted
    gone = bundle.tombstones.dates()
    for user in users_in(folder, file):
        # The hash is computed only if it is needed: a million of them take a second.
        if not gone or sha256_of(user.persona.user_id) not in gone:
            bundle.users[user.persona.user_id] = user
    return bundle


def users_in(folder: Path, file: BundleFile) -> Iterator[User]:
    """The users of a bundle's users file (`read_users`). The file may be empty if the bundle names a profile store."""
    path = folder / file.users
    empty = file.profiles is not None and path.is_file() and path.stat().st_size == 0
    return iter(()) if empty else read_users(path, load_space(file.space))


def write_bundle(
    folder: str | Path, users: Iterable[User | Persona], *, relative_to: Path | None = None, **keys: Any
) -> Path:
    """Write a bundle of these users; `keys` are those of `BundleFile`. Returns the folder. The inverse of
    `load_bundle`.

    Relative paths in `keys`, those of "FILE.py:Class" too, are relative to `relative_to`, or to the working directory
    without it. What is in the folder is written relative to it, so that the folder can be moved; other paths are
    written as absolute ones.

    Raises `DataError`, as `load_bundle` would, if a key or a user is wrong; then nothing is written. The profile store
    is opened by `load_bundle` only.
    """
    folder = Path(folder)
    base = (Path.cwd() if relative_to is None else relative_to).resolve()
    try:
        file = BundleFile(**with_paths(BundleFile(**keys), absolute_in(base), base))
        content = with_paths(file, relative_in(folder), folder)
    except ValidationError as error:
        raise invalid(error, folder / YAML) from error
    except MemberError as error:
        raise DataError(error.problem, file=folder / YAML, key=error.key) from error
    bundle = Bundle(folder, file, {})
    _check_members(bundle, folder / YAML)
    _write_users(folder / content.get("users", file.users), users, bundle)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    # Whole or not at all: the first lines of a bundle.yaml are a valid one with other settings.
    with open_atomic(folder / YAML) as stream:
        stream.write(text.encode())
    return folder


def _write_users(path: Path, users: Iterable[User | Persona], bundle: Bundle) -> None:
    """Write the users file, whole or not at all. Raises `DataError` for a user that `read_users` would refuse."""

    def rows() -> Iterator[JsonRow]:
        for number, user in enumerate(users, start=1):
            # Through JSON, because the checks are those of a file: tuples become lists.
            yield JsonRow(json.loads(json.dumps(user_row(user))), str(path), number)

    empty = True
    with open_atomic(path) as stream:
        for user in checked_users(rows(), bundle.space):
            stream.write((json.dumps(user_row(user), ensure_ascii=False) + "\n").encode())
            empty = False
        if empty and bundle.file.profiles is None:
            raise DataError("no users were given, and the bundle names no profile store", file=path)


def _check_members(bundle: Bundle, path: Path) -> None:
    """Check names and configs of the members, the space and the folders, before a cluster is started."""
    file = bundle.file
    for key, zoo, given in members_of(file):
        try:
            cls, _ = zoo.member(given, bundle.folder, key)
        except MemberError as error:
            raise DataError(error.problem, file=path, key=error.key) from error
        if key == "method" and file.policy_prompt == "method" and not issubclass(cls, PromptedMethod):
            problem = f"{given['name']} renders no prompt; name the form of the policy's prompt: pba, ica or plain"
            raise DataError(problem, file=path, key="policy_prompt")
    settings = with_format(file, bundle.folder)
    if (
        settings.chat == "template"
        and file.policy is None
        and file.tokenizer is None
        and settings.policy_prompt == "method"
    ):
        problem = "chat: template needs the template of the policy's tokenizer: name policy or tokenizer (a folder)"
        raise DataError(problem, file=path, key="chat")
    for key in ("method_dir", "inferrer_dir", "policy", "reference", "tokenizer"):
        value = getattr(file, key)
        if value is not None and not bundle.path(value).is_dir():
            raise DataError(f"no such folder: {bundle.path(value)}", file=path, key=key)
    if file.fitted_states is not None:
        need_file(bundle.path(file.fitted_states))
    for dim in file.log_dims or ():
        if dim not in bundle.space.ids:
            raise DataError(f"{dim!r} is no dimension of {bundle.space.name}", file=path, key="log_dims")
    _check_profiles(bundle, path)


def _check_profiles(bundle: Bundle, path: Path) -> None:
    """Check that the inferrer can use its folder and a store of states."""
    file, inferrer = bundle.file, bundle.inferrer
    if file.inferrer_dir is not None and inferrer is None:
        raise DataError("inferrer is null, so this folder is not used", file=path, key="inferrer_dir")
    if file.profiles is not None and (inferrer is None or inferrer.stateful() is None):
        found = repr(inferrer.name) if inferrer is not None else "null"
        problem = f"a store needs an inferrer with states, such as 'posterior', this bundle's is {found}: name one"
        raise DataError(problem, file=path, key="profiles")
