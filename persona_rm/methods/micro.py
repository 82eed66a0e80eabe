"""MiCRo: a mixture of reward heads, P(c beats r) = sum_k w_uk sigmoid(r_k(c) - r_k(r)) (Shen et al. 2025, MiCRo).

Choices of different users are not one Bradley-Terry model: the mixture of sigmoids is, with r_k = pooled + head_k(z).
The mixture stands in the loss, -log sum_k w_k sigmoid(.), and `compare` returns it. There is no scalar reward with
these probabilities; the one for training a policy is the mean of the heads, sum_k w_uk r_k, in log-odds.

What differs from the paper: its router reads the prompt, and a second stage adapts the router with a little context.
Here the context is the user's own comparisons, and w_u is their maximum a posteriori under the mixture
(`simplex_user`); a router by prompt would need features of the prompt alone, which the features do not give. In
training, w_u are logits of each user, with the paper's load balance: the entropy of the mean weights.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.maths import sigmoids
from persona_rm.methods.base import Matrix
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.network import Net, Shapes, mean_loss, mlp, mlp_shapes
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.simplex_user import SimplexUserConfig, SimplexUserMethod
from persona_rm.methods.user_tasks import TaskBatch, Tensor
from persona_rm.types import RewardRequest, UserState


class MicroConfig(SimplexUserConfig):
    """`groups`: the heads (5 in the paper). `balance`: the weight of the mean weights' missing entropy, in nats."""

    groups: int = Field(5, ge=2)
    balance: float = Field(0.1, ge=0)


class Micro(SimplexUserMethod):
    """A mixture of heads whose weights are the user."""

    name: ClassVar[str] = "micro"
    Config: ClassVar[type[SimplexUserConfig]] = MicroConfig

    def part_shapes(self) -> Shapes:
        """The heads: one perceptron with K outputs."""
        return mlp_shapes("heads", sum(self.block_sizes), self.config.hidden, self.config.groups)

    def parts(self, net: Net, responses: Tensor) -> Tensor:
        """head_k(z)."""
        return mlp(net, "heads", responses)

    def loss(self, net: Net, batch: TaskBatch, draw: np.random.Generator) -> Tensor:
        """-log of the mixture, and the load balance."""
        import torch
        from torch.nn.functional import logsigmoid

        weights = net["users"][batch.users].log_softmax(-1)
        asked = batch.asked
        heads = asked.margins[..., None] + self.parts(net, asked.chosen) - self.parts(net, asked.rejected)
        mixture = torch.logsumexp(weights[:, None, :] + logsigmoid(heads), -1)
        mean = weights.exp().mean(0)
        missing = np.log(self.config.groups) + (mean * mean.log()).sum()
        return mean_loss(-mixture, asked) + self.config.balance * missing

    def simplex_slope(self, parts: Floats, fixed: Floats, weights: Floats) -> Floats:
        """The gradient of the summed -log mixture by the weights, (groups,)."""
        by_head = sigmoids(fixed[:, None] + parts)
        return np.asarray(-(by_head / (by_head @ weights)[:, None]).sum(0))

    def margin(self, vector: Floats, rows: UserRows) -> Floats:
        """The log-odds of the mixture, shape (n,)."""
        if not self.is_trained:
            return rows.margins
        chosen, rejected = rows.sides
        heads = self._heads(np.concatenate([chosen, rejected]))
        won = sigmoids(rows.margins[:, None] + heads[: len(rows)] - heads[len(rows) :]) @ vector
        return np.asarray(np.log(won) - np.log1p(-won))

    def compare(self, states: Sequence[UserState], groups: Sequence[Sequence[RewardRequest]]) -> list[Matrix]:
        """The mixture of sigmoids for users with evidence, the pooled sigmoid for others."""
        matrices = super().compare(states, groups)
        for place, (state, group) in enumerate(zip(states, groups, strict=True)):
            weights = self.vector_of(state)
            if weights is not None and group and self.is_trained:
                vectors, pooled = self.read(group)
                heads = np.asarray(pooled)[:, None] + self._heads(self._reduced(group, vectors))
                won = sigmoids(heads[:, None, :] - heads[None, :, :]) @ weights
                matrices[place] = won.tolist()
        return matrices

    def _heads(self, features: Floats) -> Floats:
        """head_k of responses, shape (n, groups)."""
        import torch

        with torch.no_grad():
            return np.asarray(self.parts(self.net, torch.from_numpy(features[None] * self.scale))[0].numpy())
