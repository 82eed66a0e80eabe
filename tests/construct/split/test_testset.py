"""AlignX_test on a space of three dimensions: balanced cells, personas that point the cell's way, shortfalls said."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.pairing.rules import consistent, majority
from persona_rm.construct.split.testset import Cell, TestConfig, build, cells_of
from persona_rm.io.alignx_format import read_examples, write_examples
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Example, Pair, Persona, Ugc

CALM = settings(deadline=None, max_examples=40, database=None)
CONFIG = TestConfig(per_cell=5, n_ugc=2, n_pairs=2)
SMALL = PreferenceSpace("small", load_space("alignx90").dimensions[:3])


def example(number, directions, ugc, pairs):
    persona = Persona(
        f"user {number}",
        tuple(Ugc(f"post {number} {i}", f"said {number} {i}", way) for i, way in enumerate(ugc)),
        tuple(Pair(f"seen {number} {i}", f"better {i}", f"worse {i}", way) for i, way in enumerate(pairs)),
        "A person.",
    )
    return Example(f"e{number}", f"prompt {number}", "chosen", "rejected", directions, persona, extra={"kept": number})


def examples_of(n, seed=0, rare=0.5):
    """Random examples; dimension 2 is positive in few of them."""
    random = np.random.default_rng(seed)

    def directions():
        return (*random.integers(-1, 2, 2).tolist(), int(random.choice([-1, 0, 1], p=[0.5, 0.5 - rare / 4, rare / 4])))

    def items(pair):
        return [tuple(w if random.random() < 0.7 else int(random.integers(-1, 2)) for w in pair) for _ in range(6)]

    pairs = [directions() for _ in range(n)]
    return [example(number, pair, items(pair), items(pair)) for number, pair in enumerate(pairs)]


SETS = st.builds(examples_of, st.integers(0, 60), st.integers(0, 30), st.sampled_from([0.0, 0.1, 0.5]))


def made(examples, config=CONFIG, seed=0):
    return build(lambda: iter(examples), config, SMALL, seed)


@CALM
@given(SETS)
def test_cells_are_balanced_and_said_to_be_short_where_they_are(examples):
    found = made(examples)
    counts = Counter((case.extra["dimension"], case.extra["direction"]) for case in found.examples)
    assert len(found.cells) == 6
    for cell in found.cells:
        assert counts[cell.dimension, cell.direction] == cell.chosen <= cell.wanted == 5
        assert (cell in found.short) == (cell.chosen < 5)
    ids = [case.id for case in found.examples]
    assert len(set(ids)) == len(ids)


@CALM
@given(SETS)
def test_no_cell_is_short_while_a_free_example_could_serve_it(examples):
    found = made(examples)
    used = {case.id for case in found.examples}
    free = Counter(cell for e in examples if e.id not in used for cell in cells_of(e, CONFIG))
    for dimension, name in enumerate(SMALL.ids):
        for way, word in ((1, "positive"), (-1, "negative")):
            cell = next(c for c in found.cells if (c.dimension, c.direction) == (name, word))
            assert not (cell.short and free[Cell(dimension, way)])


@CALM
@given(SETS)
def test_pair_and_every_kept_item_point_the_way_of_the_cell(examples):
    before = {e.id: e for e in examples}
    for case in made(examples).examples:
        dimension = SMALL.index(case.extra["dimension"])
        way = 1 if case.extra["direction"] == "positive" else -1
        assert case.directions[dimension] == way
        assert (len(case.persona.ugc), len(case.persona.pairs)) == (2, 2)
        assert dimension in consistent(case.directions, [item.directions for item in case.persona.items])
        whole = before[case.id].persona
        assert set(case.persona.items) <= set(whole.items)
        for items in (whole.ugc, whole.pairs):
            assert majority([item.directions for item in items])[dimension] == way
        assert case.extra["kept"] == before[case.id].extra["kept"]


@CALM
@given(SETS, st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_the_examples_does_not_matter(examples, random, seed):
    shuffled = random.sample(examples, len(examples))
    assert made(examples, seed=seed) == made(shuffled, seed=seed)
    assert made([*examples, *shuffled], seed=seed) == made(examples, seed=seed)


def test_another_seed_draws_others():
    examples = examples_of(200)
    assert made(examples) != made(examples, seed=1)
    assert not made(examples, TestConfig(per_cell=3, n_ugc=1, n_pairs=1)).short


def test_the_rarest_cell_chooses_first():
    """Every example could serve dimension 0; the two that alone serve dimension 1 are left to it."""
    common = [example(i, (1, 0, 0), [(1, 0, 0)] * 3, [(1, 0, 0)] * 3) for i in range(3)]
    rare = [example(i, (1, 1, 0), [(1, 1, 0)] * 3, [(1, 1, 0)] * 3) for i in range(3, 5)]
    cells = {(c.dimension, c.direction): c for c in made([*common, *rare]).cells}
    ids = SMALL.ids
    assert (cells[ids[1], "positive"].chosen, cells[ids[1], "positive"].eligible) == (2, 2)
    assert (cells[ids[0], "positive"].chosen, cells[ids[0], "positive"].eligible) == (3, 5)


@pytest.mark.parametrize(
    ("directions", "ugc", "pairs"),
    [
        ((0, 1, 1), [(1, 0, 0)] * 3, [(1, 0, 0)] * 3),
        ((-1, 0, 0), [(1, 0, 0)] * 3, [(1, 0, 0)] * 3),
        ((1, 0, 0), [(-1, 0, 0)] * 3, [(1, 0, 0)] * 3),
        ((1, 0, 0), [(1, 0, 0)] * 2 + [(0, 0, 0)] * 3, [(1, 0, 0)] * 3),
        ((1, 0, 0), [(1, 0, 0)] * 2 + [(-1, 0, 0)] * 2, [(1, 0, 0)] * 3),
        ((1, 0, 0), [(1, 0, 0)] * 3, [(1, 0, 0)]),
        ((1, 0, 0), [(1, 0, 0)] * 3, []),
        ((1, 0, 0), [None] * 3, [(1, 0, 0)] * 3),
        ((), [(1, 0, 0)] * 3, [(1, 0, 0)] * 3),
    ],
    ids=["other dimension", "pair opposes", "ugc opposes", "most neutral", "tie", "few", "none", "unknown", "bare"],
)
def test_an_example_that_is_not_consistent_serves_no_cell(directions, ugc, pairs):
    assert Cell(0, 1) not in cells_of(example(0, directions, ugc, pairs), CONFIG)
    assert Cell(0, 1) in cells_of(example(0, (1, 0, 0), [(1, 0, 0)] * 3, [(1, 0, 0)] * 3), CONFIG)


def test_a_component_that_is_not_wanted_need_not_be_there():
    alone = example(0, (1, 0, 0), [(1, 0, 0)] * 3, [])
    config = TestConfig(per_cell=1, n_ugc=2, n_pairs=0)
    assert [case.persona.pairs for case in made([alone], config).examples] == [()]


def test_items_of_unknown_directions_are_never_kept():
    mixed = example(0, (1, 0, 0), [(1, 0, 0), None, (1, 0, 0), (1, 0, 0), None], [(1, 0, 0)] * 3)
    case = made([mixed]).examples[0]
    assert all(item.directions for item in case.persona.items)


def test_from_a_file_and_back(tmp_path):
    write_examples(tmp_path / "all.jsonl", examples_of(60), SMALL)
    found = build(lambda: read_examples(tmp_path / "all.jsonl", SMALL), CONFIG, SMALL, 0)
    write_examples(tmp_path / "test.jsonl", found.examples, SMALL)
    assert tuple(read_examples(tmp_path / "test.jsonl", SMALL)) == found.examples
