"""bundle.yaml: what a bundle consists of, and its members by name."""

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
    """A reward model beside the method, the same for all users: it is asked with its prior state."""

    method: Member
    method_dir: str | None = None
    """The folder of what it learned (`Method.save`)."""


class BundleFile(Config):
    """bundle.yaml. `policy` and `reference` are model folders for methods that score by log-probability."""

    method: Member
    space: str = "alignx90"
    method_dir: str | None = None
    policy: str | None = None
    reference: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    """What computes log-probabilities under `policy` and `reference`."""
    engine_options: TransformersOptions | VllmOptions = Field(default_factory=dict, validate_default=True)
    """The options of that engine."""
    prompts: str = "released"
    inferrer: Member | None = Field(default_factory=lambda: {"name": "posterior"})
    """Gives directions to users who have none; None if the method reads the items themselves (ICA)."""
    inferrer_dir: str | None = None
    """What the inferrer learned (`Inferrer.save`), with its config. Without it the inferrer is not fitted."""
    profiles: str | None = None
    """The store of user states (`persona_rm.profiles.open_store`). States there win over the users file."""
    refresh: float = Field(60, ge=0)
    """Seconds after which a user's state is looked up in the store again."""
    annotator: Member | None = None
    users: str = "users.jsonl"
    policy_prompt: PolicyPrompt = "pba"
    """How `agent_func.py` puts the user into the policy's prompt."""
    log_dims: list[str] | None = None
    """The dimensions whose share of the reward is logged; None: the most common among the users."""
    postprocess: PostprocessConfig = PostprocessConfig()
    """What happens to a reward after the method gave it."""
    groups: GroupConfig | None = None
    """Rewards of all samples of a prompt together; None: each on its own."""
    universal: RewardModelSpec | None = None
    """For `postprocess.mix` and a floor by the universal model."""
    safety: RewardModelSpec | None = None
    """For `postprocess.floor`."""
    device: str = "auto"
    dtype: Dtype = "float32"
    states: int = 4096
    """Users kept in memory, with their states; the oldest leave first and are read and adapted again when needed."""

    @field_validator("engine_options", mode="before")
    @classmethod
    def _of_the_engine(cls, given: Any, info: ValidationInfo) -> Any:
        """The options of the engine that the bundle names, and of no other."""
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
