"""The paper's rule (AlignX, section 5 and appendix B.1): the mean of the items' votes, cut by two thresholds.

Every behavioural item votes 1 (positive), 0.5 or 0 (negative) on each dimension. The mean of n votes, k more of them
positive than negative, is 0.5 + k/(2n): the published thresholds 0.6 and 0.4 (inclusive, as in the released code) mean
|k| >= n/5. A single net vote decides up to n = 5, two up to n = 10. Compared in integers: floats get ties wrong.

The paper also counts the demographic text as a component. Here it carries no directions, so it has no vote.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar, Self

from pydantic import Field, model_validator

from persona_rm.config import Config
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.evidence import Item
from persona_rm.types import Directions, Persona


class VoteConfig(Config):
    """Published thresholds on the mean vote. `force` as in the released code: never leave all dimensions neutral."""

    positive: float = Field(0.6, ge=0.5, le=1)
    negative: float = Field(0.4, ge=0, le=0.5)
    force: bool = False

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.positive == self.negative:
            raise ValueError("positive and negative are both 0.5: a neutral vote would be both")
        return self


class VoteInferrer(Inferrer):
    """Majority of the items, by thresholds. The posterior is the share of votes: P(negative), P(neutral), P(positive).

    Shares are what was counted, not calibrated probabilities. Without items everything is neutral, with share 1. A
    repeated item votes as often as it is there, as in the released code.
    """

    name: ClassVar[str] = "vote"
    Config: ClassVar[type[Config]] = VoteConfig

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """Votes per dimension, then the rule."""
        if not items:
            return Posterior(((0.0, 1.0, 0.0),) * len(self.space), self.space.neutral)
        columns = list(zip(*(item.votes for item in items), strict=True))
        shares = tuple((c.count(-1) / len(c), c.count(0) / len(c), c.count(1) / len(c)) for c in columns)
        nets = [sum(column) for column in columns]
        directions = tuple(self.decide(net, len(items)) for net in nets)
        if self.config.force and not any(directions):
            directions = most_extreme(nets)
        return Posterior(shares, directions, n_items=len(items))

    def decide(self, net: int, n: int) -> int:
        """The direction of `net` = positive minus negative votes among `n`: (n + net) / 2n against the thresholds."""
        high, low = _exact(self.config.positive), _exact(self.config.negative)
        # Multiplied out, so that only integers are compared.
        if (n + net) * high.denominator >= 2 * n * high.numerator:
            return 1
        return -1 if (n + net) * low.denominator <= 2 * n * low.numerator else 0


def most_extreme(nets: Sequence[int]) -> Directions:
    """The released code's way out: the dimensions with the most extreme mean, on its side only; ties go negative.

    Where no vote leans at all the released code makes every dimension negative; here they stay neutral.
    """
    high, low = max(nets), min(nets)
    if high == low == 0:
        return (0,) * len(nets)
    return tuple(int(net == high) for net in nets) if high > -low else tuple(-int(net == low) for net in nets)


def _exact(threshold: float) -> Fraction:
    # Of the decimal text: Fraction(0.6) would be the binary number next to 0.6, and ties would go wrong.
    return Fraction(str(threshold))
