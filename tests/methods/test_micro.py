"""The mixture of sigmoids is what `compare` returns, and a user's weights are on the simplex."""

import numpy as np
import pytest

from persona_rm.methods.micro import Micro
from persona_rm.methods.pal_a import PalA
from persona_rm.methods.simplex_user import SimplexUserMethod
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, RewardRequest
from tests.methods.method_samples import make

PAIRS = tuple(Pair(f"p{i}", f"yes {i}", f"no {i}") for i in range(6))


@pytest.mark.parametrize("name", ["pal_a", "pal_b", "micro"])
def test_weights_are_on_the_simplex_and_move_with_evidence(name: str, space: PreferenceSpace) -> None:
    method = make(name, space, updates=30)
    assert isinstance(method, SimplexUserMethod)
    few, many = (method.vector_of(method.adapt(Persona("ann", pairs=PAIRS[:1] * n))) for n in (1, 6))
    equal = np.full(method.config.groups, 1 / method.config.groups)
    assert few is not None
    assert many is not None
    for weights in (few, many):
        assert weights.sum() == pytest.approx(1, abs=1e-6)
        assert (weights > 0).all()
    assert 0 < np.abs(few - equal).sum() < np.abs(many - equal).sum()


@pytest.mark.parametrize("name", ["pal_a", "micro"])
def test_the_weights_are_the_mode(name: str, space: PreferenceSpace) -> None:
    """No small change of the logits lowers the penalised loss."""
    method = make(name, space, updates=5)
    assert isinstance(method, PalA | Micro)
    rng = np.random.default_rng(0)
    parts, fixed = rng.normal(size=(12, method.config.groups)), rng.normal(size=12)

    def loss(logits: np.ndarray) -> float:
        weights = np.exp(logits) / np.exp(logits).sum()
        if name == "micro":
            p = 1 / (1 + np.exp(-(fixed[:, None] + parts))) @ weights
        else:
            p = 1 / (1 + np.exp(-(fixed + parts @ weights)))
        return float(-np.log(p).sum() + method.config.ridge * (logits**2).sum() / 2)

    logits = np.log(method.fitted_simplex(parts, fixed))
    logits -= logits.mean()
    best = loss(logits)
    for change in rng.normal(size=(50, method.config.groups)) * 0.02:
        assert loss(logits + change - change.mean()) > best - 1e-4


def test_compare_is_the_mixture(space: PreferenceSpace) -> None:
    method = make("micro", space, updates=60, rate=0.02)
    state = method.adapt(Persona("ann", pairs=PAIRS))
    group = [RewardRequest("ann", "the post", text) for text in ("good 1", "bad", "one")]
    [matrix] = method.compare([state], [group])
    rewards = [one.reward for one in method.score([state] * 3, group)]
    assert np.allclose(np.array(matrix) + np.array(matrix).T, 1)
    scalar = 1 / (1 + np.exp(-(rewards[0] - rewards[1])))
    # A mixture of sigmoids is nearer to 0.5 than the sigmoid of the mean where heads disagree; it is never equal.
    assert matrix[0][1] != pytest.approx(scalar, abs=1e-9)
