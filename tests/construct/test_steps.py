"""The pure rows of construction, on threads small enough to see the answer."""

import pytest

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.steps import clean, consistent, contrast, demo, lone, majority, pair
from persona_rm.errors import DataError
from persona_rm.types import Comment, Drop, Thread

CONFIG = ConstructConfig()


def thread(*texts, prompt="What do you think?", levels=None):
    comments = [Comment(f"t/{i}", text, levels=levels[i] if levels else None) for i, text in enumerate(texts)]
    return Thread("t", "test", prompt, tuple(comments))


def dropped(drops):
    return sorted((drop.what, drop.reason) for drop in drops)


def test_clean_keeps_good_responses():
    good = thread("a long enough response", "another long enough one")
    assert clean(good, CONFIG) == (good, [])


@pytest.mark.parametrize("prompt", ["", "  \n", "[deleted]", "[removed]"])
def test_an_empty_post_drops_the_thread_and_counts_its_responses(prompt):
    kept, drops = clean(thread("a long enough response", "x", prompt=prompt), CONFIG)
    assert kept is None
    assert dropped(drops) == [("post", "empty post")] + [("response", "under an empty post")] * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [("short", "too short"), ("", "too short"), ("x" * 4001, "too long"), ("[deleted]", "deleted or removed")],
)
def test_unusable_responses_have_a_reason(text, reason):
    kept, drops = clean(thread("a long enough response", text), CONFIG)
    assert [comment.id for comment in kept.comments] == ["t/0"]
    assert drops == [Drop("response", "t/1", reason)]


def test_duplicates_are_found_whatever_the_case_and_spaces():
    kept, drops = clean(thread("The same  Response", "the same response", "a different one"), CONFIG)
    assert [comment.id for comment in kept.comments] == ["t/0", "t/2"]
    assert drops == [Drop("response", "t/1", "duplicate in its thread")]


def test_a_thread_without_responses():
    assert clean(thread(), CONFIG) == (None, [Drop("post", "t", "empty thread")])


def test_a_thread_without_usable_responses():
    kept, drops = clean(thread("no", "nope"), CONFIG)
    assert kept is None
    assert dropped(drops) == [("post", "no usable response"), ("response", "too short"), ("response", "too short")]


def test_directions():
    assert contrast((3, 2, 1, 2), (1, 2, 3, 1)) == (1, 0, -1, 1)
    assert lone((1, 2, 3)) == (-1, 0, 1)


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


def test_majority():
    assert majority([(1, 0, -1), (1, 0, 1), (0, -1, -1)]) == (1, 0, -1)
    assert majority([(1, -1), (-1, 0)]) == (0, 0)
    with pytest.raises(DataError, match="at least one vote"):
        majority([])


def test_consistent_dimensions():
    assert consistent((1, -1, 0, 1), [(1, -1, 0, 0), (1, 1, 0, 1)]) == [0]
    assert consistent((0, 1), [(0, -1)]) == []
    assert consistent((0, 1), []) == [1]


def test_demo_text(space):
    ways = dict.fromkeys(space.ids, 0) | {"extraversion": 1, "likes_sports": 1, "need_order": -1}
    text = demo(tuple(ways.values()), space)
    assert text == "A person who is outgoing and likes sports, but does not mind disorder."
    only = demo(tuple((dict.fromkeys(space.ids, 0) | {"need_order": -1}).values()), space)
    assert only == "A person who does not mind disorder."
