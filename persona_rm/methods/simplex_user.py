"""Shared by methods that describe a user by weights on K parts of the population: w_u = softmax(t_u).

In training every user has logits t_u of their own, learned together with the parts. A new user's logits are fitted to
their comparisons with the parts frozen:

    t_u = argmin sum_i -log P(comparison i | softmax(t)) + ridge |t - mean(t)|^2 / 2

by a fixed number of steps of gradient descent with momentum, from t = 0 (equal weights).
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.maths import sigmoids
from persona_rm.methods.network import Net, Shapes, bernoulli_loss
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.trained import TrainedConfig, TrainedMethod
from persona_rm.methods.user_tasks import Shaped, TaskBatch, Tensor

DESCENTS, STEP, MOMENTUM = 60, 0.5, 0.8
"""Of the fit of a new user's logits; the step is divided by the curvature's bound."""


class SimplexUserConfig(TrainedConfig):
    """`groups` is K. `ridge` is the penalty on a new user's logits, per user and not per comparison."""

    groups: int = Field(4, ge=2)
    ridge: float = Field(0.5, gt=0)


class SimplexUserMethod(TrainedMethod):
    """A member defines `parts`, the parameters of them, and what all users share in them (`shared`)."""

    Config: ClassVar[type[SimplexUserConfig]] = SimplexUserConfig

    @abstractmethod
    def part_shapes(self) -> Shapes:
        """The parameters of the parts."""

    @abstractmethod
    def parts(self, net: Net, responses: Tensor) -> Tensor:
        """What each part gives responses, (B, K, q) to (B, K, groups), in log-odds."""

    def shared(self, net: Net, responses: Tensor) -> Tensor | None:
        """What responses get from every user alike, (B, K); None for nothing."""
        return None

    def shapes(self, users: int) -> Shapes:
        """The parts, and in training the users' logits."""
        return {**self.part_shapes(), **({"users": (users, self.config.groups)} if users else {})}

    @property
    def vector_size(self) -> int:
        """One weight per part."""
        return int(self.config.groups)

    def reward(self, net: Net, vectors: Tensor, responses: Tensor) -> Tensor:
        """The parts by the user's weights."""
        mixed = (self.parts(net, responses) * vectors[:, None, :]).sum(-1)
        shared = self.shared(net, responses)
        return mixed if shared is None else mixed + shared

    def loss(self, net: Net, batch: TaskBatch, draw: np.random.Generator) -> Tensor:
        """The log loss of the comparisons asked for, under the users' own weights."""
        weights = net["users"][batch.users].softmax(-1)
        return bernoulli_loss(self.margins(net, weights, batch.asked), batch.asked)

    def vector(self, net: Net, rows: Shaped) -> Tensor:
        """The weights of each user that fit the comparisons shown."""
        import torch

        with torch.no_grad():
            parts = (self.parts(net, rows.chosen) - self.parts(net, rows.rejected)).numpy()
            fixed = rows.margins.numpy().copy()
            if (shared := self.shared(net, rows.chosen)) is not None:
                fixed = fixed + (shared - self.shared(net, rows.rejected)).numpy()
        weights = [self.fitted_simplex(*one) for one in zip(parts, fixed, strict=True)]
        return torch.from_numpy(np.array(weights))

    def fitted_simplex(self, parts: Floats, fixed: Floats) -> Floats:
        """w_u of one user: `parts` are differences (n, groups), `fixed` what the margin has besides, (n,)."""
        logits = velocity = np.zeros(parts.shape[1])
        bound = self.config.ridge + 0.25 * float((parts**2).sum())
        for _ in range(DESCENTS):
            weights = softmax(logits)
            slope = self.simplex_slope(parts, fixed, weights)
            gradient = weights * (slope - weights @ slope) + self.config.ridge * logits
            velocity = MOMENTUM * velocity - STEP / bound**0.5 / max(1.0, bound**0.5) * gradient
            logits = logits + velocity
        return softmax(logits)

    def simplex_slope(self, parts: Floats, fixed: Floats, weights: Floats) -> Floats:
        """The gradient of the summed log loss by the weights, (groups,)."""
        return np.asarray(-sigmoids(-(fixed + parts @ weights)) @ parts)


def softmax(logits: Floats) -> Floats:
    """exp(logits), made to sum to 1."""
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())
