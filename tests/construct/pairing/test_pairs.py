"""Preference pairs of threads small enough to see the answer."""

import pytest

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.pairing.pairs import pairs
from persona_rm.construct.pairing.rules import contrast
from persona_rm.errors import DataError
from persona_rm.types import Comment, Drop, Thread

CONFIG = ConstructConfig()


def thread(*texts, levels=None, id_="t"):
    comments = [Comment(f"{id_}/{i}", text, levels=levels[i] if levels else None) for i, text in enumerate(texts)]
    return Thread(id_, "test", "What do you think?", tuple(comments))


def pair(post, config, seed):
    """The only pair of a thread, or why there is none."""
    (found,) = pairs([post], config, seed)
    return found if isinstance(found, Drop) else found[0]


def test_a_pair_comes_from_two_clusters_and_shows_their_difference():
    levels = [(3, 2, 2)] * 2 + [(1, 2, 2)] * 2
    found = pair(thread("first one", "second one", "third one", "fourth one", levels=levels), CONFIG, 0)
    assert found.chosen.levels != found.rejected.levels
    assert found.directions == contrast(found.chosen.levels, found.rejected.levels)
    assert found.directions[0] in (-1, 1)
    assert found.directions[1:] == (0, 0)


def test_both_orders_and_every_response_are_drawn():
    post = thread("first one", "second one", "third one", levels=[(3, 2), (3, 2), (1, 2)])
    drawn = {(found.chosen.id, found.rejected.id) for found in (pair(post, CONFIG, seed) for seed in range(60))}
    assert drawn == {("t/0", "t/2"), ("t/1", "t/2"), ("t/2", "t/0"), ("t/2", "t/1")}


def test_a_pair_depends_on_seed_and_id_only():
    post = thread("first one", "second one", "third one", levels=[(3, 2), (2, 2), (1, 2)])
    assert pair(post, CONFIG, 5) == pair(post, CONFIG, 5)


def test_posts_that_give_no_pair_say_why():
    assert pair(thread("only one", levels=[(1, 2)]), CONFIG, 0).reason == "fewer than two usable responses"
    same = thread("first one", "second one", levels=[(1, 2)] * 2)
    assert pair(same, CONFIG, 0) == Drop("pair", "t", "no contrast between the responses")


def test_a_pair_needs_levels():
    with pytest.raises(DataError, match="'t/0' carries no levels"):
        pair(thread("first one", "second one"), CONFIG, 0)


def many(n, id_="t"):
    levels = [(1 + i % 3, 1 + (i // 3) % 3, 1 + (i // 9) % 3) for i in range(n)]
    return thread(*(f"text {i}" for i in range(n)), levels=levels, id_=id_)


def test_a_post_can_give_several_pairs_and_never_the_same_two_responses_twice():
    (found,) = pairs([many(9)], CONFIG.model_copy(update={"pairs_per_post": 5}), 0)
    assert len({frozenset((p.chosen.id, p.rejected.id)) for p in found}) == len(found) == 5
    (few,) = pairs([many(2)], CONFIG.model_copy(update={"pairs_per_post": 5}), 0)
    assert len(few) == 1


def test_a_thread_has_the_same_pairs_alone_and_among_others():
    posts = [many(n, f"t{n}") for n in (2, 5, 9, 40)]
    together = pairs(posts, CONFIG, 3)
    assert together == [pairs([post], CONFIG, 3)[0] for post in posts]
    assert together[::-1] == pairs(posts[::-1], CONFIG, 3)


def test_margin_takes_the_responses_that_differ_most():
    levels = [(1, 1, 1, 1), (1, 1, 1, 2), (3, 3, 3, 3)]
    config = CONFIG.model_copy(update={"pick": "margin"})
    orders = set()
    for seed in range(20):
        found = pair(thread("a", "b", "c", levels=levels), config, seed)
        assert sum(map(abs, found.directions)) == 4
        orders.add(found.chosen.id)
    assert len(orders) > 1, "who is chosen is drawn"


def test_too_little_contrast_is_a_reason():
    config = CONFIG.model_copy(update={"min_contrast": 3})
    post = thread("first one", "second one", levels=[(1, 1, 2), (3, 3, 2)])
    assert pair(post, config, 0) == Drop("pair", "t", "fewer than 3 dimensions differ")
    assert pair(post, config.model_copy(update={"min_contrast": 2}), 0).directions.count(0) == 1


def test_five_thousand_replies():
    (found,) = pairs([many(5000)], CONFIG.model_copy(update={"pick": "margin"}), 0)
    assert len(found) == 1
