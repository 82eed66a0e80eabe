import json

import numpy as np
import pytest

from persona_rm.benchmarks.figures import (
    Figure,
    accuracy,
    bootstrap_ratio,
    direction_figures,
    draw_weights,
    flips,
    mean_figure,
)
from persona_rm.errors import DataError


def test_accuracy_counts_ties_half():
    assert accuracy([2.0, 1.0, 1.0], [1.0, 2.0, 1.0]).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_accuracy_refuses_a_reward_that_is_not_finite(bad):
    with pytest.raises(DataError, match="finite"):
        accuracy([1.0, bad], [0.0, 0.0])


def test_flip_counts_turned_orders_only():
    assert flips([1, -1, 1, 0, 1], [-1, 1, 2, -1, 0]).tolist() == [1, 1, 0, 0, 0]


def test_weights_are_multinomial():
    weights = draw_weights(7, 50, np.random.default_rng(0))
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.std() > 0.5


def test_bootstrap_agrees_with_a_plain_loop():
    rng = np.random.default_rng(1)
    units = rng.integers(40, size=600).astype(str)
    taste = {u: rng.uniform(0.4, 1.0) for u in sorted(set(units))}
    values = np.array([float(rng.random() < taste[u]) for u in units])
    value, low, high = bootstrap_ratio(values, np.ones(600), units, seed=3)
    groups = [values[units == u] for u in sorted(set(units))]
    draws = [
        np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]).mean() for _ in range(2000)
    ]
    assert value == pytest.approx(values.mean())
    assert np.percentile(draws, [2.5, 97.5]) == pytest.approx([low, high], abs=0.008)


def test_users_are_drawn_not_cases():
    units = np.repeat([f"u{i}" for i in range(10)], 100)
    values = np.repeat([0.0, 1.0] * 5, 100)
    _, low, high = bootstrap_ratio(values, np.ones(1000), units)
    _, low_cases, high_cases = bootstrap_ratio(values, np.ones(1000), np.arange(1000).astype(str))
    assert high - low > 5 * (high_cases - low_cases)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        taste = np.clip(rng.normal(0.7, 0.1, 60), 0, 1)
        values = (rng.random((60, 8)) < taste[:, None]).astype(float).ravel()
        _, low, high = bootstrap_ratio(values, np.ones(480), np.repeat(np.arange(60), 8).astype(str), trial, 400)
        hits += low <= 0.7 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_same_seed_same_interval_and_chunks_do_not_matter(monkeypatch):
    values, units = np.arange(50.0), [str(i // 2) for i in range(50)]
    whole = bootstrap_ratio(values, np.ones(50), units, seed=5)
    assert bootstrap_ratio(values, np.ones(50), units, seed=5) == whole
    monkeypatch.setattr("persona_rm.benchmarks.figures.CHUNK", 25 * 100)
    assert bootstrap_ratio(values, np.ones(50), units, seed=5) == whole


def test_one_user_has_no_interval():
    with pytest.raises(DataError, match="two bootstrap units"):
        mean_figure("x", np.ones(5), ["u"] * 5)


def test_precision_and_recall_by_hand():
    golden = [(1, 0, -1, 0), (1, 1, 0, 0)]
    inferred = [(1, 1, -1, 0), (0, 1, 1, 0)]
    figures, undefined = direction_figures("vote", inferred, golden, ["a", "b"])
    values = {f.name: (f.value, f.n) for f in figures}
    assert undefined == []
    assert values["vote_positive_precision"] == (pytest.approx(2 / 4), 4)
    assert values["vote_positive_recall"] == (pytest.approx(2 / 3), 3)
    assert values["vote_negative_precision"] == (1.0, 1)
    assert values["vote_neutral_recall"] == (pytest.approx(2 / 4), 4)


def test_a_direction_that_was_never_inferred_is_named_not_invented():
    figures, undefined = direction_figures("vote", [(1, 0), (1, 0)], [(1, -1), (1, 0)], ["a", "b"])
    assert undefined == ["vote_negative_precision"]
    assert "vote_negative_recall" in {f.name for f in figures}


def test_figure_round_trip_and_exact_keys():
    figure = Figure("pba_golden", 0.9, 0.8, 1.0, 500)
    assert list(figure.to_dict()) == ["name", "value", "low", "high", "n"]
    failed = Figure("x", 0.9, 0.8, 1.0, 500, failed=2)
    assert Figure.from_dict(json.loads(json.dumps(failed.to_dict()))) == failed


@pytest.mark.parametrize(
    ("key", "value"), [("value", "0.9"), ("n", 1.5), ("low", None), ("high", float("nan")), ("name", 3)]
)
def test_a_figure_of_the_wrong_type_is_refused_by_key(key, value):
    row = Figure("x", 0.9, 0.8, 1.0, 500).to_dict() | {key: value}
    with pytest.raises(DataError, match=key):
        Figure.from_dict(row)
