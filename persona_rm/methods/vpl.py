"""VPL: a user is a Gaussian latent, inferred from their comparisons (Poddar et al. 2024, arXiv 2408.10075).

    q(z | D_u) = N(mu, diag(exp(s))),   mu, s = heads(mean of attention over MLP([f(chosen), f(rejected)]) of D_u)
    loss = E_q[-log sigmoid(r(chosen, z) - r(rejected, z))] + kl KL(q || N(0, I))          (their equation 4)
    r(x, y, z) = w . f(x, y) + MLP([f(x, y), z])

A user's vector is mu: one pass, no gradient. `collapse` says whether users got different latents at all.

What differs from the paper: features are frozen and the pooled reward w . f is part of r, so that the latent learns
only what users differ in; comparisons shown and asked for stand under different texts; z is mu at inference and is
never rescaled (the public code rescales in training only). The KL weight rises once and does not cycle. Training stops
by left-out users (`trained`).
"""

from typing import ClassVar

from persona_rm.methods.latent_user import (
    LOG_VARIANCE,
    LatentPosterior,
    LatentUserConfig,
    LatentUserMethod,
    attended_mean,
    attention_shapes,
    divergence,
    with_latent,
)
from persona_rm.methods.network import Net, Shapes, mlp, mlp_shapes
from persona_rm.methods.user_tasks import Shaped, Tensor


class VplConfig(LatentUserConfig):
    """The settings of `LatentUserConfig`; `kl: 1` is the evidence lower bound of a single comparison."""


class Vpl(LatentUserMethod):
    """A variational latent with an MLP decoder."""

    name: ClassVar[str] = "vpl"
    Config: ClassVar[type[LatentUserConfig]] = VplConfig

    def shapes(self, users: int) -> Shapes:
        """Pair encoder, attention, the posterior's two heads, and the decoder."""
        q, hidden, latent = sum(self.block_sizes), self.config.hidden, self.config.latent
        return {
            **mlp_shapes("pair", 2 * q, hidden, hidden),
            **attention_shapes(hidden),
            **mlp_shapes("mean", hidden, latent),
            **mlp_shapes("variance", hidden, latent),
            **mlp_shapes("decoder", q + latent, hidden, hidden, 1),
        }

    def posterior(self, net: Net, rows: Shaped) -> LatentPosterior:
        """q(z | the comparisons of each user)."""
        import torch

        pairs = mlp(net, "pair", torch.cat([rows.chosen, rows.rejected], -1))
        pooled = attended_mean(net, pairs, rows.mask)
        return LatentPosterior(mlp(net, "mean", pooled), mlp(net, "variance", pooled).clamp(*LOG_VARIANCE))

    def regulariser(self, net: Net, posterior: LatentPosterior, shown: Shaped) -> Tensor:
        """The weighted KL divergence."""
        return self.kl_weight * divergence(posterior).mean()

    def reward(self, net: Net, vectors: Tensor, responses: Tensor) -> Tensor:
        """MLP([f(x, y), z])."""
        return mlp(net, "decoder", with_latent(responses, vectors))[..., 0]
