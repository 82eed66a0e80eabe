"""Personas on a small corpus of five dimensions, against the rules of section 4.2."""

from dataclasses import replace

import numpy as np
import pytest

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.pairing.pairs import pairs
from persona_rm.construct.pairing.rules import consistent, majority
from persona_rm.construct.records import PostPairs, PostRecord, from_example, to_example
from persona_rm.construct.search.index import Index
from persona_rm.construct.search.index_writer import build_index
from persona_rm.construct.search.personas import Personas, agree
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Drop, Thread

CONFIG = ConstructConfig(n_ugc=5, n_pairs=3, min_items=2, candidates=20)


@pytest.fixture(scope="module")
def small(space):
    return PreferenceSpace("small", space.dimensions[:5])


def corpus_of(n=60, seed=0, neutral=0.4, authors=0):
    """Posts with three responses each; `authors` users wrote them, in turn (0: authors are unknown)."""
    random = np.random.default_rng(seed)
    side = (1 - neutral) / 2
    posts = []
    for t in range(n):
        rows = random.choice([1, 2, 3], p=[side, neutral, side], size=(3, 5)).tolist()
        who = [f"u{(3 * t + i) % authors}" if authors else None for i in range(3)]
        comments = tuple(Comment(f"{t}/{i}", f"text {t} {i}", who[i], levels=tuple(row)) for i, row in enumerate(rows))
        posts.append(
            PostRecord(Thread(f"t{t}", "test", f"post {t}", comments, f"u{t % authors}" if authors else None))
        )
    made = pairs([post.thread for post in posts], CONFIG, seed)
    both = zip(posts, made, strict=True)
    return posts, [PostPairs(post, found) for post, found in both if not isinstance(found, Drop)]


def personas(posts, entries, folder, space, config=CONFIG, seed=0):
    build_index(posts, entries, folder, space, seed)
    return Personas(Index(folder, space), config, space, seed)


def examples(made, entries):
    """(example or drop, pair) for every pair."""
    out = []
    for entry in entries:
        found = made.find(entry.post, entry.pairs[0])
        built = found if isinstance(found, Drop) else made.example(entry.post, entry.pairs[0], found)
        out.append((built, entry.pairs[0]))
    return out


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    posts, entries = corpus_of()
    return posts, entries, examples(personas(posts, entries, tmp_path_factory.mktemp("i") / "i", small), entries)


def test_items_are_similar_consistent_and_of_other_posts(made):
    posts, _, found = made
    levels = {comment.text: comment.levels for post in posts for comment in post.thread.comments}
    built = [(example, pair) for example, pair in found if not isinstance(example, Drop)]
    assert len(built) > 20
    for example, pair in built:
        items = [*example.persona.ugc, *example.persona.pairs]
        assert example.prompt not in {item.prompt for item in items}
        assert consistent(pair.directions, [item.directions for item in items])
        for text, side in [
            *((item.comment, pair.chosen) for item in example.persona.ugc),
            *((item.chosen, pair.chosen) for item in example.persona.pairs),
            *((item.rejected, pair.rejected) for item in example.persona.pairs),
        ]:
            assert sum(a == b for a, b in zip(levels[text], side.levels, strict=True)) / 5 > 0.6


def test_sizes_and_one_item_a_post(made):
    for found, _ in made[2]:
        if not isinstance(found, Drop):
            assert len(found.persona.ugc) in (0, 2, 3, 4, 5)
            assert len(found.persona.pairs) in (0, 2, 3)
            assert found.persona.n_items
            assert len({item.prompt for item in found.persona.ugc}) == len(found.persona.ugc)


def test_an_example_carries_the_pair_and_a_person(made):
    found = next(found for found, _ in made[2] if not isinstance(found, Drop))
    assert found.persona.user_id == f"lookalike-{found.id}"
    assert found.group
    assert to_example(from_example(found)) == found


def test_the_order_of_the_input_changes_nothing(made, small, tmp_path):
    posts, entries, found = made
    turned = personas(posts[::-1], entries[::-1], tmp_path / "i", small)
    assert examples(turned, entries) == found


def test_another_seed_draws_other_items(made, small, tmp_path):
    posts, entries, found = made
    assert examples(personas(posts, entries, tmp_path / "i", small, seed=1), entries) != found


def test_too_few_items_is_a_reason(small, tmp_path):
    posts, entries = corpus_of(n=3)
    few = personas(posts, entries, tmp_path / "i", small, ConstructConfig(min_items=16))
    assert {found.reason for found, _ in examples(few, entries)} == {"fewer than 16 similar, consistent items"}


def test_posts_of_one_group_are_one_post(small, tmp_path):
    posts, entries = corpus_of(n=30)
    twins = [replace(post, thread=replace(post.thread, id=f"copy-{post.thread.id}", comments=tuple(
        replace(c, id=f"copy-{c.id}") for c in post.thread.comments))) for post in posts]  # fmt: skip
    for found, _ in examples(personas([*posts, *twins], entries, tmp_path / "i", small), entries):
        if not isinstance(found, Drop):
            assert found.prompt not in {item.prompt for item in (*found.persona.ugc, *found.persona.pairs)}


def test_a_pair_of_unknown_responses_is_refused(small, tmp_path):
    posts, entries = corpus_of(n=5)
    with pytest.raises(DataError, match="not among the annotated responses"):
        build_index(posts[:2], entries, tmp_path / "i", small, 0)


@pytest.mark.parametrize("form", ["majority", "items", "strict"])
def test_every_form_of_consistency_holds_for_what_is_built(form, small, tmp_path):
    posts, entries = corpus_of(n=200, neutral=0.6)
    config = CONFIG.model_copy(update={"consistency": form})
    every = examples(personas(posts, entries, tmp_path / "i", small, config), entries)
    built = [(found, pair) for found, pair in every if not isinstance(found, Drop)]
    assert len(built) > 20
    for found, pair in built:
        parts = [[item.directions for item in part] for part in (found.persona.ugc, found.persona.pairs) if part]
        assert agree(pair.directions, parts, form)
    looser = [agree(p.directions, [[i.directions for i in f.persona.items]], "items") for f, p in built]
    assert all(looser) == (form != "majority")


def test_forms_of_consistency():
    pair, like, mixed, against = (1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, -1, 0)
    assert agree(pair, [[like, like], [mixed]], "items")
    assert not agree(pair, [[like, like], [mixed]], "strict")
    assert not agree(pair, [[mixed], [against]], "items")
    assert agree(pair, [[like, like, against], [like]], "majority")
    assert not agree(pair, [[like, like, against], [(0, 0, 0)]], "majority")


def test_an_author_is_shown_by_what_they_wrote_elsewhere(small, tmp_path):
    posts, entries = corpus_of(n=60, authors=6)
    config = CONFIG.model_copy(update={"persona": "author", "consistency": "majority"})
    wrote = {c.text: (c.author, post.thread.prompt) for post in posts for c in post.thread.comments}
    found = examples(personas(posts, entries, tmp_path / "i", small, config), entries)
    built = [(example, pair) for example, pair in found if not isinstance(example, Drop)]
    assert built
    for example, pair in built:
        assert example.persona.user_id == f"author-{pair.chosen.author}"
        for text in [i.comment for i in example.persona.ugc] + [i.chosen for i in example.persona.pairs]:
            assert wrote[text][0] == pair.chosen.author
            assert wrote[text][1] != example.prompt
        parts = (example.persona.ugc, example.persona.pairs)
        assert consistent(pair.directions, [majority([i.directions for i in part]) for part in parts if part])
    reasons = {example.reason for example, _ in found if isinstance(example, Drop)}
    assert reasons <= {"the author's other items do not agree with the pair"}


def test_an_author_without_history_or_name_falls_back_to_look_alikes_only_where_asked(small, tmp_path):
    posts, entries = corpus_of(n=60)
    config = CONFIG.model_copy(update={"persona": "author"})
    made = personas(posts, entries, tmp_path / "i", small, config)
    assert {found.reason for found, _ in examples(made, entries)} == {"no known author"}
    both = Personas(made.index, config.model_copy(update={"persona": "author-then-similar"}), small, 0)
    similar = Personas(made.index, CONFIG, small, 0)
    assert [f.persona for f, _ in examples(both, entries) if not isinstance(f, Drop)] == [
        f.persona for f, _ in examples(similar, entries) if not isinstance(f, Drop)
    ]


def test_what_an_author_asked_is_shown_only_where_outputs_only_is_off(small, tmp_path):
    posts, entries = corpus_of(n=60, authors=6)
    config = CONFIG.model_copy(update={"persona": "author", "consistency": "majority"})
    made = personas(posts, entries, tmp_path / "i", small, config)
    asked = Personas(made.index, config.model_copy(update={"outputs_only": False}), small, 0)
    plain, more = examples(made, entries), examples(asked, entries)
    questions = {post.thread.prompt: post.thread.author for post in posts}
    for (one, pair), (other, _) in zip(plain, more, strict=True):
        if isinstance(one, Drop):
            assert one == other
            continue
        added = other.persona.ugc[len(one.persona.ugc) :]
        assert added
        assert {questions[item.comment] for item in added} == {pair.chosen.author}
        assert pair.post not in {item.comment for item in added}
