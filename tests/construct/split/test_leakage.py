"""The check of a split: every kind of leak that is planted is found, and nothing is found where there is none."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.split.leakage import KINDS, SHOWN, authors, check
from persona_rm.construct.split.sides import SideRequest, Sides, apply, key_of
from persona_rm.construct.split.testset import TestConfig
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import read_examples, write_examples
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Comment, Example, Pair, Persona, Thread, Ugc

CALM = settings(deadline=None, max_examples=25, database=None)
FEW = settings(CALM, max_examples=5)
SMALL = PreferenceSpace("small", load_space("alignx90").dimensions[:2])
WAY = (1, 0)


@cache
def sign(text):
    """A MinHash over words that needs nothing but numpy."""
    words = np.array([key_of("word", word) for word in text.casefold().split()], np.uint64)
    factors = np.arange(3, 259, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((words[:, None] * factors + (factors >> np.uint64(7))) >> np.uint64(32)).min(0).astype(np.uint32)


def words(*parts, n=12):
    """A text of `n` words that no other text has."""
    return " ".join(f"{part}{i}" for part in parts for i in range(n))


def example(side, number, n_ugc=2, n_pairs=2):
    name = f"{side}{number}x"
    persona = Persona(
        f"user {name}",
        tuple(Ugc(words(name, "up", i), words(name, "us", i), WAY) for i in range(n_ugc)),
        tuple(Pair(words(name, "pp", i), words(name, "pc", i), words(name, "pr", i), WAY) for i in range(n_pairs)),
    )
    texts = (words(name, "prompt"), words(name, "chosen"), words(name, "rejected"))
    return Example(f"{side}-{number}", *texts, WAY, persona, extra={"author": f"author {name}"})


def clean_split(n_train=6, n_test=4):
    return [example("train", i) for i in range(n_train)], [example("test", i) for i in range(n_test)]


def with_item(example, item):
    persona = example.persona
    kind = "ugc" if isinstance(item, Ugc) else "pairs"
    return replace(example, persona=replace(persona, **{kind: (*getattr(persona, kind), item)}))


def reworded(text):
    """The same but for one word."""
    return " ".join([*text.split()[:-1], "otherwise"])


OWN = Ugc(words("own", "post"), words("own", "comment"), WAY)
"""An item without an author, to be added to a persona."""
PLANTS = {
    ("post", "target-target"): lambda a, b: (a, replace(b, prompt=a.prompt.upper() + " ")),
    ("post", "target-history"): lambda a, b: (a, with_item(b, replace(OWN, prompt=a.prompt))),
    ("post", "history-target"): lambda a, b: (with_item(a, replace(OWN, prompt=b.prompt)), b),
    ("post", "history-history"): lambda a, b: (a, with_item(b, replace(OWN, prompt=a.persona.pairs[1].prompt))),
    ("text", "target-target"): lambda a, b: (a, replace(b, chosen=a.rejected)),
    ("text", "target-history"): lambda a, b: (a, with_item(b, replace(OWN, comment=a.chosen))),
    ("text", "history-target"): lambda a, b: (with_item(a, replace(OWN, comment=b.rejected)), b),
    ("text", "history-history"): lambda a, b: (a, with_item(b, replace(OWN, comment=a.persona.pairs[0].rejected))),
    ("user", "user"): lambda a, b: (a, replace(b, persona=replace(b.persona, user_id=a.persona.user_id))),
    ("author", "author"): lambda a, b: (a, replace(b, extra={"authors": {"ugc": ["x", a.extra["author"]]}})),
    ("near-duplicate post", "target-target"): lambda a, b: (a, replace(b, prompt=reworded(a.prompt))),
    ("near-duplicate post", "history-target"): lambda a, b: (
        with_item(a, replace(OWN, prompt=reworded(b.prompt))),
        b,
    ),
    ("near-duplicate text", "target-history"): lambda a, b: (
        a,
        with_item(b, replace(OWN, comment=reworded(a.chosen))),
    ),
    ("near-duplicate text", "history-history"): lambda a, b: (
        a,
        with_item(b, replace(OWN, comment=reworded(a.persona.ugc[0].comment))),
    ),
}


@CALM
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3))
def test_nothing_is_found_in_a_clean_split(n_train, n_test, n_ugc, n_pairs):
    train = [example("train", i, n_ugc, n_pairs) for i in range(n_train)]
    found = check(train, [example("test", i) for i in range(n_test)], 0.8, sign=sign)
    assert found.clean
    assert found.leaks == ()
    assert (found.n_train, found.n_test) == (n_train, n_test)
    assert [(f.kind, f.part) for f in found.findings] == [
        (kind, part) for kind, parts in KINDS.items() for part in parts
    ]
    assert all(f.compared for f in found.findings)


@pytest.mark.parametrize("plant", PLANTS, ids=" ".join)
@FEW
@given(data=st.data())
def test_each_planted_leak_is_found_and_nothing_else(plant, data):
    train, test = clean_split()
    i, j = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 3))
    train[i], test[j] = PLANTS[plant](train[i], test[j])
    found = check(train, test, 0.8, sign=sign)
    assert not found.clean
    assert [(f.kind, f.part) for f in found.leaks] == [plant]
    leak = found.leaks[0]
    assert (leak.shared, leak.train_examples, leak.test_examples) == (1, 1, 1)
    assert (leak.train_ids, leak.test_ids) == ((f"train-{i}",), (f"test-{j}",))


def test_a_summary_names_what_is_shared_and_only_that():
    train, test = clean_split()
    assert check(train, test, 0.8, sign=sign).summary == ""
    for plant in (("user", "user"), ("post", "target-history")):
        train[0], test[0] = PLANTS[plant](train[0], test[0])
    assert check(train, test, None).summary == "post target-history: 1; user: 1"


@pytest.mark.parametrize("plant", [p for p in PLANTS if "near" in p[0]], ids=" ".join)
def test_near_duplicates_are_looked_for_only_when_asked(plant):
    train, test = clean_split()
    train[0], test[0] = PLANTS[plant](train[0], test[0])
    assert check(train, test, None).clean
    assert not check(train, test, 0.8, sign=sign).clean
    assert check(train, test, 1.0, sign=sign).clean
    assert {f.kind for f in check(train, test, None).findings} == {"post", "text", "user", "author"}


@CALM
@given(st.sets(st.sampled_from(sorted(PLANTS)), min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(plants, random):
    train, test = clean_split()
    for plant in sorted(plants):
        i, j = random.randrange(6), random.randrange(4)
        train[i], test[j] = PLANTS[plant](train[i], test[j])
    mixed = random.sample(train, len(train)), random.sample(test, len(test))
    assert check(*mixed, 0.8, sign=sign) == check(train, test, 0.8, sign=sign)


def test_counts_and_at_most_ten_ids():
    train, test = clean_split(30, 25)
    test = [replace(e, prompt=train[i % 2].prompt) for i, e in enumerate(test)]
    train = [replace(e, prompt=train[i % 2].prompt) for i, e in enumerate(train)]
    leak = check(train, test, None).leaks[0]
    assert (leak.compared, leak.shared, leak.train_examples, leak.test_examples) == (2, 2, 30, 25)
    assert len(leak.test_ids) == len(leak.train_ids) == SHOWN
    assert list(leak.test_ids) == sorted(leak.test_ids)


def test_an_example_with_two_leaks_of_a_kind_counts_once():
    train, test = clean_split()
    test[0] = replace(test[0], chosen=train[1].chosen, rejected=train[1].rejected)
    leak = check(train, test, None).leaks[0]
    assert (leak.shared, leak.train_examples, leak.test_examples) == (2, 1, 1)


def test_many_leaking_examples_show_the_smallest_ids():
    train = [replace(example("train", f"{n:04}"), prompt="same") for n in range(1500)]
    leak = check(Random(0).sample(train, 1500), [replace(example("test", 0), prompt="same")], None).leaks[0]
    assert leak.train_examples == 1500
    assert leak.train_ids == tuple(f"train-{n:04}" for n in range(SHOWN))


def test_the_report_names_no_text():
    train, test = clean_split()
    test[0] = replace(test[0], prompt=train[0].prompt, chosen=train[0].chosen)
    rows = check(train, test, 0.8, sign=sign).rows()
    said = " ".join(cell for row in rows for cell in row.values())
    assert not set(train[0].prompt.split() + train[0].chosen.split()) & set(said.split())
    assert rows[0] == {
        "what": "post",
        "train-test": "target-target",
        "compared": "4",
        "shared": "1",
        "train examples": "1",
        "test examples": "1",
        "for instance": "test-0",
    }


def test_what_nobody_knows_is_said_not_to_have_been_compared():
    train, test = ([replace(e, extra={}) for e in side] for side in clean_split())
    row = next(row for row in check(train, test, None).rows() if row["what"] == "author")
    assert (row["compared"], row["shared"]) == ("0", "none in test")


def test_authors_are_read_wherever_extra_names_them():
    extra = {"author": "a", "chosen_author": "b", "Authors": ["c", {"ugc": ("d",)}], "title": "x", "author_karma": 3}
    assert list(authors(replace(example("train", 0), extra=extra))) == ["a", "b", "c", "d"]


def test_blank_texts_and_short_ones_are_nobodys():
    train, test = clean_split()
    train[0], test[0] = (replace(e, chosen=" ", extra={"author": ""}) for e in (train[0], test[0]))
    assert check(train, test, 0.8, sign=sign).clean
    train[0], test[0] = (replace(e, chosen="Thank you!") for e in (train[0], test[0]))
    assert not check(train, test, 0.8, sign=sign).clean
    assert check(train, test, 0.8, min_chars=20, sign=sign).clean


def test_a_side_without_examples_is_an_error_and_not_clean():
    train, test = clean_split()
    with pytest.raises(DataError, match="the test side has no example"):
        check(train, [], None)
    with pytest.raises(DataError, match="the train side has no example"):
        check(iter(()), test, None)


def test_files_are_streamed(tmp_path):
    train, test = clean_split()
    test[2] = with_item(test[2], replace(OWN, prompt=train[3].prompt))
    write_examples(tmp_path / "train.parquet", train, SMALL)
    write_examples(tmp_path / "test.jsonl", test, SMALL)
    sides = (read_examples(tmp_path / name, SMALL) for name in ("train.parquet", "test.jsonl"))
    leak = check(*sides, None).leaks
    assert [(f.kind, f.part, f.test_ids, f.train_ids) for f in leak] == [
        ("post", "target-history", ("test-2",), ("train-3",))
    ]


def test_the_signature_of_cleaning_finds_a_near_duplicate():
    pytest.importorskip("datasketch")
    train, test = clean_split()
    long = words("long", n=60)
    train[0], test[0] = replace(train[0], chosen=long), replace(test[0], rejected=reworded(long))
    assert [(f.kind, f.part) for f in check(train, test).leaks] == [("near-duplicate text", "target-target")]


def test_a_test_set_made_on_its_own_side_leaks_nothing():
    from persona_rm.construct.split.testset import build

    train, test = clean_split()
    made = build(lambda: test, TestConfig(per_cell=4, n_ugc=1, n_pairs=1), SMALL, 0)
    assert len(made.examples) == 4
    assert check(train, made.examples, 0.8, sign=sign).clean


def forum(graph):
    """Threads of a small forum: `graph` lists (post, asker, responders)."""
    return [
        Thread(
            f"t{t}", "test", words("post", post), tuple(Comment(f"{t}.{i}", f"t{t} c{i}", f"p{p}") for i, p in who), a
        )
        for t, (post, a, who) in enumerate((post, f"p{a}", list(enumerate(who))) for post, a, who in graph)
    ]


def with_histories(threads):
    """An example per thread of two responses or more: its first author's, with what they wrote elsewhere."""
    wrote = [(c.author, Ugc(t.prompt, c.text)) for t in threads for c in t.comments]
    return [
        Example(
            t.id,
            t.prompt,
            t.comments[0].text,
            t.comments[1].text,
            WAY,
            Persona(t.comments[0].author, tuple(u for who, u in wrote if who == t.comments[0].author)),
            extra={"authors": [t.author, *(c.author for c in t.comments)]},
        )
        for t in threads
        if len(t.comments) > 1
    ]


GRAPHS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 20), st.lists(st.integers(0, 8), min_size=2, max_size=4)),
    min_size=20,
    max_size=40,
)


@CALM
@given(GRAPHS, st.integers(0, 20))
def test_histories_built_on_their_own_side_leak_nothing(graph, seed):
    threads = forum(graph)
    sides = Sides.of([SideRequest(t.id, t.prompt, t.author) for t in threads], seed, 0.5)
    kept = [thread for t in threads if (thread := apply(t, sides)[0])]
    train, test = (with_histories([t for t in kept if sides.thread(t.id) == side]) for side in ("train", "test"))
    if train and test:
        assert check(train, test, 0.8, sign=sign).clean


def test_histories_built_before_posts_are_split_leak():
    random = Random(0)
    graph = [(i, random.randrange(20), [random.randrange(9) for _ in range(3)]) for i in range(40)]
    examples = with_histories(forum(graph))
    leaks = {(f.kind, f.part) for f in check(examples[::2], examples[1::2], None).leaks}
    assert {("user", "user"), ("author", "author"), ("post", "target-history"), ("text", "history-history")} <= leaks
