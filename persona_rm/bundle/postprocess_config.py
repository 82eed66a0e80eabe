"""The options of reward post-processing, and of groups whose responses are rewarded together.

Every option is off by default. The scores and rewards in these options are at most 1e6 in size,
because they are written by hand.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from persona_rm.config import Config
from persona_rm.errors import RecipeError

Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Unit = Literal["tokens", "characters"]
Fallback = Literal["partial", "single", "fail"]
GroupScale = Literal["none", "centred", "standardised", "ranked"]
LARGEST = 1e100
"""Larger numbers are rejected like infinite ones, because their squares would be infinite."""
NOT_SHARED = (
    "each reward actor keeps its own running statistics. A user's own are whole, because one actor serves the user; "
    "those of a group and of all users cover the users of that actor only"
)
"""What post-processing by running statistics means in a pool of several actors."""


class Shrinkage(Config):
    """Shrinkage: the reward is changed less by a user about whom little is known.

    std    r - c x std, the lower confidence bound of Coste et al. (2023, arXiv 2310.02743) with the standard
           deviation instead of the variance, so that c has no unit. Every score needs `std`.
    items  r_prior + (r - r_prior) x n / (n + k), where n is the number of items of evidence behind the state; at
           n = k the reward is halfway between the two. Every sample needs n and the prior's reward.
    either std if the method gives one, else items.
    """

    by: Literal["either", "std", "items"] = "either"
    c: Positive = 1.0
    k: float = Field(8.0, gt=0, le=1e6)


class Mix(Config):
    """The reward is (1 - weight) x the user's reward + weight x the universal model's score."""

    weight: float = Field(ge=0, le=1)
    standardise: bool = False
    """Standardise the universal score too, over all samples, before it is mixed; else it keeps its own scale."""


class Length(Config):
    """A penalty of `coefficient` for each token (or character) of the response beyond the first `free` ones."""

    coefficient: Positive
    free: int = Field(0, ge=0)
    unit: Unit = "tokens"


class Floor(Config):
    """If the model's own score of the response is less than `below`, the reward is at most `reward`."""

    below: Number
    reward: Number
    by: Literal["safety", "universal"] = "safety"
    """The model of the score: the safety model, or the universal model of `mix`."""


class PostprocessConfig(Config):
    """The steps of post-processing, applied in the order of the fields `shrinkage` to `floor`. `monitor` only logs."""

    shrinkage: Shrinkage | None = None
    standardise: Literal["none", "user", "group", "all"] = "none"
    """Subtract the running mean and divide by the running standard deviation of the user, of the group, or of all."""
    minimum: int = Field(16, ge=2)
    """Minimum number of samples. A user (or group) with fewer is standardised by the statistics of all samples. While
    there are fewer samples in all, rewards stay as they are."""
    pooling: Positive = 16.0
    """How many samples the mean and variance of all samples count for in those of one user (or group)."""
    memory: int | None = Field(None, ge=2)
    """After this many samples each new one has the weight 1 / memory, so older ones fade; None: equal weights."""
    users: int = Field(10_000, gt=0)
    """Maximum number of users (or groups) with statistics. The least recently seen one is dropped first."""
    mix: Mix | None = None
    clip: tuple[Number, Number] | None = None
    """[low, high]."""
    length: Length | None = None
    cut_penalty: Positive = 0.0
    """Subtracted from the reward of a response that was cut at a length limit instead of ending by itself."""
    floor: Floor | None = None
    monitor: bool = False
    """Log how much of the reward is agreement with the user, and how far users drift from the population."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}: the first number is below the second")
        if self.mix is not None and self.mix.standardise and self.standardise == "none":
            raise ValueError(
                "mix.standardise needs standardise (user, group or all): both rewards or the scales differ"
            )
        return self

    @property
    def on(self) -> bool:
        """True if any option is on."""
        steps = (self.shrinkage, self.mix, self.clip, self.length, self.floor)
        others = self.monitor or self.standardise != "none" or self.cut_penalty > 0
        return others or any(step is not None for step in steps)

    @property
    def keeps_statistics(self) -> bool:
        """True if a step reads running statistics of the samples before."""
        return self.monitor or self.standardise != "none" or (self.mix is not None and self.mix.standardise)

    @property
    def needs_std(self) -> bool:
        """True if every score of the method must have `std`."""
        return self.shrinkage is not None and self.shrinkage.by == "std"

    @property
    def needs_prior(self) -> bool:
        """True if the reward of the response for the method's prior state is needed. `shrinkage.by: either` alone
        needs it only if the method gives no `std`."""
        return self.monitor or (self.shrinkage is not None and self.shrinkage.by != "std")

    @property
    def needs_universal(self) -> bool:
        """True if the universal model's score of the response is needed."""
        return self.mix is not None or (self.floor is not None and self.floor.by == "universal")

    @property
    def needs_safety(self) -> bool:
        """True if the safety model's score of the response is needed."""
        return self.floor is not None and self.floor.by == "safety"

    @property
    def needs_length(self) -> Unit | None:
        """The unit in which the length of the response is needed; None if it is not needed."""
        return self.length.unit if self.length is not None else None

    def check(self, *, universal: bool, safety: bool, tokens: bool, std: bool) -> None:
        """Compare what the bundle has with what the options need. Raises `RecipeError` with what is missing."""
        lacking = {
            "a universal model": self.needs_universal and not universal,
            "a safety model": self.needs_safety and not safety,
            "a tokenizer": self.needs_length == "tokens" and not tokens,
            "a std (groups have none)": self.needs_std and not std,
        }
        if missing := [name for name, lacks in lacking.items() if lacks]:
            raise RecipeError(
                f"postprocess needs {' and '.join(missing)}, and there is none: name it or turn this off"
            )


class GroupConfig(Config):
    """How all samples of a prompt are rewarded together."""

    size: int = Field(ge=2)
    """The number of samples of a prompt, which is the host's n_samples_per_prompt."""
    listwise: bool = False
    """Reward a response by the share of the others that it beats (`Method.compare`), for methods without a scalar."""
    normalise: GroupScale = "none"
    wait: float = Field(60.0, gt=0, allow_inf_nan=False)
    """Timeout in seconds from the first sample of a group, after which `fallback` applies."""
    fallback: Fallback = "fail"
    """partial: score the samples that arrived as a group; single: score each one alone; fail: give no reward."""
    max_groups: int = Field(1024, gt=0)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.fallback == "single" and (self.listwise or self.normalise != "none"):
            raise ValueError("a sample alone has no rank and no spread: with listwise or normalise, "
                             "fallback is partial or fail")  # fmt: skip
        return self

    @property
    def least(self) -> int:
        """Minimum group size. A comparison or normalisation needs at least two samples."""
        return 2 if self.listwise or self.normalise != "none" else 1
