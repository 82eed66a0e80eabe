"""The fit is the maximum of its likelihood, and all users share the reward."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends, Vectors
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods.bradley_terry import BradleyTerry
from persona_rm.methods.pairwise import newton
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison
from tests.methods.method_samples import (
    COMPARISONS,
    FAULT,
    LetterEncoder,
    ask,
    letter_backends,
    make,
    persona,
    rewards,
    score,
)


def test_newton_finds_the_zero_of_the_gradient() -> None:
    rng = np.random.default_rng(0)
    rows, l2 = rng.normal(size=(200, 5)), 0.01
    weights = newton(rows, l2, steps=50)
    gradient = l2 * weights - (rows / (1 + np.exp(rows @ weights))[:, None]).mean(0)
    assert np.abs(gradient).max() < 1e-8


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_newton_on_separable_rows_of_any_scale(scale: float) -> None:
    rows = scale * np.array([[1.0, 0.1], [1.0, -0.2], [0.9, 0.0]])
    weights = newton(rows, 1e-3, steps=200)
    assert np.isfinite(weights).all()
    assert (rows @ weights > 0).all()


def test_newton_that_does_not_arrive_says_so() -> None:
    with pytest.raises(ScoreError, match="did not converge in 1 steps"):
        newton(np.random.default_rng(0).normal(size=(20, 3)), 1e-6, steps=1)


def test_recovers_a_planted_reward(space: PreferenceSpace) -> None:
    """Preferences drawn from a hidden linear reward on the embeddings: the fit ranks held-out texts as it does."""
    rng, encoder = np.random.default_rng(1), LetterEncoder()
    hidden = rng.normal(size=16) * 8
    texts = [f"text {i}" for i in range(1200)]
    truth = encoder.encode(texts) @ hidden
    pairs = rng.permutation(1000).reshape(-1, 2)
    first = rng.random(len(pairs)) < 1 / (1 + np.exp(truth[pairs[:, 1]] - truth[pairs[:, 0]]))
    rows = [Comparison("u", "x", *(texts[i] for i in (pair if won else pair[::-1])))
            for pair, won in zip(pairs, first, strict=True)]  # fmt: skip
    method = BradleyTerry(
        BradleyTerry.Config(features=[{"name": "encoder", "text": "response"}]), space, Backends(encoder)
    )
    method.fit(rows)
    [given] = rewards(method, ask(method.prior(), *texts[1000:]))
    assert np.corrcoef(given, truth[1000:])[0, 1] > 0.9


def test_the_order_of_the_data_does_not_matter(space: PreferenceSpace) -> None:
    one, two = make("bradley_terry", space), make("bradley_terry", space)
    two.fit(COMPARISONS[::-1])
    state = one.prior()
    [first], [second] = (rewards(method, ask(state, "a", "b")) for method in (one, two))
    assert first == pytest.approx(second)


def test_all_users_get_the_same(space: PreferenceSpace) -> None:
    method = make("bradley_terry", space)
    ann, bob = (method.adapt(persona(space, user, sign)) for user, sign in (("ann", 1), ("bob", -1)))
    [a], [b], [cold] = score(method, ask(ann, "x"), ask(bob, "x"), ask(method.prior(), "x"))
    assert a.reward == b.reward == cold.reward
    assert (a.status, cold.status) == ("ok", "cold")


def test_what_is_embedded(space: PreferenceSpace) -> None:
    seen: list[str] = []

    class Spy(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            seen.extend(texts)
            return super().encode(texts)

    for text in ("both", "response"):
        make("bradley_terry", space, Backends(Spy()), features=[{"name": "encoder", "text": text}])
    assert "good 0 good\n\npost 0" in seen
    assert "bad 0" in seen


def test_before_fit_and_after_a_bad_fit(space: PreferenceSpace) -> None:
    method = BradleyTerry(BradleyTerry.Config(), space, letter_backends(space))
    with pytest.raises(ScoreError, match="call fit"):
        score(method, ask(method.prior(), "x"))
    with pytest.raises(DataError, match="given none"):
        method.fit([])
    with pytest.raises(ScoreError, match="not finite") as caught:
        method.fit([*COMPARISONS, Comparison("u", "x", FAULT, "b")])
    assert caught.value.rows == (len(COMPARISONS),)
    assert method.weights is None


def test_unfitted_survives_save_and_load(space: PreferenceSpace, tmp_path: Path) -> None:
    BradleyTerry(BradleyTerry.Config(l2=0.5), space, Backends()).save(tmp_path)
    again = BradleyTerry.load(tmp_path, space, Backends())
    assert again.weights is None
    assert again.config.l2 == 0.5


def test_broken_or_foreign_weights(space: PreferenceSpace, tmp_path: Path) -> None:
    method = make("bradley_terry", space)
    method.save(tmp_path)

    class Wider(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            return np.hstack([super().encode(texts)] * 2)

    again = BradleyTerry.load(tmp_path, space, Backends(Wider()))
    with pytest.raises(ScoreError, match="32 numbers, the saved weights are 16"):
        score(again, ask(again.prior(), "x"))
    (tmp_path / "weights.safetensors").write_bytes(b"\x00" * 9)
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        BradleyTerry.load(tmp_path, space, Backends())
