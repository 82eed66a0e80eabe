"""The few that teach most: against the plain greedy, the definition of f, and a random choice."""

from collections import Counter
from math import sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from persona_rm.construct.split.curate import UNIT, CurateConfig, agreeing, curate, worth
from persona_rm.types import Example, Pair, Persona, Ugc

CALM = settings(deadline=None, max_examples=40, database=None)
DIMENSIONS = 8


def example(id_, directions, ugc=(), pairs=()):
    said = tuple(Ugc("post", f"said {i}", way) for i, way in enumerate(ugc))
    judged = tuple(Pair("seen", "better", f"worse {i}", way) for i, way in enumerate(pairs))
    return Example(id_, "prompt", "chosen", "rejected", directions, Persona("user", said, judged))


def examples_of(n, seed=0, skew=6.0):
    """Some dimensions are spoken about often, most of them hardly."""
    random = np.random.default_rng(seed)
    often = random.beta(1, skew, DIMENSIONS)
    examples = []
    for number in range(n):
        ways = tuple(int(random.choice([-1, 1])) if random.random() < p else 0 for p in often)
        size = random.integers(0, 4, 2)
        examples.append(example(f"e{number}", ways, [ways] * size[0], [ways] * size[1]))
    return examples


SETS = st.builds(examples_of, st.integers(0, 40), st.integers(0, 40))


def value(examples, config):
    """f by its definition."""
    cells = Counter((d, way) for e in examples for d, way in enumerate(e.directions) if way)
    own = sum(
        config.items * min(agreeing(e), config.full) / config.full
        + config.both * bool(e.persona.ugc and e.persona.pairs)
        for e in examples
    )
    return sum(map(sqrt, cells.values())) + own


def plain(examples, n, config):
    """Greedy that computes every gain at every step; f in units of 2^-40, as the ties are."""

    def units(chosen):
        counts = Counter((d, way) for e in chosen for d, way in enumerate(e.directions) if way)
        steps = (round(UNIT * (sqrt(k + 1) - sqrt(k))) for count in counts.values() for k in range(count))
        return sum(steps) + sum(worth(e, config) for e in chosen)

    chosen, left = [], sorted(examples, key=lambda e: e.id)
    while left and len(chosen) < n:
        best = max(left, key=lambda e: units([*chosen, e]))
        chosen.append(best)
        left.remove(best)
    return tuple(e.id for e in chosen)


@CALM
@given(SETS, st.integers(0, 12), st.sampled_from([CurateConfig(), CurateConfig(items=0, both=0)]))
def test_lazy_greedy_chooses_what_plain_greedy_chooses(examples, n, config):
    assert curate(examples, n, config).ids == plain(examples, n, config)


@CALM
@given(SETS, st.integers(0, 12))
def test_gains_are_those_of_f_and_never_grow(examples, n):
    config = CurateConfig(full=4)
    found, by_id = curate(examples, n, config), {e.id: e for e in examples}
    chosen = [by_id[id_] for id_ in found.ids]
    assert sum(found.gains) == pytest.approx(value(chosen, config))
    assert all(a >= b - 1e-9 for a, b in zip(found.gains, found.gains[1:], strict=False))
    assert found.cells == Counter((d, way) for e in chosen for d, way in enumerate(e.directions) if way)


@CALM
@given(SETS, st.integers(0, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(examples, n, random):
    assert curate([*random.sample(examples, len(examples)), *examples], n) == curate(examples, n)


def test_it_covers_more_than_a_random_choice():
    examples = examples_of(600, skew=12.0)
    by_id = {e.id: e for e in examples}
    chosen = [by_id[id_] for id_ in curate(examples, 30).ids]
    at_random = [Random(seed).sample(examples, 30) for seed in range(20)]

    def rarest(found):
        counts = Counter((d, way) for e in found for d, way in enumerate(e.directions) if way)
        return sum(min(counts[d, way], 3) for d in range(DIMENSIONS) for way in (-1, 1))

    assert all(rarest(chosen) > rarest(other) for other in at_random)
    assert all(value(chosen, CurateConfig()) > value(other, CurateConfig()) for other in at_random)


def test_a_rare_direction_is_chosen_before_another_common_one():
    common = [example(f"a{i}", (1, 1, 0)) for i in range(9)]
    assert curate([*common, example("z", (0, 0, -1))], 4).ids == ("a0", "z", "a1", "a2")


def test_more_agreeing_items_and_both_components_are_worth_more_and_ties_go_to_the_smaller_id():
    way = (1, 0)
    few, many, both = (example("c", way, [way]), example("b", way, [way] * 3), example("a", way, [way], [way] * 2))
    assert curate([few, many, both], 3).ids == ("a", "b", "c")
    assert curate([few, many, both], 3, CurateConfig(items=0, both=0)).ids == ("a", "b", "c")
    assert curate([few, many], 1, CurateConfig(items=0)).ids == ("b",)


def test_agreeing_items():
    way, other = (1, -1, 0), (-1, -1, 1)
    assert agreeing(example("a", way, [way] * 2, [other])) == 3
    assert agreeing(example("a", way, [(0, 0, 1)] * 4)) == 0
    assert agreeing(example("a", way, [None, way])) == 1
    assert agreeing(example("a", way)) == agreeing(example("a", (), [way])) == 0


@pytest.mark.parametrize("wrong", [{"items": -1}, {"full": 0}, {"unknown": 1}])
def test_wrong_settings(wrong):
    with pytest.raises(ValidationError):
        CurateConfig(**wrong)
