"""Tallies: one pass gives what the whole table gives, and parts may be merged in any order."""

import json

import numpy as np
import pytest

from persona_rm.construct.card import figure_counts as tally
from persona_rm.construct.card.figure_counts import ExampleTally, LevelTally
from persona_rm.errors import DataError
from persona_rm.types import Example, Pair, Persona, Ugc

IDS = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def table():
    random = np.random.default_rng(3)
    levels = random.choice([1, 2, 3], size=(500, 6), p=[0.2, 0.5, 0.3])
    levels[:, 1] = np.where(random.random(500) < 0.8, levels[:, 0], levels[:, 1])
    return levels


def counted(*chunks):
    found = LevelTally(6)
    for chunk in chunks:
        found.add(chunk)
    return found


def test_correlation_is_numpys(table):
    assert np.allclose(counted(table).correlation(), np.corrcoef(table.T), atol=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_parts_merge_in_any_order(table, order, monkeypatch):
    monkeypatch.setattr(tally, "BLOCK", 64)
    parts = [counted(chunk) for chunk in (table[:7], table[7:300].astype(np.uint8), list(map(tuple, table[300:])))]
    found = LevelTally(6)
    for i in order:
        found.merge(LevelTally.from_state(json.loads(json.dumps(parts[i].state()))))
    whole = counted(table)
    assert found.n == 500
    assert np.array_equal(found.correlation(), whole.correlation())
    assert found.figures(IDS) == whole.figures(IDS)


def test_sums_are_exact_where_floats_and_int64_are_not():
    found = counted([[1, 1, 1, 1, 1, 1], [3, 1, 3, 3, 3, 3]])
    found.counts *= 2_000_000_000
    found.products *= 2_000_000_000
    assert found.n == 4_000_000_000
    assert found.correlation()[0, 2] == 1.0


def test_a_constant_dimension_has_no_correlation(table):
    table[:, 2] = 2
    found = counted(table)
    matrix = found.correlation()
    assert np.isnan(matrix[2]).all()
    assert np.isnan(matrix[:, 2]).all()
    assert np.isnan(matrix).sum() == 11
    figures = found.figures(IDS)
    assert figures.constant == ("c",)
    assert figures.strongest[0][:2] == ("a", "b")
    lines = found.correlation_csv(IDS).splitlines()
    assert lines[0] == "dimension,a,b,c,d,e,f"
    assert lines[3] == "c,,,,,,"
    assert float(lines[1].split(",")[2]) == pytest.approx(matrix[0, 1], abs=1e-6)


def test_level_shares():
    found = LevelTally(2)
    found.add([(1, 2), (2, 2), (3, 2), (3, 1)])
    assert found.shares() == {"low": 0.25, "none": 0.5, "high": 0.25}
    assert list(found.read_by_dimension("ab").items()) == [("a", 0.75), ("b", 0.25)]
    assert found.figures("ab").by_dimension == {
        "a": {"low": 1, "none": 1, "high": 2},
        "b": {"low": 1, "none": 3, "high": 0},
    }


def test_nothing_counted_is_nothing_said():
    found = counted([], np.empty((0, 6), int))
    assert (found.n, found.shares(), found.read_by_dimension(IDS)) == (0, {}, {})
    assert np.isnan(found.correlation()).all()
    assert found.figures(IDS).below_half is None
    empty = ExampleTally(6).figures(IDS)
    assert (empty.count, empty.mean_ugc, empty.chosen_longer) == (0, None, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1, 2, 3]], "whole numbers, found int64 \\(1, 3\\)"),
        ([[0, 1, 2, 3, 1, 2]], "1, 2 or 3, found 0"),
        ([[1, 1, 1, 1, 1, 9]], "1, 2 or 3, found 9"),
        ([[1.0] * 6], "found float64"),
        ([[1] * 6, [1] * 5], "whole numbers"),
        ([1] * 6, "found int64 \\(6,\\)"),
    ],
)
def test_wrong_levels_are_an_error_and_count_nothing(bad, message):
    found = counted([[1] * 6])
    with pytest.raises(DataError, match=message):
        found.add(bad)
    assert found.n == 1


def test_tallies_of_different_spaces_do_not_merge():
    with pytest.raises(DataError, match="6 dimensions cannot be joined with 5"):
        LevelTally(6).merge(LevelTally(5))
    with pytest.raises(DataError, match="different spaces"):
        ExampleTally(6).merge(ExampleTally(5))
    with pytest.raises(DataError, match="cannot be joined with 2"):
        ExampleTally(6).figures("ab")


def example(ways, ugc=(), pairs=(), chosen="long text", rejected="short", source="reddit", demo=""):
    said = tuple(Ugc("q", "a", way) for way in ugc)
    judged = tuple(Pair("q", "a", "b", way) for way in pairs)
    return Example("e", "p", chosen, rejected, ways, Persona("u", said, judged, demo), source)


def figures(*rows, dimensions=2):
    found = ExampleTally(dimensions)
    for row in rows:
        found.add(row)
    return found.figures(IDS[:dimensions])


def test_figures_of_an_example():
    found = figures(example((1, 1), ugc=[(1, -1), (1, 0), (1, -1)]))
    assert (found.with_ugc, found.with_pairs, found.mean_ugc, found.mean_non_neutral) == (1, 0, 3.0, 2.0)
    assert (found.mean_consistent, found.mean_majority_same, found.mean_majority_opposite) == (1.0, 1.0, 1.0)
    assert (found.mean_agreed, found.inconsistent, found.not_all_items) == (1.0, 0, 0)
    assert found.by_dimension == {"a": {"negative": 0, "positive": 1}, "b": {"negative": 0, "positive": 1}}
    assert found.consistent_by_dimension["b"] == {"negative": 0, "positive": 0}
    assert (found.n_ugc, found.n_pairs, found.non_neutral, found.consistent) == ({3: 1}, {0: 1}, {2: 1}, {1: 1})


def test_consistency_is_the_papers_rule_and_the_stricter_one_stands_beside_it():
    mixed = example((-1, 0), ugc=[(-1, 0), (-1, 0), (1, 0)], pairs=[(-1, 1)])
    apart = example((1, 0), ugc=[(1, 0)], pairs=[(-1, 0)])
    neutral = example((0, 0), ugc=[(1, 0)])
    found = figures(mixed, apart, neutral)
    assert (found.inconsistent, found.not_all_items) == (2, 3)
    assert found.agreed == {0: 2, 1: 1}
    assert found.by_dimension["a"] == {"negative": 1, "positive": 1}
    assert figures(mixed).consistent_by_dimension["a"] == {"negative": 0, "positive": 0}


def test_what_has_no_directions_is_counted_apart():
    found = figures(example(()), example((1, 0), ugc=[None], demo="Likes law."))
    assert (found.count, found.without_directions, found.unjudged, found.with_demo) == (2, 1, 1, 1)
    assert (found.mean_non_neutral, found.mean_consistent, found.inconsistent) == (1.0, None, 0)


def test_length_bias_sources_and_parts_by_split():
    rows = ExampleTally(2)
    rows.add(example((1, 0), ugc=[(1, 0)], pairs=[(1, 0)], demo="x"))
    rows.add(example((1, 0), ugc=[(1, 0)], chosen="same!", source="uf/honesty"), "train")
    rows.add(example((0, 1), pairs=[(0, 1)], chosen="no", source="uf/honesty"), "test")
    found, test = rows.figures(IDS[:2]), rows.figures(IDS[:2], "test")
    assert (found.chosen_longer, found.same_length, found.mean_rejected_chars) == (0.3333, 0.3333, 5.0)
    assert (test.count, test.chosen_longer, test.mean_chosen_chars) == (1, 0.0, 2.0)
    assert list(found.by_source.items()) == [("uf/honesty", 2), ("reddit", 1)]
    assert found.by_persona == {"PAIR": 1, "UGC": 1, "UGC + PAIR + DEMO": 1}
    assert (found.with_both, found.with_ugc, found.with_pairs) == (1, 2, 2)


def test_example_tallies_merge_and_travel_as_json():
    rows = [example((1, i % 3 - 1), ugc=[(1, 0)] * (i % 4), chosen="x" * i, source=str(i % 2)) for i in range(20)]
    whole, parts = ExampleTally(2), [ExampleTally(2), ExampleTally(2)]
    for i, row in enumerate(rows):
        split = "test" if i % 5 == 0 else "train"
        whole.add(row, split)
        parts[i % 2].add(row, split)
    found = ExampleTally.from_state(json.loads(json.dumps(parts[1].state())))
    found.merge(parts[0])
    for split in (None, "train", "test"):
        assert found.figures(IDS[:2], split) == whole.figures(IDS[:2], split)
    assert parts[0].figures(IDS[:2]).count == 10


@pytest.mark.parametrize("row", [example((1,)), example((1, 0), ugc=[(1, 0, 1)])])
def test_a_row_of_another_space_is_an_error_and_counts_nothing(row):
    found = ExampleTally(2)
    with pytest.raises(DataError, match="the space has 2 dimensions"):
        found.add(row)
    assert found.figures(IDS[:2]).count == 0
