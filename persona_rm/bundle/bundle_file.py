"""bundle.yaml: the parts of a bundle, and its zoo members by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.logprob.transformers_logprob import Dtype, TransformersOptions
from persona_rm.backends.logprob.vllm_logprob import VllmOptions
from persona_rm.bundle.postprocess_config import GroupConfig, PostprocessConfig
from persona_rm.bundle.text_limits import TextLimits
from persona_rm.config import Config, NameOrPath, PathChange, PathMark, PathText, explain, map_paths, problems
from persona_rm.errors import DataError, MemberError
from persona_rm.inferrers import INFERRERS
from persona_rm.methods import METHODS
from persona_rm.methods.base import PromptedMethod
from persona_rm.prompts import Chat
from persona_rm.registry import Member, Registry

YAML, ERASED = "bundle.yaml", "erased.jsonl"
"""Files of a bundle: what it consists of, and the tombstones of the users who were erased from it."""
OPTIONS: Mapping[str, type[TransformersOptions | VllmOptions]] = {
    "transformers": TransformersOptions,
    "vllm": VllmOptions,
}
FILE_STORES = ("arrow", "sqlite")
"""Profile stores whose URL holds the path of a file."""
PolicyPrompt = Literal["method", "pba", "ica", "plain"]
"""How the user appears in the policy's prompt: `method`: as the reward method renders the prompt; `pba`: by the
directions in words; `ica`: by the items; `plain`: not at all."""


def path_in(folder: Path, text: str) -> Path:
    """A path in the bundle.yaml of this folder, which may be relative to it."""
    return folder / Path(text).expanduser()


class RewardModelSpec(Config):
    """A reward model beside the method, the same for all users: it scores with its prior state."""

    method: Member
    method_dir: PathText | None = None
    """The folder of its fitted parameters (`Method.save`)."""


class BundleFile(Config):
    """bundle.yaml. `policy` and `reference` are model folders for methods that score by log-probability.

    Every path is relative to the folder of the bundle, so that the folder can be moved with everything in it.
    """

    method: Member
    space: NameOrPath = "alignx90"
    method_dir: PathText | None = None
    policy: PathText | None = None
    reference: PathText | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    """The engine that computes log-probabilities under `policy` and `reference`."""
    engine_options: TransformersOptions | VllmOptions = Field(default_factory=dict, validate_default=True)
    """The options of that engine."""
    tokenizer: PathText | None = None
    """A folder with the tokenizer of the policy that is trained, if `policy` is none or has another one. It says which
    prompts arrive rendered, where an answer ends, and what the chat template is."""
    prompts: NameOrPath | None = None
    """The prompt format. None: the one that the method names, else `released`. A method that names none takes it."""
    chat: Chat | None = None
    """How the prompt is put into turns, as in a format. None: as the method says, else as the format does. If a method
    without a prompt of its own names none either, a prompt of messages becomes the policy's prompt by its template."""
    inferrer: Member | None = Field(default_factory=lambda: {"name": "posterior"})
    """Infers directions for users without any in the users file; None if the method reads the items itself (ICA)."""
    inferrer_dir: PathText | None = None
    """The folder of its fitted parameters and config (`Inferrer.save`); None: an inferrer that is not fitted."""
    profiles: str | None = None
    """The profile store (`persona_rm.profiles.open_store`). A state in the store has priority over the users file."""
    refresh: float = Field(60, ge=0)
    """Seconds after which a user's state is read from the store again."""
    annotator: Member | None = None
    users: PathText = "users.jsonl"
    fitted_states: PathText | None = None
    """An Arrow snapshot of the method's user states, fitted before: these users need no texts in the users file. A
    state in the profile store has priority."""
    log_users: Literal["hashed", "plain"] = "hashed"
    """How logs write user ids: as hashes under a key that is kept beside the logs, or as they are."""
    policy_prompt: PolicyPrompt | None = None
    """None: `method` for a method that renders prompts, else `pba`."""
    strip_think: bool = False
    """Score responses without `<think>...</think>`. Of a response that was cut inside it nothing is left to score."""
    limits: TextLimits = TextLimits()
    """How long the texts of a request may be."""
    log_dims: list[str] | None = None
    """The dimensions whose part of the reward is logged; None: the most common ones among the users."""
    postprocess: PostprocessConfig = PostprocessConfig()
    """The post-processing of the rewards of the method."""
    groups: GroupConfig | None = None
    """How all samples of a prompt are rewarded together; None: each sample is rewarded on its own."""
    universal: RewardModelSpec | None = None
    """The model for `postprocess.mix`, and for a `postprocess.floor` by the universal model."""
    safety: RewardModelSpec | None = None
    """The model for `postprocess.floor`."""
    device: str = "auto"
    dtype: Dtype = "float32"
    states: int = 4096
    """Maximum number of user states in memory. The least recently used one is dropped and computed again if needed."""

    @field_validator("engine_options", mode="before")
    @classmethod
    def _of_the_engine(cls, given: Any, info: ValidationInfo) -> Any:
        """Validate the options against the engine that the bundle names."""
        engine = info.data.get("engine")
        if engine is None or isinstance(given, OPTIONS[engine]):
            return given
        try:
            return OPTIONS[engine].model_validate(given)
        except ValidationError as error:
            raise ValueError(f"engine {engine}: {explain(error, OPTIONS[engine])}") from error


def with_format(file: BundleFile, folder: Path) -> BundleFile:
    """The file with one prompt format for method and policy: each names it, or takes it from the other.

    Raises `MemberError` if the method has no such name or settings, and `DataError` if both name different formats:
    reward and policy would read different prompts.
    """
    cls, _ = METHODS.member(file.method, folder, "method")
    method, given = dict(file.method), dict[str, Any]()
    for key in ("prompts", "chat") if {"prompts", "chat"} <= cls.Config.model_fields.keys() else ():
        ours, own = getattr(file, key), method.get(key)
        if ours is not None and own is not None and not _same_format(ours, own, folder):
            problem = f"the method has {key} {own!r} and the bundle {ours!r}: name it once, the policy reads the same"
            raise DataError(problem, file=folder / YAML, key=key)
        if (value := own if ours is None else ours) is not None:
            method[key] = given[key] = value
    prompt = file.policy_prompt or ("method" if issubclass(cls, PromptedMethod) else "pba")
    return file.model_copy(update={**given, "method": method, "policy_prompt": prompt})


def _same_format(one: str, other: str, folder: Path) -> bool:
    return one == other or folder / one == folder / other


def invalid(error: ValidationError, path: Path) -> DataError:
    """The first problem that pydantic found in bundle.yaml, with its key."""
    first = problems(error, BundleFile)[0]
    return DataError(first.text, file=path, key=first.key or None)


def members_of(file: BundleFile) -> list[tuple[str, Registry, dict[str, Any]]]:
    """The members that a bundle names: key, zoo and settings of each."""
    named: list[tuple[str, Registry, dict[str, Any] | None]] = [
        ("method", METHODS, file.method),
        ("inferrer", INFERRERS, file.inferrer),
        ("annotator", ANNOTATORS, file.annotator),
        ("universal.method", METHODS, file.universal.method if file.universal else None),
        ("safety.method", METHODS, file.safety.method if file.safety else None),
    ]
    return [(key, zoo, given) for key, zoo, given in named if given is not None]


def with_paths(file: BundleFile, change: PathChange, folder: Path) -> dict[str, Any]:
    """bundle.yaml as it is written, with `change` applied to all its paths. Raises `MemberError`."""
    changed = map_paths(BundleFile, file.model_dump(mode="json", exclude_unset=True), change)
    for key, zoo, given in members_of(file):
        section, _, inner = key.partition(".")
        if section in changed:
            target = changed[section] if inner else changed
            try:
                target[inner or section] = zoo.map_paths(given, change, folder)
            except MemberError as error:
                raise MemberError(error.problem, key) from error
    scheme, colon, path = (file.profiles or "").partition(":")
    if file.profiles and not colon:
        changed["profiles"] = change(file.profiles, PathMark())
    elif scheme in FILE_STORES and path and not path.startswith("//"):
        changed["profiles"] = f"{scheme}:{change(path, PathMark())}"
    return changed
