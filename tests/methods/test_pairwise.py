"""Fitting by distinct texts ends at the weights of fitting by all differences."""

import numpy as np
import pytest

from persona_rm.errors import ScoreError
from persona_rm.methods import pairwise
from persona_rm.methods.pairwise import TextPairs, fit_weights, newton
from persona_rm.types import Comparison


def random_pairs(n: int, texts: int = 60) -> tuple[TextPairs, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(texts, 8))
    hidden = rng.normal(size=8)
    sides = np.array([rng.choice(texts, 2, replace=False) for _ in range(n)])
    margins = (vectors[sides[:, 0]] - vectors[sides[:, 1]]) @ hidden
    first = rng.random(n) < 1 / (1 + np.exp(-margins))
    sides = np.where(first[:, None], sides, sides[:, ::-1])
    return TextPairs([("x", str(i)) for i in range(texts)], sides[:, 0], sides[:, 1]), vectors


def test_texts_are_numbered_once() -> None:
    rows = [Comparison("u", "x", "a", "b"), Comparison("v", "x", "b", "c"), Comparison("u", "y", "a", "c")]
    pairs = TextPairs.of(rows)
    assert pairs.texts == [("x", "a"), ("x", "b"), ("x", "c"), ("y", "a"), ("y", "c")]
    assert (pairs.chosen.tolist(), pairs.rejected.tolist()) == ([0, 1, 3], [1, 2, 4])
    assert pairs.rows(np.array([2])).chosen.tolist() == [3]


def test_many_comparisons_give_the_weights_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, vectors = random_pairs(3000)
    exact = newton(pairs.differences(vectors), 1e-3, 100)
    # With a sample of a tenth the Hessian is rough, and the weights are the same all the same.
    monkeypatch.setattr(pairwise, "DENSE", 300)
    assert fit_weights(vectors, pairs, 1e-3, 100) == pytest.approx(exact, abs=1e-7)
    with pytest.raises(ScoreError, match="did not converge in 1 steps"):
        fit_weights(vectors, pairs, 1e-3, 1)


def test_chunks_are_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = random_pairs(100)
    monkeypatch.setattr(pairwise, "CHUNK", 30)
    parts = list(pairs.chunks())
    assert [len(part) for part, _ in parts] == [30, 30, 30, 10]
    assert np.concatenate([part.chosen for part, _ in parts]).tolist() == pairs.chosen.tolist()
    assert np.concatenate([rows for _, rows in parts]).tolist() == list(range(100))
