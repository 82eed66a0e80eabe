"""The split, on graphs of any shape: no post and no author may be on both sides."""

from collections import defaultdict
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from persona_rm.construct.split.sides import OTHER_SIDE, SideRequest, Sides, SplitConfig, apply, in_test, side_of
from persona_rm.errors import DataError
from persona_rm.types import Comment, Drop, Thread

AUTHORS = st.one_of(st.none(), st.integers(0, 12).map("p{}".format))
CALM = settings(deadline=None, max_examples=60, database=None)
GRAPHS = st.lists(st.tuples(st.integers(0, 8), AUTHORS, st.lists(AUTHORS, max_size=4)), max_size=25)


def threads_of(graph):
    """Threads, and what the split reads of them; `graph` lists (post group, asker, responders)."""
    threads = [
        Thread(
            f"t{t}",
            "test",
            f"post {group}",
            tuple(Comment(f"t{t}/{i}", f"text {t} {i}", who) for i, who in enumerate(who)),
            asker,
        )
        for t, (group, asker, who) in enumerate(graph)
    ]
    asked = [SideRequest(thread.id, thread.prompt, thread.author) for thread in threads]
    return threads, asked


@CALM
@given(GRAPHS, st.integers(0, 5), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_no_author_and_no_post_is_on_both_sides(graph, seed, share):
    threads, asked = threads_of(graph)
    sides = Sides.of(asked, seed, share)
    posts, authors = defaultdict(set), defaultdict(set)
    for thread in threads:
        side = sides.thread(thread.id)
        posts[thread.prompt].add(side)
        assert side == sides.post(thread.prompt)
        kept, _ = apply(thread, sides)
        for who in [thread.author, *(comment.author for comment in (kept.comments if kept else ()))]:
            if who is not None:
                authors[who].add(side)
                assert sides.author(who) == side
    assert all(len(found) == 1 for found in [*posts.values(), *authors.values()])


@CALM
@given(GRAPHS, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(graph, random):
    threads, asked = threads_of(graph)
    shuffled = random.sample(asked, len(asked))
    first, second = Sides.of(asked, 3, 0.4), Sides.of(shuffled, 3, 0.4)
    assert [apply(thread, first) for thread in threads] == [apply(thread, second) for thread in threads]
    assert first.counts() == second.counts()


def plain_components(asked):
    """The same by hand: post groups that are connected by askers."""
    parts = [{record.group} for record in asked]
    authors = [{record.asker} - {None} for record in asked]
    for _ in asked:
        for a in range(len(parts)):
            for b in range(len(parts)):
                if parts[a] & parts[b] or authors[a] & authors[b]:
                    parts[a] |= parts[b]
                    authors[a] |= authors[b]
    return {frozenset(part) for part in parts}


@CALM
@given(GRAPHS)
def test_components_are_what_a_plain_search_finds(graph):
    _, asked = threads_of(graph)
    sides, plain = Sides.of(asked, 0, 0.5), plain_components(asked)
    assert sides.components == len(plain)
    assert sides.largest == max(map(len, plain), default=0)


def test_long_chains_are_one_component():
    chain = [SideRequest(f"t{i}", f"g{i // 2}", f"a{(i + 1) // 2}") for i in range(4000)]
    sides = Sides.of(Random(0).sample(chain, len(chain)), 0, 0.5)
    assert (sides.components, sides.largest) == (1, 2000)
    assert len({sides.post(record.group) for record in chain}) == 1


@CALM
@given(GRAPHS, st.integers(0, 3))
def test_every_response_is_kept_or_dropped_with_a_reason(graph, seed):
    threads, asked = threads_of(graph)
    sides = Sides.of(asked, seed, 0.5)
    for thread in threads:
        kept, drops = apply(thread, sides)
        left = {comment.id for comment in kept.comments} if kept else set()
        gone = {drop.id for drop in drops if drop.what == "response"}
        assert left | gone == {comment.id for comment in thread.comments}
        assert not left & gone
        assert {drop.reason for drop in drops if drop.what == "response"} <= {OTHER_SIDE}
        assert (kept is None) == any(drop.what == "post" for drop in drops)


def test_a_thread_without_a_response_of_its_side():
    sides = Sides.of([SideRequest("t", "g", "asker")], 0, 1.0)
    other = next(f"p{i}" for i in range(99) if Sides.of([SideRequest("t", "g")], 0, 0.5).author(f"p{i}") == "train")
    halves = Sides(0, 0.5, sides.groups, sides.threads, sides.askers, 1, 1)
    thread = Thread("t", "test", "post", (Comment("t/0", "text", other),), "asker")
    assert apply(thread, halves) == (
        None,
        [Drop("response", "t/0", OTHER_SIDE), Drop("post", "t", "no response of its side")],
    )
    assert apply(Thread("t", "test", "post", ()), sides) == (None, [Drop("post", "t", "empty thread")])


def test_nothing_is_dropped_without_a_test_side():
    threads, asked = threads_of([(i % 5, f"p{i % 3}", [f"p{j}" for j in range(4)]) for i in range(20)])
    sides = Sides.of(asked, 0, 0.0)
    assert [apply(thread, sides) for thread in threads] == [(thread, []) for thread in threads]


@pytest.mark.parametrize("gone", ["[deleted]", "", "[removed]"])
def test_authors_who_are_gone_connect_nothing_and_stay_with_the_post(gone):
    threads, asked = threads_of([(i, gone, [gone, None]) for i in range(50)])
    sides = Sides.of(asked, 0, 0.5)
    assert sides.components == 50
    assert {sides.thread(thread.id) for thread in threads} == {"train", "test"}
    assert all(apply(thread, sides) == (thread, []) for thread in threads)


def test_a_thread_id_that_comes_twice_joins_its_posts():
    sides = Sides.of([SideRequest("t", "g1"), SideRequest("t", "g2"), SideRequest("u", "g3")], 0, 0.5)
    assert (sides.components, sides.largest) == (2, 2)
    assert sides.post("g1") == sides.post("g2") == sides.thread("t")


def test_without_joining_by_asker_a_person_would_be_on_both_sides():
    """The negative of the rule: posts split one by one put an asker of many posts on both sides."""
    asked = [SideRequest(f"t{i}", f"g{i}", "one author") for i in range(30)]
    alone = Sides.of([SideRequest(record.thread, record.group) for record in asked], 0, 0.5)
    assert {alone.post(record.group) for record in asked} == {"train", "test"}
    assert len({Sides.of(asked, 0, 0.5).post(record.group) for record in asked}) == 1


def test_the_share_and_the_seed():
    asked = [SideRequest(f"t{i}", f"g{i}", f"a{i}") for i in range(4000)]
    small, large, other = (Sides.of(asked, seed, share) for seed, share in ((0, 0.1), (0, 0.3), (1, 0.3)))
    assert 300 < small.counts()["posts in test"] < 500
    assert 1080 < large.counts()["posts in test"] < 1320
    assert (large.groups.test | ~small.groups.test).all()
    assert (large.groups.test != other.groups.test).any()
    assert large.counts()["components"] == 4000


def test_a_side_is_the_same_on_every_machine():
    assert "".join(side_of(0, "prompt", f"p{i}", 0.5)[1] for i in range(8)) == "ereeeere"
    assert in_test(0, np.empty(0, np.uint64), 0.5).tolist() == []


def test_what_no_record_named_has_no_side():
    sides = Sides.of([SideRequest("t", "g")], 0, 0.5)
    with pytest.raises(DataError, match="no side for thread 'x'"):
        apply(Thread("x", "test", "post", (Comment("x/0", "text"),)), sides)
    with pytest.raises(DataError, match="no side for group 'h'"):
        sides.post("h")
    with pytest.raises(DataError, match="no side for group 'g'"):
        Sides.of([], 0, 0.5).post("g")


@pytest.mark.parametrize("wrong", [{"test": 1.5}, {"test": -0.1}, {"near_duplicates": 0}, {"shares": 1}])
def test_wrong_settings(wrong):
    with pytest.raises(ValidationError):
        SplitConfig(**wrong)
