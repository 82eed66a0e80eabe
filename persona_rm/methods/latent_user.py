"""Shared by methods that describe a user by a latent variable: posterior, KL divergence, and figures of its collapse.

A variational posterior q(z | comparisons) = N(mu, diag(exp(log_variance))) has collapsed if mu is the same for all
users: the decoder then ignores z, whatever the accuracy says. A unit is active if the variance of its mu over users is
above `ACTIVE` (Burda et al. 2016, arXiv 1509.00519, with the threshold of SPL's public code).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from persona_rm.errors import ScoreError
from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.network import Net, bernoulli_loss, one_thread
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.trained import TrainedConfig, TrainedMethod
from persona_rm.methods.user_tasks import Shaped, TaskBatch, Tensor

ACTIVE = 0.005
LOG_VARIANCE = (-1.0, 1.0)
"""The range of the posterior's log variance in the published code."""


class LatentPosterior(NamedTuple):
    """Mean and log variance of z for B users, each (B, latent)."""

    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True, slots=True)
class Collapse:
    """What a method's posterior says about its training users.

    `active`: the share of units whose mean varies over users by more than `ACTIVE`; `kl`: mean KL(q || N(0, I)) in
    nats; `swap`: mean cosine of mu and the mu of the same user with chosen and rejected swapped, -1 if the latent
    carries the direction of the choices and 1 if it ignores it. A collapsed posterior has no active units.
    """

    active: float
    kl: float
    swap: float


class LatentUserConfig(TrainedConfig):
    """`latent`: the units of z. `kl` is the weight of the KL divergence beside the log loss of one comparison; it
    rises along a cosine during the first `warm_up` share of the training."""

    latent: int = Field(16, ge=2)
    kl: float = Field(0.02, ge=0)
    warm_up: float = Field(0.5, ge=0, le=1)


class LatentUserMethod(TrainedMethod):
    """A member defines `shapes`, `posterior`, `regulariser` and `reward`."""

    personal_arrays: ClassVar[tuple[str, ...]] = (*TrainedMethod.personal_arrays, "figures")
    figures: Floats | None = None
    """The numbers of `Collapse`, shape (3,); empty without a network."""
    seen_batches: int = 0
    """The batches of this training so far, for the warm-up."""

    @abstractmethod
    def posterior(self, net: Net, rows: Shaped) -> LatentPosterior:
        """q(z | the comparisons of each user)."""

    @abstractmethod
    def regulariser(self, net: Net, posterior: LatentPosterior, shown: Shaped) -> Tensor:
        """What stands beside the log loss, before the warm-up's factor for its KL part, a scalar."""

    @property
    def vector_size(self) -> int:
        """The units of z."""
        return int(self.config.latent)

    @property
    def kl_weight(self) -> float:
        """The weight of the KL divergence at this batch of the training."""
        rising = self.config.warm_up * self.config.updates
        share = 1.0 if rising == 0 else min(1.0, self.seen_batches / rising)
        return float(self.config.kl * (1 - np.cos(np.pi * share)) / 2)

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Train the network, and measure how far its posterior has collapsed on the training users."""
        self.seen_batches = 0
        super().learn(users, episodes)
        self.figures = self.measured(users) if self.is_trained else np.zeros(0)

    def loss(self, net: Net, batch: TaskBatch, draw: np.random.Generator) -> Tensor:
        """The negative evidence lower bound of one comparison per user, z drawn by reparameterisation."""
        import torch

        posterior = self.posterior(net, batch.shown)
        noise = torch.from_numpy(draw.normal(size=tuple(posterior.mean.shape)))
        drawn = posterior.mean + torch.exp(0.5 * posterior.log_variance) * noise
        loss = bernoulli_loss(self.margins(net, drawn, batch.asked), batch.asked)
        self.seen_batches += 1
        return loss + self.regulariser(net, posterior, batch.shown)

    def vector(self, net: Net, rows: Shaped) -> Tensor:
        """The posterior mean."""
        return self.posterior(net, rows).mean

    def measured(self, users: Sequence[UserRows]) -> Floats:
        """The numbers of `Collapse` on these users' comparisons."""
        import torch
        from torch.nn.functional import cosine_similarity

        with one_thread(), torch.no_grad():
            net = self.net
            shown = [self.shaped_rows(rows) for rows in users]
            own = [self.posterior(net, rows) for rows in shown]
            turned = torch.cat([self.posterior(net, swapped(rows)).mean for rows in shown])
            mean = torch.cat([one.mean for one in own])
            kl = divergence(LatentPosterior(mean, torch.cat([one.log_variance for one in own]))).mean()
            active = (mean.var(0, unbiased=False) > ACTIVE).double().mean()
            swap = cosine_similarity(mean, turned, dim=-1).mean()
        return np.array([float(active), float(kl), float(swap)])

    @property
    def collapse(self) -> Collapse:
        """Figures of collapse on the training users. Raises `ScoreError` if no network was trained."""
        if self.figures is None or not len(self.figures):
            raise ScoreError(f"{self.name} has no latent to measure: its fit had no users with texts to hold out")
        return Collapse(*self.figures.tolist())


def divergence(posterior: LatentPosterior) -> Tensor:
    """KL(q || N(0, I)) of each user, in nats, shape (B,)."""
    mean, log_variance = posterior
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)


def swapped(rows: Shaped) -> Shaped:
    """The same comparisons with chosen and rejected swapped."""
    return Shaped(rows.rejected, rows.chosen, -rows.margins, rows.mask)


def with_latent(responses: Tensor, vectors: Tensor) -> Tensor:
    """[f(x, y), z], the features of each response beside its user's latent: shape (B, n, q + latent)."""
    import torch

    return torch.cat([responses, vectors[:, None, :].expand(-1, responses.shape[1], -1)], -1)


def attended_mean(net: Net, pairs: Tensor, mask: Tensor) -> Tensor:
    """One head of self-attention over a user's encoded comparisons, then their mean: (B, K, d) to (B, d)."""
    import torch

    query, key, value = (pairs @ net[f"attention.{name}"] for name in ("query", "key", "value"))
    scores = query @ key.transpose(-1, -2) / pairs.shape[-1] ** 0.5
    attention = torch.softmax(scores.masked_fill(mask[:, None, :] == 0, -torch.inf), -1)
    return ((attention @ value) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def attention_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """The parameters of `attended_mean`."""
    return {f"attention.{name}": (width, width) for name in ("query", "key", "value")}
