"""Small networks on torch, whose parameters are one flat array: they are named, drawn, packed and stepped here.

Inference uses the same functions as training, in float64, so that results do not depend on the size of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod

import numpy as np

from persona_rm.methods.pairwise import Floats
from persona_rm.methods.user_tasks import Shaped, Tensor

Shapes = Mapping[str, tuple[int, ...]]
Net = Mapping[str, Tensor]
SLOPE = 0.2
"""Of the leaky rectifier, as in the published networks."""
BETAS = (0.9, 0.999)
"""Of `TensorAdam`: the decay of the running mean of gradients, and of their squares."""


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch: these networks are too small to share, and sums in one order are the same every time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mlp_shapes(name: str, *sizes: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a perceptron with these layer sizes, the first one the input."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inside, outside) in enumerate(pairwise(sizes)):
        shapes[f"{name}.{layer}.weight"] = (inside, outside)
        shapes[f"{name}.{layer}.bias"] = (outside,)
    return shapes


def mlp(net: Net, name: str, inputs: Tensor, activate_last: bool = False) -> Tensor:
    """The perceptron `name` on the last dimension of `inputs`: leaky rectifiers between its layers."""
    from torch.nn.functional import leaky_relu

    layer = 0
    while f"{name}.{layer}.weight" in net:
        inputs = inputs @ net[f"{name}.{layer}.weight"] + net[f"{name}.{layer}.bias"]
        layer += 1
        if activate_last or f"{name}.{layer}.weight" in net:
            inputs = leaky_relu(inputs, SLOPE)
    return inputs


def drawn_parameters(shapes: Shapes, rng: np.random.Generator) -> Floats:
    """Initial parameters: matrices normal with variance 1 / inputs, vectors 0; flat."""
    parts = []
    for shape in shapes.values():
        many = prod(shape)
        parts.append(rng.normal(size=many) / shape[0] ** 0.5 if len(shape) > 1 else np.zeros(many))
    return np.concatenate(parts)


def unpacked_parameters(flat: Floats, shapes: Shapes) -> dict[str, Tensor]:
    """The named tensors of a flat array. Raises ValueError if it has another length."""
    import torch

    if len(flat) != (expected := sum(prod(shape) for shape in shapes.values())):
        raise ValueError(f"a network of {expected} numbers was given {len(flat)}")
    tensors, start = {}, 0
    for name, shape in shapes.items():
        end = start + prod(shape)
        tensors[name] = torch.tensor(flat[start:end].reshape(shape), dtype=torch.float64)
        start = end
    return tensors


def packed_parameters(net: Net, shapes: Shapes) -> Floats:
    """The inverse of `unpacked_parameters`."""
    return np.concatenate([net[name].detach().numpy().ravel() for name in shapes])


class TensorAdam:
    """Adam (Kingma and Ba 2015) with a penalty decay/2 |w|^2 and the published constants.

    `torch.optim` imports torch's compiler, which takes seconds; a fit here takes about as long.
    """

    def __init__(self, tensors: Sequence[Tensor], rate: float, decay: float) -> None:
        import torch

        self.tensors, self.rate, self.decay, self.steps = tensors, rate, decay, 0
        self.means = [torch.zeros_like(one) for one in tensors]
        self.squares = [torch.zeros_like(one) for one in tensors]

    def step(self, loss: Tensor) -> None:
        """One update of the tensors against the gradient of the loss. One that the loss does not read stays."""
        import torch

        gradients = torch.autograd.grad(loss, self.tensors, allow_unused=True)
        self.steps += 1
        first, second = 1 - BETAS[0] ** self.steps, 1 - BETAS[1] ** self.steps
        with torch.no_grad():
            for tensor, gradient, mean, square in zip(self.tensors, gradients, self.means, self.squares, strict=True):
                if gradient is not None:
                    slope = gradient + self.decay * tensor
                    mean.mul_(BETAS[0]).add_(slope, alpha=1 - BETAS[0])
                    square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
                    tensor.sub_(self.rate * (mean / first) / ((square / second).sqrt() + 1e-8))


def bernoulli_loss(margins: Tensor, rows: Shaped) -> Tensor:
    """-log sigmoid(margin), the mean over each user's comparisons, then over users; in nats."""
    from torch.nn.functional import softplus

    return mean_loss(softplus(-margins), rows)


def mean_loss(losses: Tensor, rows: Shaped) -> Tensor:
    """The mean over each user's comparisons, then over users."""
    return ((losses * rows.mask).sum(-1) / rows.mask.sum(-1)).mean()


def distinct_rows(array: Floats) -> tuple[Floats, Sequence[int]]:
    """The distinct rows, and the place of each row among them.

    A matrix product may round equal rows differently. What is computed once per distinct row is equal to the last
    digit.
    """
    rows, index = np.unique(array, axis=0, return_inverse=True)
    return rows, index.ravel().tolist()
