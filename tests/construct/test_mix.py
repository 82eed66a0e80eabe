"""Universal-value pairs as examples: personas of one kind, sides by prompt, limits and share."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.mix import OVER_LIMIT, OVER_SHARE, MixConfig, ValueMix
from persona_rm.construct.pairing.rules import demo
from persona_rm.construct.split.leakage import check
from persona_rm.errors import DataError, RecipeError
from persona_rm.space import load_space
from persona_rm.types import Drop, Example, content_id

SPACE = load_space("alignx90")
CALM = settings(deadline=None, max_examples=40, database=None)
CONFIG = MixConfig(n_pairs=4, min_items=2)


@dataclass(frozen=True)
class Judged:
    """A value pair as a source would make it."""

    id: str
    source: str
    prompt: str
    chosen: str
    rejected: str
    dimension: str
    direction: int = 1


def judged(number, source="ultra", dimension="honesty", prompt=None, direction=1):
    post = f"prompt {number}" if prompt is None else f"prompt {prompt}"
    return Judged(f"p{number}", source, post, f"good {number}", f"bad {number}", dimension, direction)


ROWS = st.tuples(
    st.sampled_from(["ultra", "steer"]),
    st.sampled_from(["honesty", "helpfulness"]),
    st.integers(0, 20),
    st.sampled_from([1, 1, -1]),
)
SETS = st.lists(ROWS, max_size=60).map(lambda rows: [judged(i, *row) for i, row in enumerate(rows)])


def made(pairs, side="train", config=CONFIG, test=0.0, seed=0, others=None):
    rows = list(ValueMix(pairs, config, SPACE, seed, test).rows(side, others))
    return [row for row in rows if isinstance(row, Example)], [row for row in rows if isinstance(row, Drop)]


@CALM
@given(SETS, st.sampled_from([0.0, 0.3]))
def test_every_pair_becomes_an_example_of_one_direction_or_a_drop(pairs, test):
    by_user = {f"value-{p.source}-{p.dimension}-{p.id}": p for p in pairs}
    kinds = {(p.prompt, p.chosen, p.rejected): (p.source, p.dimension, p.direction) for p in pairs}
    seen = Counter()
    for side in ("train", "test"):
        examples, drops = made(pairs, side, test=test)
        seen.update([drop.id for drop in drops])
        for example in examples:
            pair = by_user[example.persona.user_id]
            seen[pair.id] += 1
            assert (example.prompt, example.chosen, example.rejected) == (pair.prompt, pair.chosen, pair.rejected)
            at = SPACE.index(pair.dimension)
            assert [d for d, way in enumerate(example.directions) if way] == [at]
            assert example.directions[at] == pair.direction
            assert (example.source, example.group) == (pair.source, content_id(pair.prompt))
            assert example.persona.demo == demo(example.directions, SPACE)
            items = example.persona.pairs
            assert 2 <= len(items) <= 4
            assert len({pair.prompt, *(item.prompt for item in items)}) == len(items) + 1
            assert {item.directions for item in items} == {example.directions}
            found = {kinds[item.prompt, item.chosen, item.rejected] for item in items}
            assert found == {(pair.source, pair.dimension, pair.direction)}
    assert seen == Counter(pair.id for pair in pairs)


@CALM
@given(SETS, st.integers(0, 4))
def test_no_prompt_is_on_both_sides_whatever_its_source_and_dimension(pairs, seed):
    (train, _), (test, _) = (made(pairs, side, test=0.4, seed=seed) for side in ("train", "test"))
    if train and test:
        assert check(train, test, near=None).clean


def test_prompts_that_many_sources_share_stay_together():
    kinds = [(source, dimension) for source in ("ultra", "steer") for dimension in ("honesty", "helpfulness")]
    pairs = [judged(4 * prompt + i, *kind, prompt) for prompt in range(60) for i, kind in enumerate(kinds)]
    train, test = (made(pairs, side, test=0.5)[0] for side in ("train", "test"))
    assert (len(train) % 4, len(test) % 4, len(train) + len(test)) == (0, 0, 240)
    assert min(len(train), len(test)) > 60
    assert check(train, test, near=None).clean
    assert not check(made(pairs)[0], test, near=None).clean


@CALM
@given(SETS, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    limited = MixConfig(n_pairs=3, min_items=1, share=0.2)
    assert made(pairs, test=0.3) == made(shuffled, test=0.3)
    assert made(pairs, config=limited, others=40) == made(shuffled, config=limited, others=40)


def test_a_full_persona_is_found_where_there_are_enough_prompts():
    """Prompts with many pairs leave few prompts in the first draw: then all pairs are looked through."""
    pairs = [judged(i, prompt=0) for i in range(400)] + [judged(400 + i) for i in range(6)]
    examples, drops = made(pairs)
    assert (len(examples), drops) == (406, [])
    assert {len(example.persona.pairs) for example in examples} == {4}


def test_too_few_pairs_of_a_kind_are_dropped_with_the_reason():
    examples, drops = made([judged(0), judged(1), judged(2, direction=-1), judged(3, source="steer")])
    assert examples == []
    assert {drop.reason for drop in drops} == {"fewer than 2 other pairs of its kind"}
    assert {drop.what for drop in drops} == {"pair"}


def test_limits_by_source_dimension_and_both():
    pairs = [judged(i, s, d) for i, (s, d) in enumerate([("ultra", "honesty"), ("ultra", "helpfulness")] * 20)]
    pairs += [judged(100 + i, "steer", "helpfulness") for i in range(20)]
    limit = {"ultra/honesty": 3, "helpfulness": 12, "steer": 5}
    examples, drops = made(pairs, config=MixConfig(n_pairs=4, min_items=2, limit=limit))
    counts = Counter((e.source, e.persona.user_id.split("-")[2]) for e in examples)
    assert counts["ultra", "honesty"] == 3
    assert counts["ultra", "helpfulness"] + counts["steer", "helpfulness"] == 12
    assert counts["steer", "helpfulness"] <= 5
    assert Counter(drop.reason for drop in drops) == {OVER_LIMIT: len(pairs) - 15}


def test_a_share_of_all_examples():
    pairs = [judged(i) for i in range(100)]
    examples, drops = made(pairs, config=MixConfig(n_pairs=4, min_items=2, share=0.2), others=80)
    assert len(examples) == 20
    assert {drop.reason for drop in drops} == {OVER_SHARE}
    assert made(pairs, config=MixConfig(share=0.0), others=80)[0] == []
    with pytest.raises(RecipeError, match=r"mix\.share needs the number of the other examples"):
        made(pairs, config=MixConfig(share=0.2))


def test_another_seed_draws_other_items():
    pairs = [judged(i) for i in range(50)]
    first, again, other = (made(pairs, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert {e.id for e in first} == {e.id for e in other}
    assert {e.id: e.persona for e in first} != {e.id: e.persona for e in other}


def test_wrong_pairs_and_limits_say_what_there_is():
    with pytest.raises(DataError, match="direction is 0"):
        made([judged(0, direction=0)])
    with pytest.raises(DataError, match="no dimension 'verbosity'"):
        made([judged(0, dimension="verbosity")])
    with pytest.raises(RecipeError, match="names 'helpsteer', which no pair has; there is: honesty, ultra, ultra/hon"):
        made([judged(0)], config=MixConfig(limit={"helpsteer": 3}))
    with pytest.raises(RecipeError, match="must be 0 or more"):
        made([judged(0)], config=MixConfig(limit={"ultra": -1}))
