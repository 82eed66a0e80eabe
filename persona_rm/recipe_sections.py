"""What the sections of a recipe share: their base, the zoos behind their members, and where rewards come from."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from persona_rm.annotators import ANNOTATORS
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.config import Config
from persona_rm.errors import RecipeError, UnknownName
from persona_rm.features import FEATURES
from persona_rm.inferrers import INFERRERS
from persona_rm.methods import METHODS
from persona_rm.registry import Member, Registry, absolute_member, absolute_name, as_mapping
from persona_rm.sources import SOURCES
from persona_rm.sources.universal import UNIVERSAL

Scalar = str | int | float | bool | None
HostArgs = dict[str, Scalar | list[str | int | float]]
"""Flags of the host as it writes them, dotted, without dashes: {train.batch_size: 32}; a list is several values."""
FOLDER = "folder"
"""The key of the validation context that holds the recipe's folder: member files are relative to it."""
ZOOS: Mapping[str, Registry] = {
    "source": SOURCES, "universal": UNIVERSAL, "annotator": ANNOTATORS, "inferrer": INFERRERS, "feature": FEATURES,
    "method": METHODS, "benchmark": BENCHMARKS,
}  # fmt: skip


class Section(Config):
    """A section whose zoo members are checked when it is read."""

    @field_validator("source", "annotator", "inferrer", "method", "benchmark", mode="before", check_fields=False)
    @classmethod
    def _known(cls, given: Any, info: ValidationInfo) -> Any:
        return None if given is None else checked(str(info.field_name), given, info)


def checked(zoo: str, given: Any, info: ValidationInfo, where: str | None = None) -> dict[str, Any]:
    """The member with an absolute name, after its settings were checked. Raises `MemberError`."""
    named = absolute_member(as_mapping(given), (info.context or {}).get(FOLDER))
    ZOOS[zoo].member(named, where=where or zoo)
    return named


class OnPolicyConfig(Section):
    """More rounds of DPO, each on pairs of the newest policy's own answers: the best of `samples` against the worst by
    each user's reward, with that policy as start and reference (iterated DPO, Xu et al. 2023, arXiv 2312.16682)."""

    bundle: str | None = None
    """The folder of the bundle whose users and rewards are used. It renders prompts as the section's method does."""
    reward: str | None = None
    """In place of a bundle: a method that needs no training, or a section of `dpo` before this one, as in `ppo`."""
    rounds: int = Field(1, gt=0)
    samples: int = Field(4, ge=2)
    """Answers for each prompt."""
    prompts: int = Field(320, gt=0)
    """Prompts in each round."""
    users: int = Field(100, gt=1)
    """How many users of the training side have prompts, without a bundle and without a users file of the section: its
    users all have some."""
    items: int = Field(8, ge=1)
    """Behavioural items per user, half UGC and half PAIR."""
    inferrer: Member = Field(default_factory=lambda: {"name": "posterior"})
    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    cut_answers: bool = False
    """Use answers that were cut at `max_tokens` too. DPO would teach the policy to end in the middle of a sentence."""
    min_margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    """The smallest difference of two rewards that counts as a preference."""

    @field_validator("reward")
    @classmethod
    def _absolute_reward(cls, reward: str | None, info: ValidationInfo) -> str | None:
        return None if reward is None else absolute_name(reward, (info.context or {}).get(FOLDER))

    @model_validator(mode="after")
    def _one_reward(self) -> Self:
        if (self.bundle is None) == (self.reward is None):
            raise ValueError("name either bundle (a folder) or reward (a method or a section of dpo)")
        return self


def check_reward(key: str, reward: str, sections: Sequence[str]) -> None:
    """Raises `RecipeError` if a reward is neither one of these sections of dpo nor a method without training."""
    if reward in sections:
        return
    try:
        needs = METHODS.load(reward).needs
    except UnknownName as error:
        there = f"a section of dpo ({', '.join(sections) or 'none here'}) nor a method"
        problem = f"{reward!r} is neither {there}: {', '.join(METHODS.names())}"
        raise RecipeError(f"{key}: {problem}") from error
    if "reference" in needs:
        free = ", ".join(other for other in METHODS.table if "reference" not in METHODS.load(other).needs)
        problem = f"{reward} must be trained, and dpo has no section of this name"
        raise RecipeError(f"{key}: {problem}; these need no training: {free}")
