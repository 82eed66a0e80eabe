"""PAL-B: a user's preference is a mixture of K prototype mappings (Chen et al. 2024, arXiv 2406.08469, section 3.2).

    r(u, x, y) = pooled + sum_k w_uk f(z) . g_k(z) / hidden,     w_u on the simplex

In the paper f reads the response and g_k the prompt. Features here encode prompt and response together, so f and g_k
read the same z(x, y), and the product is a part's own reading of it. The pooled reward is part of r; w_u of a new user
is fitted by maximum a posteriori (`simplex_user`); the loss is the log loss without the paper's normalised angle.
"""

from typing import ClassVar

from persona_rm.methods.network import Net, Shapes, mlp, mlp_shapes
from persona_rm.methods.simplex_user import SimplexUserConfig, SimplexUserMethod
from persona_rm.methods.user_tasks import Tensor


class PalBConfig(SimplexUserConfig):
    """The settings of `SimplexUserConfig`."""


class PalB(SimplexUserMethod):
    """Products with prototype mappings."""

    name: ClassVar[str] = "pal_b"
    Config: ClassVar[type[SimplexUserConfig]] = PalBConfig

    def part_shapes(self) -> Shapes:
        """f, and the K mappings side by side."""
        q, hidden, groups = sum(self.block_sizes), self.config.hidden, self.config.groups
        return {**mlp_shapes("response", q, hidden), **mlp_shapes("mapping", q, groups * hidden)}

    def parts(self, net: Net, responses: Tensor) -> Tensor:
        """f(z) . g_k(z)."""
        hidden = self.config.hidden
        mappings = mlp(net, "mapping", responses).unflatten(-1, (self.config.groups, hidden))
        return (mappings * mlp(net, "response", responses)[..., None, :]).sum(-1) / hidden
