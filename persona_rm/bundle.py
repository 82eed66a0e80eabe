"""A reward bundle: one folder with all that a training job needs to give each person their own reward.

    bundle.yaml    space, method (name and config), models, prompts, inferrer, annotator: see `BundleFile`
    users.jsonl    one person per line: user_id, ugc, pairs, demo, directions (or null), group
    method/        what a method learned (`Method.save`), where it learns

Paths inside bundle.yaml are absolute or relative to the folder. A reward actor loads it and asks for states and
scores.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.encoder import MiniLM
from persona_rm.backends.logprob import Dtype, TransformersLogProb
from persona_rm.config import Config
from persona_rm.errors import DataError, UnknownName
from persona_rm.inferrers import INFERRERS
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.prompts import PromptFormat, load_prompts
from persona_rm.registry import Registry
from persona_rm.rows import Row, open_atomic, read_rows
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Directions, Pair, Persona, Score, ScoreRequest, Ugc, UserState

Member = Mapping[str, Any]
"""A zoo member: its `name`, and beside it the keys of its config."""
PolicyPrompt = Literal["pba", "ica", "plain"]
NO_GROUP = "all"


class BundleFile(Config):
    """bundle.yaml. `policy` and `reference` are model folders for methods that score by log-probability."""

    method: dict[str, Any]
    space: str = "alignx90"
    method_dir: str | None = None
    policy: str | None = None
    reference: str | None = None
    prompts: str = "released"
    inferrer: dict[str, Any] | None = Field(default_factory=lambda: {"name": "vote"})
    """Gives directions to people who have none; None where the method reads the items themselves (ICA)."""
    annotator: dict[str, Any] | None = None
    users: str = "users.jsonl"
    policy_prompt: PolicyPrompt = "pba"
    """How `agent_func.py` puts the person into the policy's prompt."""
    log_dims: list[str] | None = None
    """The dimensions whose share of the reward is logged; None: the most common among the users."""
    device: str = "auto"
    dtype: Dtype = "float32"
    states: int = 4096
    """Adapted states kept in memory; the oldest leave first and are adapted again when needed."""


@dataclass(frozen=True, slots=True)
class User:
    """One line of users.jsonl: the evidence, and the group whose curve this person counts in."""

    persona: Persona
    group: str = NO_GROUP


class Bundle:
    """A loaded bundle. Models and states come when they are first needed. One thread at a time."""

    def __init__(self, folder: Path, file: BundleFile, users: Mapping[str, User]) -> None:
        self.folder, self.file, self.users = folder, file, users
        self._states: OrderedDict[str, UserState] = OrderedDict()

    @cached_property
    def space(self) -> PreferenceSpace:
        """The preference space."""
        return load_space(self.file.space)

    @cached_property
    def prompts(self) -> PromptFormat:
        """The format in which the policy reads a person."""
        return load_prompts(self.file.prompts)

    @cached_property
    def method(self) -> Method:
        """The reward method, loaded from `method_dir` where it learned something."""
        cls, config = _member(METHODS, self.file.method, self.folder / "bundle.yaml", "method")
        if self.file.method_dir is not None:
            learned: Method = cls.load(self.path(self.file.method_dir), self.space, self._backends)
            return learned
        method: Method = cls(config, self.space, self._backends)
        return method

    @cached_property
    def groups(self) -> list[str]:
        """The users' groups, sorted."""
        return sorted({user.group for user in self.users.values()})

    @cached_property
    def log_dims(self) -> list[str]:
        """At most 16 dimensions: `log_dims` of the file, or those that most users have a direction on."""
        if self.file.log_dims is not None:
            return self.file.log_dims
        given = [user.persona.directions for user in self.users.values() if user.persona.directions]
        counts = Counter(i for directions in given for i, d in enumerate(directions) if d)
        return [self.space.ids[i] for i, _ in counts.most_common(16)]

    def path(self, text: str) -> Path:
        """A path of bundle.yaml."""
        return self.folder / Path(text).expanduser()

    def state(self, user_id: str | None) -> tuple[UserState, bool]:
        """The person's state and whether they are known; nobody, and a stranger, get the method's prior."""
        user = self.users.get(user_id) if user_id is not None else None
        if user is None or user_id is None:
            return self.method.prior(), False
        if user_id not in self._states:
            self._states[user_id] = self.method.adapt(self.persona(user_id))
            while len(self._states) > self.file.states:
                self._states.popitem(last=False)
        self._states.move_to_end(user_id)
        return self._states[user_id], True

    def persona(self, user_id: str) -> Persona:
        """The person with directions: their own, or the inferrer's."""
        persona = self.users[user_id].persona
        if persona.directions is None and self._inferrer is not None:
            return persona.with_directions(self._inferrer.infer(persona).directions)
        return persona

    def directions(self, user_id: str | None) -> Directions | None:
        """The person's directions; None for a stranger and where nothing could be inferred."""
        return self.persona(user_id).directions if user_id in self.users and user_id is not None else None

    def profile(self, user_id: str | None) -> str:
        """The directions in words, "" for a stranger."""
        directions = self.directions(user_id)
        return self.space.describe(directions) if directions else ""

    def render(self, user_id: str | None, prompt: str) -> str:
        """`prompt` as the policy reads it from this person; a stranger's is the plain format."""
        if user_id is None or user_id not in self.users or self.file.policy_prompt == "plain":
            return self.prompts.plain(prompt)
        if self.file.policy_prompt == "ica":
            return self.prompts.ica(self.persona(user_id), prompt)
        return self.prompts.pba(self.profile(user_id), prompt)

    def score(self, items: Sequence[tuple[str | None, str, str]]) -> list[Score]:
        """(user, prompt, response) rows -> one `Score` each, in one call of the method. Raises `ScoreError`."""
        states = [self.state(user)[0] for user, _, _ in items]
        rows = zip(states, items, strict=True)
        return self.method.score([ScoreRequest(state, prompt, (response,)) for state, (_, prompt, response) in rows])

    @cached_property
    def _inferrer(self) -> Any:
        if self.file.inferrer is None:
            return None
        cls, config = _member(INFERRERS, self.file.inferrer, self.folder / "bundle.yaml", "inferrer")
        return cls(config, self.space)

    @cached_property
    def _backends(self) -> Backends:
        encoder, reader, logprob = MiniLM(), None, None
        if self.file.annotator is not None:
            cls, config = _member(ANNOTATORS, self.file.annotator, self.folder / "bundle.yaml", "annotator")
            reader = cls(config, self.space, Backends(encoder=encoder))
        if self.file.policy is not None:
            reference = str(self.path(self.file.reference)) if self.file.reference else None
            policy = str(self.path(self.file.policy))
            logprob = TransformersLogProb(policy, reference, device=self.file.device, dtype=self.file.dtype)
        return Backends(encoder=encoder, reader=reader, logprob=logprob)


def load_bundle(folder: str | Path) -> Bundle:
    """Read bundle.yaml and users.jsonl. Raises `DataError` naming file, row and key; models are not opened yet."""
    folder = Path(folder).resolve()
    path = folder / "bundle.yaml"
    if not path.is_file():
        raise DataError(
            "no reward bundle here: `persona-rm run` of a recipe with a `ppo` section writes one", file=path
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = BundleFile.model_validate(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"not YAML: {error}", file=path) from error
    except ValidationError as error:
        raise _invalid(error, path, BundleFile) from error
    bundle = Bundle(folder, file, {})
    _check_members(bundle, path)
    bundle.users = {u.persona.user_id: u for u in read_users(folder / file.users, bundle.space)}
    return bundle


def write_bundle(folder: str | Path, users: Iterable[User | Persona], **keys: Any) -> Path:
    """Write a bundle of these people; `keys` are those of `BundleFile`. Returns the folder. The inverse of
    `load_bundle`."""
    folder = Path(folder)
    try:
        file = BundleFile(**keys)
    except ValidationError as error:
        raise _invalid(error, folder / "bundle.yaml", BundleFile) from error
    with open_atomic(folder / file.users) as stream:
        for user in users:
            stream.write((json.dumps(_user_row(user), ensure_ascii=False) + "\n").encode())
    text = yaml.safe_dump(file.model_dump(exclude_unset=True), sort_keys=False, allow_unicode=True)
    (folder / "bundle.yaml").write_text(text, encoding="utf-8")
    return folder


def read_users(path: Path, space: PreferenceSpace) -> Iterator[User]:
    """The people of a users file. Raises `DataError` at the first row that is not one, or comes twice."""
    seen: dict[str, int] = {}
    for row in read_rows(path):
        user = _user(row, space)
        first = seen.setdefault(user.persona.user_id, row.number)
        if first != row.number:
            raise row.error(f"user {user.persona.user_id!r} is already in row {first}", "user_id")
        yield user


_USER_KEYS = {"user_id", "ugc", "pairs", "demo", "directions", "group"}


def _user(row: Row, space: PreferenceSpace) -> User:
    for key in row.data.keys() - _USER_KEYS:
        raise row.error(f"unknown key; a person has: {', '.join(sorted(_USER_KEYS))}", key)
    ugc = tuple(
        Ugc(r.text("prompt"), r.text("comment"), _directions(r, space), r.nullable("created", str))
        for r in row.children("ugc")
    )
    pairs = tuple(
        Pair(r.text("prompt"), r.text("chosen"), r.text("rejected"), _directions(r, space), r.nullable("created", str))
        for r in row.children("pairs")
    )
    persona = Persona(row.text("user_id"), ugc, pairs, row.nullable("demo", str) or "", _directions(row, space))
    return User(persona, row.nullable("group", str) or NO_GROUP)


def _directions(row: Row, space: PreferenceSpace) -> Directions | None:
    values = row.nullable("directions", list)
    if values is None:
        return None
    if len(values) != len(space):
        raise row.error(f"{len(values)} directions; the space {space.name} has {len(space)}", "directions")
    for value in values:
        if isinstance(value, bool) or value not in (-1, 0, 1):
            raise row.error(f"a direction is -1, 0 or 1, found {value!r}", "directions")
    return tuple(int(value) for value in values)


def _user_row(user: User | Persona) -> dict[str, Any]:
    user = user if isinstance(user, User) else User(user)
    return {**asdict(user.persona), "group": user.group}


def _check_members(bundle: Bundle, path: Path) -> None:
    """Names and configs of the members, the space and the folders, before a cluster is taken."""
    file = bundle.file
    _member(METHODS, file.method, path, "method")
    if file.inferrer is not None:
        _member(INFERRERS, file.inferrer, path, "inferrer")
    if file.annotator is not None:
        _member(ANNOTATORS, file.annotator, path, "annotator")
    for key in ("method_dir", "policy", "reference"):
        value = getattr(file, key)
        if value is not None and not bundle.path(value).is_dir():
            raise DataError(f"no such folder: {bundle.path(value)}", file=path, key=key)
    for dim in file.log_dims or ():
        if dim not in bundle.space.ids:
            raise DataError(f"{dim!r} is no dimension of {bundle.space.name}", file=path, key="log_dims")


def _member(zoo: Registry, given: Member, path: Path, key: str) -> tuple[Any, Any]:
    """The class of a member and its config. Raises `DataError` naming the key."""
    config = {k: v for k, v in given.items() if k != "name"}
    name = given.get("name")
    try:
        cls = zoo.load(str(name))
        return cls, cls.Config(**config)
    except UnknownName as error:
        raise DataError(str(error), file=path, key=key) from error
    except ValidationError as error:
        raise _invalid(error, path, cls.Config, key) from error


def _invalid(error: ValidationError, path: Path, model: type[Config], *inside: str) -> DataError:
    """The first fault that pydantic found, with its key and the keys that there are."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in (*inside, *first["loc"]))
    return DataError(f"{first['msg']}; keys are: {', '.join(model.model_fields)}", file=path, key=key or None)
