"""PAL-A: a user is an ideal point, a mixture of K prototypes (Chen et al. 2024, arXiv 2406.08469, section 3.1).

    a_u = sum_k w_uk f(p_k),     r(u, x, y) = pooled - scale |f(z) - a_u|^2,     w_u on the simplex

f is a perceptron, p_k are prototypes in the space of features. A new user's w_u is fitted with all else frozen.

What differs from the paper: the pooled reward is part of r, so that prototypes describe what users differ in; the
distance is squared and carries one learned scale, where the paper normalises; the loss is the log loss, one of the
paper's three; w_u is fitted by maximum a posteriori and not by 20 epochs, so that few comparisons stay near equal
weights.
"""

from typing import ClassVar

from persona_rm.methods.network import Net, Shapes, mlp, mlp_shapes
from persona_rm.methods.simplex_user import SimplexUserConfig, SimplexUserMethod
from persona_rm.methods.user_tasks import Tensor


class PalAConfig(SimplexUserConfig):
    """The settings of `SimplexUserConfig`."""


class PalA(SimplexUserMethod):
    """Distance to an ideal point that is mixed from prototypes."""

    name: ClassVar[str] = "pal_a"
    Config: ClassVar[type[SimplexUserConfig]] = PalAConfig

    def part_shapes(self) -> Shapes:
        """f, the prototypes, and the logarithm of the scale."""
        q, hidden = sum(self.block_sizes), self.config.hidden
        return {
            **mlp_shapes("point", q, hidden, hidden),
            "prototypes": (self.config.groups, q),
            "scale": (1,),
        }

    def parts(self, net: Net, responses: Tensor) -> Tensor:
        """2 f(z) . f(p_k): the square is expanded, and |a_u|^2, equal for all responses, is left out."""
        points, prototypes = mlp(net, "point", responses), mlp(net, "point", net["prototypes"])
        return 2 * (points @ prototypes.T) * self._scale(net)

    def shared(self, net: Net, responses: Tensor) -> Tensor:
        """-|f(z)|^2."""
        return -(mlp(net, "point", responses) ** 2).sum(-1) * self._scale(net)

    def _scale(self, net: Net) -> Tensor:
        # Divided by the width, so that the distance does not grow with it.
        return net["scale"].exp() / self.config.hidden
