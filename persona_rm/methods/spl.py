"""SPL: VPL whose latent is guided by swapped comparisons, so that it does not collapse (arXiv 2603.12595, ICLR 2026).

A user who chose the opposite everywhere must get the opposite latent. With D' = D with chosen and rejected swapped:

    guide = (1 + cos(mu(D)_h, mu(D')_h)) / 2 + 0.1 (1 - cos(s(D), s(D'))) / 2,    h: the first half of the units
    loss = E_q[-log sigmoid(r(chosen, z) - r(rejected, z))] + kl KL(q || N(0, I)) + guide_weight guide

pulls mu(D) + mu(D') to 0 in direction in the first half, and the log variances s alike. Chosen and rejected go through
one encoder each, and mu is clamped to [-1, 1]. The decoder is FiLM: from z come a gain 1 + tanh(.)/2 and a shift
tanh(.)/2 of its hidden layer. A posterior with less than `free_nats` of KL is not pulled further to the prior.

What differs from the paper: the inverse-autoregressive flow on the swap-odd and swap-even halves of the encoding is
left out, so that the posterior is a Gaussian whose mean is the user's vector. The public code guides all units; the
first half stands in the paper. D' is not detached: both passes share their gradient. The rest is as in `vpl`.
"""

from typing import ClassVar

from pydantic import Field

from persona_rm.methods.latent_user import (
    LOG_VARIANCE,
    LatentPosterior,
    LatentUserConfig,
    LatentUserMethod,
    attended_mean,
    attention_shapes,
    divergence,
    swapped,
    with_latent,
)
from persona_rm.methods.network import Net, Shapes, mlp, mlp_shapes
from persona_rm.methods.user_tasks import Shaped, Tensor

VARIANCES = 0.1
"""The weight of the log variances in the guide."""


class SplConfig(LatentUserConfig):
    """`guide`: the weight of the swap guidance; 0 leaves it out. `free_nats`: KL below which the prior does not
    pull."""

    guide: float = Field(1.0, ge=0)
    free_nats: float = Field(1.0, ge=0)


class Spl(LatentUserMethod):
    """A variational latent that turns round with the user's choices, with a FiLM decoder."""

    name: ClassVar[str] = "spl"
    Config: ClassVar[type[LatentUserConfig]] = SplConfig

    def shapes(self, users: int) -> Shapes:
        """Response encoder, attention, the posterior's two heads, and the decoder with its FiLM network."""
        q, hidden, latent = sum(self.block_sizes), self.config.hidden, self.config.latent
        return {
            **mlp_shapes("response", q, hidden, hidden),
            **attention_shapes(2 * hidden),
            **mlp_shapes("mean", 2 * hidden, latent),
            **mlp_shapes("variance", 2 * hidden, latent),
            **mlp_shapes("decoder", q + latent, hidden // 2 or 1, hidden),
            **mlp_shapes("film", latent, 2 * hidden, 2 * hidden),
            **mlp_shapes("out", hidden, 1),
        }

    def posterior(self, net: Net, rows: Shaped) -> LatentPosterior:
        """q(z | the comparisons of each user)."""
        import torch

        pairs = torch.cat([mlp(net, "response", rows.chosen), mlp(net, "response", rows.rejected)], -1)
        pooled = attended_mean(net, pairs, rows.mask)
        return LatentPosterior(
            mlp(net, "mean", pooled).clamp(-1, 1), mlp(net, "variance", pooled).clamp(*LOG_VARIANCE)
        )

    def regulariser(self, net: Net, posterior: LatentPosterior, shown: Shaped) -> Tensor:
        """The weighted KL divergence above `free_nats`, and the swap guidance."""
        from torch.nn.functional import cosine_similarity

        kl = divergence(posterior).clamp(min=self.config.free_nats).mean()
        if not self.config.guide:
            return self.kl_weight * kl
        other, half = self.posterior(net, swapped(shown)), self.config.latent // 2
        odd = cosine_similarity(posterior.mean[:, :half], other.mean[:, :half], dim=-1)
        alike = cosine_similarity(posterior.log_variance, other.log_variance, dim=-1)
        guide = ((1 + odd) / 2 + VARIANCES * (1 - alike) / 2).mean()
        return self.kl_weight * kl + self.config.guide * guide

    def reward(self, net: Net, vectors: Tensor, responses: Tensor) -> Tensor:
        """The FiLM decoder on [f(x, y), z]."""
        from torch.nn.functional import leaky_relu

        hidden = mlp(net, "decoder", with_latent(responses, vectors), activate_last=True)
        gain, shift = mlp(net, "film", vectors)[:, None, :].chunk(2, -1)
        turned = leaky_relu((1 + 0.5 * gain.tanh()) * hidden + 0.5 * shift.tanh(), 0.2)
        return mlp(net, "out", turned)[..., 0]
