"""MRM: a shared start from which a few gradient steps reach a user (SIGIR 2026, arXiv 2601.18731).

    r(u, x, y) = w . f(x, y) + c (softmax(l_u) - softmax(l_0))' A' z(x, y),     l_u = l_0 + the inner loop's steps

Inner loop: gradient steps of the user's logits on the log loss of the shown comparisons. Outer loop: A and l_0 are
moved so that the loss on the user's other comparisons is low after the inner loop, and users who stay hard count more:

    L = sum_u sigmoid((L_u - tau) / gamma) L_u,     tau = the (1 - tail) quantile of the users' losses

Differences, and why: the outer gradient is of first order (Finn et al. 2017, section 5.2: the inner steps are taken as
constants), which needs no automatic differentiation; inner steps are plain gradients of the sum and not Adam's, whose
first steps are as long after one comparison as after a hundred; features are standardised instead of scaled by 0.01;
the start is taken off, so that an unknown user gets the pooled reward, and the
offset b cancels; A starts from the leading directions of the users'
own weights and their opposites.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.maths import sigmoid, sigmoids
from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.low_rank import (
    Adam,
    StackedRows,
    both_ways,
    leading_directions,
    personal_vectors,
    softmax_rows,
)
from persona_rm.methods.pairwise import Floats

MOST_ROWS = 32
"""Comparisons of a user that the outer loop reads; half of them are shown to the inner loop."""
RATES = (10.0, 3.0, 30.0)
"""Inner learning rates among which training users choose; the first is that of the outer loop."""


class MRMConfig(CrossFitConfig):
    """`hidden` columns of A; `inner_steps`; `outer_steps` of Adam at `rate`; `tail` and `gamma` weigh hard users;
    `start`: the prior variance of the users' own weights from which A starts."""

    hidden: int = Field(32, ge=2)
    inner_steps: int = Field(5, ge=1)
    outer_steps: int = Field(60, ge=0)
    rate: float = Field(0.01, gt=0)
    tail: float = Field(0.3, gt=0, lt=1)
    gamma: float = Field(0.1, gt=0)
    start: float = Field(3.0, gt=0)


class MRM(CrossFitMethod):
    """A meta-learned start, and few steps per user."""

    name: ClassVar[str] = "mrm"
    Config: ClassVar[type[Config]] = MRMConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("basis", "origin")
    basis: Floats | None = None
    """A, shape (q, hidden)."""
    origin: Floats | None = None
    """l_0, shape (hidden,)."""

    @property
    def alternatives(self) -> Sequence[float]:
        """The inner learning rate."""
        return RATES

    def learn_population(self, users: Sequence[UserRows]) -> None:
        """The outer loop over all users at once."""
        hidden = self.config.hidden
        leading = leading_directions(personal_vectors(users, self.config.start), hidden // 2)
        # Even weights on `hidden` columns dilute each one.
        basis, origin = both_ways(hidden / 2 * leading, hidden), np.zeros(hidden)
        few = [by_margin(one.at(slice(-MOST_ROWS, None))) for one in users if len(one) > 1]
        if few:
            shown = StackedRows.of([one.at(slice(0, None, 2)) for one in few])
            held = StackedRows.of([one.at(slice(1, None, 2)) for one in few])
            moves = Adam(self.config.rate), Adam(self.config.rate)
            for _ in range(self.config.outer_steps):
                basis_gradient, origin_gradient = self._outer_gradient(shown, held, basis, origin)
                basis, origin = moves[0].moved(basis, basis_gradient), moves[1].moved(origin, origin_gradient)
        self.basis, self.origin = basis, origin

    def _outer_gradient(
        self, shown: StackedRows, held: StackedRows, basis: Floats, origin: Floats
    ) -> tuple[Floats, Floats]:
        """The gradient of L with respect to A and l_0, of first order."""
        start = np.tile(origin, (len(shown.counts), 1))
        logits = self._inner(shown, shown.differences @ basis, start, RATES[0])
        read = held.differences @ basis
        own, before = softmax_rows(logits), softmax_rows(start)
        margins = held.margins + (read * (own - before)[held.user]).sum(1)
        losses = held.by_user(np.logaddexp(0, -margins)[:, None])[:, 0] / held.counts
        factor = hard_user_weights(losses, self.config.tail, self.config.gamma) / held.counts
        lost = (sigmoids(-margins) * factor[held.user])[:, None]
        upward = held.by_user(lost * read)
        origin_gradient = (along_softmax(before, upward) - along_softmax(own, upward)).sum(0)
        return -held.differences.T @ (lost * (own - before)[held.user]), origin_gradient

    def _inner(self, rows: StackedRows, read: Floats, start: Floats, rate: float) -> Floats:
        """The logits of each user after the inner loop, shape (users, hidden); `read` are d_i A of the rows."""
        logits, before = start, softmax_rows(start)
        for _ in range(self.config.inner_steps):
            weights = softmax_rows(logits)
            margins = rows.margins + (read * (weights - before)[rows.user]).sum(1)
            logits = logits + rate * along_softmax(weights, rows.by_user(sigmoids(-margins)[:, None] * read))
        return logits

    def direction(self, rows: UserRows, variant: float) -> Floats:
        """A (softmax(l_u) - softmax(l_0)), shape (q,)."""
        if self.basis is None or self.origin is None:
            return np.zeros(rows.differences.shape[1])
        start = self.origin[None]
        one = StackedRows.of([rows], most=len(rows))
        logits = self._inner(one, rows.differences @ self.basis, start, variant)
        return np.asarray(self.basis @ (softmax_rows(logits) - softmax_rows(start))[0])


def along_softmax(weights: Floats, gradient: Floats) -> Floats:
    """The gradient by logits from that by the weights, their softmax; both of shape (users, hidden)."""
    return np.asarray(weights * (gradient - (weights * gradient).sum(1, keepdims=True)))


def by_margin(rows: UserRows) -> UserRows:
    """The comparisons in the order of their pooled margins: every other one is half of them, in any order of data."""
    return rows.at(np.argsort(rows.margins, kind="stable").tolist())


def hard_user_weights(losses: Floats, tail: float, gamma: float) -> Floats:
    """d/dL_u of sum_u sigmoid((L_u - tau) / gamma) L_u, over the number of users, shape (users,); tau is fixed."""
    tau = float(np.quantile(losses, 1 - tail))
    share = np.array([sigmoid((one - tau) / gamma) for one in losses.tolist()])
    return np.asarray((share + losses * share * (1 - share) / gamma) / len(losses))
