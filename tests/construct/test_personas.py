"""Lookalike personas on a small world of five dimensions, against the rules of section 4.2."""

import numpy as np
import pytest

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.personas import Lookalikes
from persona_rm.construct.records import dump, example, load
from persona_rm.construct.steps import consistent, pair
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread

CONFIG = ConstructConfig(n_ugc=5, n_pairs=3, min_items=2, candidates=20)


@pytest.fixture(scope="module")
def small(space):
    return PreferenceSpace("small", space.dimensions[:5])


def world(n=60, seed=0, neutral=0.4):
    random = np.random.default_rng(seed)
    side = (1 - neutral) / 2
    threads = []
    for t in range(n):
        rows = random.choice([1, 2, 3], p=[side, neutral, side], size=(3, 5)).tolist()
        comments = tuple(Comment(f"{t}/{i}", f"text {t} {i}", levels=tuple(row)) for i, row in enumerate(rows))
        threads.append(Thread(f"t{t}", "test", f"post {t}", comments))
    pairs = [(thread, found) for thread in threads if not isinstance(found := pair(thread, CONFIG, seed), Drop)]
    return threads, pairs


@pytest.fixture(scope="module")
def made(small):
    threads, pairs = world()
    lookalikes = Lookalikes(threads, pairs, CONFIG, small, 0)
    return threads, pairs, [lookalikes.example(*entry) for entry in pairs]


def test_items_are_similar_consistent_and_of_other_posts(made):
    threads, pairs, examples = made
    levels = {comment.text: comment.levels for thread in threads for comment in thread.comments}
    built = [(found, entry) for found, entry in zip(examples, pairs, strict=True) if not isinstance(found, Drop)]
    assert len(built) > 30
    for found, (thread, drawn) in built:
        items = [*found.persona.ugc, *found.persona.pairs]
        assert thread.prompt not in {item.prompt for item in items}
        assert consistent(drawn.directions, [item.directions for item in items])
        for text, side in [
            *((item.comment, drawn.chosen) for item in found.persona.ugc),
            *((item.chosen, drawn.chosen) for item in found.persona.pairs),
            *((item.rejected, drawn.rejected) for item in found.persona.pairs),
        ]:
            assert sum(a == b for a, b in zip(levels[text], side.levels, strict=True)) / 5 > 0.6


def test_sizes_and_one_item_a_post(made):
    for found in made[2]:
        if not isinstance(found, Drop):
            assert len(found.persona.ugc) in (0, 2, 3, 4, 5)
            assert len(found.persona.pairs) in (0, 2, 3)
            assert found.persona.n_items
            assert len({item.prompt for item in found.persona.ugc}) == len(found.persona.ugc)


def test_an_example_carries_the_pair_and_a_person(made, small):
    found = next(found for found in made[2] if not isinstance(found, Drop))
    assert found.persona.user_id == f"lookalike-{found.id}"
    assert found.persona.demo.startswith("A person who ")
    assert found.group == found.group.strip() != ""
    assert load(dump(found))[1] == []
    assert example(load(dump(found))[0]) == found


def test_the_order_of_the_input_changes_nothing(made, small):
    threads, pairs, examples = made
    turned = Lookalikes(threads[::-1], pairs[::-1], CONFIG, small, 0)
    assert [turned.example(*entry) for entry in pairs] == examples


def test_another_seed_draws_other_items(made, small):
    threads, pairs, examples = made
    other = Lookalikes(threads, pairs, CONFIG, small, 1)
    assert [other.example(*entry) for entry in pairs] != examples


def test_too_few_items_is_a_reason(small):
    threads, pairs = world(n=3)
    lookalikes = Lookalikes(threads, pairs, ConstructConfig(min_items=16), small, 0)
    assert {found.reason for found in (lookalikes.example(*entry) for entry in pairs)} == {
        "fewer than 16 similar, consistent items"
    }


def test_posts_with_the_same_text_are_one_post(small):
    threads, pairs = world(n=30)
    twins = [*threads, *(Thread("copy-" + t.id, "test", t.prompt, t.comments) for t in threads)]
    lookalikes = Lookalikes(twins, pairs, CONFIG, small, 0)
    for thread, drawn in pairs:
        found = lookalikes.example(thread, drawn)
        if not isinstance(found, Drop):
            assert thread.prompt not in {item.prompt for item in (*found.persona.ugc, *found.persona.pairs)}
