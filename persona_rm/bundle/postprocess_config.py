"""The options of reward post-processing, and of groups whose responses are rewarded together.

Every option is off by default. Scores and rewards are at most 1e6 in size here: they are typed by hand.
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
"""Larger numbers are refused as infinite ones are: their squares would be infinite."""


class Shrinkage(Config):
    """Shrinking if little is known about a user.

    std    r - c x std, the lower confidence bound of Coste et al. (2023, arXiv 2310.02743) with the standard
           deviation instead of the variance, so that c has no unit. Every score needs `std`.
    items  r_prior + (r - r_prior) x n / (n + k), n the items of evidence behind the state: at n = k half of the way.
           Every sample needs n and the prior's reward.
    either std if the method gives one, else items.
    """

    by: Literal["either", "std", "items"] = "either"
    c: Positive = 1.0
    k: float = Field(8.0, gt=0, le=1e6)


class Mix(Config):
    """(1 - weight) x the user's reward + weight x the universal model's."""

    weight: float = Field(ge=0, le=1)
    standardise: bool = False
    """The universal score too is standardised, over all samples, before it is mixed. Without, it comes on its own
    scale."""


class Length(Config):
    """Minus `coefficient` for every token (or character) of the response above `free`."""

    coefficient: Positive
    free: int = Field(0, ge=0)
    unit: Unit = "tokens"


class Floor(Config):
    """If the score of the response, as the model gave it, is less than `below`, the reward is at most `reward`."""

    below: Number
    reward: Number
    by: Literal["safety", "universal"] = "safety"
    """Which score: a safety model's, or that of the universal model which is mixed in."""


class PostprocessConfig(Config):
    """What happens to a reward, in the order of the fields `shrinkage` to `floor`; `monitor` changes nothing."""

    shrinkage: Shrinkage | None = None
    standardise: Literal["none", "user", "group", "all"] = "none"
    """Minus the running mean, divided by the running standard deviation: of the user, of their group, of all."""
    minimum: int = Field(16, ge=2)
    """With fewer samples a user (or group) has no statistics of their own and all samples' are used; with fewer
    samples altogether rewards stay as they are."""
    pooling: Positive = 16.0
    """The weight, in samples, of all samples' mean and variance in those of one user."""
    memory: int | None = Field(None, ge=2)
    """After so many samples each new one has the weight 1 / memory and older ones fade; None: all count alike."""
    users: int = Field(10_000, gt=0)
    """At most this many users (or groups) have statistics; the one that was not seen for longest leaves first."""
    mix: Mix | None = None
    clip: tuple[Number, Number] | None = None
    """[low, high]."""
    length: Length | None = None
    floor: Floor | None = None
    monitor: bool = False
    """Logs how much of the reward is agreement with the user, and which users drift from the population."""

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
        """Whether any option is on."""
        steps = (self.shrinkage, self.mix, self.clip, self.length, self.floor)
        return self.monitor or self.standardise != "none" or any(step is not None for step in steps)

    @property
    def needs_std(self) -> bool:
        """Every score of the method must have `std`."""
        return self.shrinkage is not None and self.shrinkage.by == "std"

    @property
    def needs_prior(self) -> bool:
        """The reward of the response for the method's prior state. `shrinkage.by: either` alone needs it only if
        the method gives no `std`."""
        return self.monitor or (self.shrinkage is not None and self.shrinkage.by != "std")

    @property
    def needs_universal(self) -> bool:
        """The universal model's score of the response."""
        return self.mix is not None or (self.floor is not None and self.floor.by == "universal")

    @property
    def needs_safety(self) -> bool:
        """The safety model's score of the response."""
        return self.floor is not None and self.floor.by == "safety"

    @property
    def needs_length(self) -> Unit | None:
        """The unit in which the length of the response is needed; None if it is not."""
        return self.length.unit if self.length is not None else None

    def check(self, *, universal: bool, safety: bool, tokens: bool, std: bool) -> None:
        """Compare what is available with what is needed, before anything runs. Raises `RecipeError` naming what is
        missing."""
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
    """Rewards of all samples of a prompt together."""

    size: int = Field(ge=2)
    """Samples of a prompt: the host's n_samples_per_prompt."""
    listwise: bool = False
    """The reward is the share of the others that a response beats (`Method.compare`), for methods without a scalar."""
    normalise: GroupScale = "none"
    wait: float = Field(60.0, gt=0, allow_inf_nan=False)
    """Seconds from the first sample of a group after which `fallback` applies."""
    fallback: Fallback = "fail"
    """partial: score those that came as a group; single: each alone; fail: no reward."""
    max_groups: int = Field(1024, gt=0)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.fallback == "single" and (self.listwise or self.normalise != "none"):
            raise ValueError("a sample alone has no rank and no spread: with listwise or normalise, "
                             "fallback is partial or fail")  # fmt: skip
        return self

    @property
    def least(self) -> int:
        """Minimum group size. A comparison needs at least two samples."""
        return 2 if self.listwise or self.normalise != "none" else 1
