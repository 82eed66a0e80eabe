"""bundle.yaml: the parts of a bundle, and its zoo members by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from persona_rm.backends.logprob.transformers_logprob import Dtype, TransformersOptions
from persona_rm.backends.logprob.vllm_logprob import VllmOptions
from persona_rm.bundle.postprocess_config import GroupConfig, PostprocessConfig
from persona_rm.config import Config, explain, problems
from persona_rm.errors import DataError
from persona_rm.registry import Member

YAML = "bundle.yaml"
OPTIONS: Mapping[str, type[TransformersOptions | VllmOptions]] = {
    "transformers": TransformersOptions,
    "vllm": VllmOptions,
}
PolicyPrompt = Literal["pba", "ica", "plain"]


class RewardModelSpec(Config):
    """A second reward model, the same for all users: it scores with its prior state."""

    method: Member
    method_dir: str | None = None
    """The folder of its fitted parameters (`Method.save`)."""


class BundleFile(Config):
    """bundle.yaml. `policy` and `reference` are model folders for methods that score by log-probability."""

    method: Member
    space: str = "alignx90"
    method_dir: str | None = None
    policy: str | None = None
    reference: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    """The engine that computes log-probabilities under `policy` and `reference`."""
    engine_options: TransformersOptions | VllmOptions = Field(default_factory=dict, validate_default=True)
    """The options of that engine."""
    prompts: str = "released"
    inferrer: Member | None = Field(default_factory=lambda: {"name": "posterior"})
    """Infers directions for users without any in the users file; None if the method reads the items itself (ICA)."""
    inferrer_dir: str | None = None
    """The folder of its fitted parameters and config (`Inferrer.save`); None: an inferrer that is not fitted."""
    profiles: str | None = None
    """The profile store (`persona_rm.profiles.open_store`). A state in the store has priority over the users file."""
    refresh: float = Field(60, ge=0)
    """Seconds after which a user's state is read from the store again."""
    annotator: Member | None = None
    users: str = "users.jsonl"
    policy_prompt: PolicyPrompt = "pba"
    """The format in which `agent_func.py` puts the user into the policy's prompt."""
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


def invalid(error: ValidationError, path: Path) -> DataError:
    """The first problem that pydantic found in bundle.yaml, with its key."""
    first = problems(error, BundleFile)[0]
    return DataError(first.text, file=path, key=first.key or None)
