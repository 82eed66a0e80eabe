"""Reads a bundle from its folder, and writes it. Its faults are reported here, before a cluster is started."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from persona_rm.annotators import ANNOTATORS
from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.bundle_file import YAML, BundleFile, invalid
from persona_rm.errors import DataError, MemberError
from persona_rm.inferrers import INFERRERS
from persona_rm.io.json_rows import open_atomic
from persona_rm.methods import METHODS
from persona_rm.space import load_space
from persona_rm.types import Persona
from persona_rm.users.users_file import User, read_users, user_row


def read_file(folder: str | Path) -> BundleFile:
    """bundle.yaml alone. Raises `DataError` naming file and key."""
    path = Path(folder).resolve() / YAML
    if not path.is_file():
        raise DataError(
            "no reward bundle here: `persona-rm run` of a recipe with a `ppo` section writes one", file=path
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return BundleFile.model_validate(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"not YAML: {error}", file=path) from error
    except ValidationError as error:
        raise invalid(error, path) from error


def load_bundle(folder: str | Path) -> Bundle:
    """Read bundle.yaml and users.jsonl, and open the profile store. Models of backends are not opened yet.

    The users file may be empty if a store has the users. Raises `DataError` naming file, row and key.
    """
    folder, file = Path(folder).resolve(), read_file(folder)
    bundle = Bundle(folder, file, {})
    _check_members(bundle, folder / YAML)
    bundle.users = {user.persona.user_id: user for user in users_in(folder, file)}
    return bundle


def users_in(folder: Path, file: BundleFile) -> Iterator[User]:
    """The users of a bundle's users file, as `read_users`; it may be empty if a store has the users."""
    path = folder / file.users
    no_users = file.profiles is not None and path.is_file() and path.stat().st_size == 0
    return iter(()) if no_users else read_users(path, load_space(file.space))


def write_bundle(folder: str | Path, users: Iterable[User | Persona], **keys: Any) -> Path:
    """Write a bundle of these users; `keys` are those of `BundleFile`. Returns the folder. The inverse of
    `load_bundle`."""
    folder = Path(folder)
    try:
        file = BundleFile(**keys)
    except ValidationError as error:
        raise invalid(error, folder / YAML) from error
    with open_atomic(folder / file.users) as stream:
        for user in users:
            stream.write((json.dumps(user_row(user), ensure_ascii=False) + "\n").encode())
    text = yaml.safe_dump(file.model_dump(exclude_unset=True), sort_keys=False, allow_unicode=True)
    (folder / YAML).write_text(text, encoding="utf-8")
    return folder


def _check_members(bundle: Bundle, path: Path) -> None:
    """Check names and configs of the members, the space and the folders, before a cluster is started."""
    file = bundle.file
    members = (
        (METHODS, file.method, "method"),
        (INFERRERS, file.inferrer, "inferrer"),
        (ANNOTATORS, file.annotator, "annotator"),
        (METHODS, file.universal.method if file.universal else None, "universal.method"),
        (METHODS, file.safety.method if file.safety else None, "safety.method"),
    )
    for zoo, given, key in members:
        try:
            if given is not None:
                zoo.member(given, bundle.folder, key)
        except MemberError as error:
            raise DataError(error.problem, file=path, key=error.key) from error
    for key in ("method_dir", "inferrer_dir", "policy", "reference"):
        value = getattr(file, key)
        if value is not None and not bundle.path(value).is_dir():
            raise DataError(f"no such folder: {bundle.path(value)}", file=path, key=key)
    for dim in file.log_dims or ():
        if dim not in bundle.space.ids:
            raise DataError(f"{dim!r} is no dimension of {bundle.space.name}", file=path, key="log_dims")
    _check_profiles(bundle, path)


def _check_profiles(bundle: Bundle, path: Path) -> None:
    """Check the folder of the inferrer, and the store of its states."""
    file, inferrer = bundle.file, bundle.inferrer
    if file.inferrer_dir is not None and inferrer is None:
        raise DataError("inferrer is null, so this folder is not used", file=path, key="inferrer_dir")
    if file.profiles is not None and (inferrer is None or inferrer.stateful() is None):
        found = repr(inferrer.name) if inferrer is not None else "null"
        problem = f"a store needs an inferrer with states, such as 'posterior', this bundle's is {found}: name one"
        raise DataError(problem, file=path, key="profiles")
    _ = bundle.store
