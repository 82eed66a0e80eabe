"""Algorithm 1 of the paper read aloud in plain Python, line by line, against the code that builds from it.

A case is the raw data M: posts in the order they are sampled, with the levels of their responses (or pairs).
"""

from collections import Counter
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.pairing.rules import consistent, contrast, lone, majority
from persona_rm.construct.search import similarity as search
from persona_rm.construct.search.packing import pack, transposed
from persona_rm.construct.search.similarity import Corpus, min_matches

SETTINGS = settings(max_examples=120, deadline=None)
THRESHOLDS = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.95])
WAYS = st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=4).map(tuple)


def one_hot(levels):
    """Line 4: the concatenation of one one-hot vector per dimension."""
    return [int(level == possible) for level in levels for possible in (1, 2, 3)]


def cosine(a, b):
    """Lines 15 and 23, exactly: both vectors have the norm sqrt(D), so the product of the norms is whole."""
    a, b = one_hot(a), one_hot(b)
    norms = isqrt(sum(x * x for x in a) * sum(x * x for x in b))
    return Fraction(sum(x * y for x, y in zip(a, b, strict=True)), norms)


def shown(level, other=2):
    """A direction (section 4.1 (3); for a response alone, 4.2): above, at or below what it is compared with."""
    return 1 if level > other else -1 if level < other else 0


def points(item, anchor):
    """Does the response, or the pair, show the way at the anchor's dimension?"""
    if anchor is None:
        return True
    dimension, way = anchor
    if isinstance(item[0], tuple):
        return shown(item[0][dimension], item[1][dimension]) == way
    return shown(item[dimension]) == way


def ugc(raw, x, y_w, t, anchor):
    """Lines 12-17: (post, response) of every post but x whose most similar response is similar enough, in order."""
    found = []
    for post, responses in raw:
        if post == x:
            continue
        best = max(responses, key=lambda response: cosine(response, y_w))
        if cosine(best, y_w) > Fraction(str(t)) and points(best, anchor):
            found.append((post, responses.index(best)))
    return found


def pairs(raw, x, y_w, y_l, t, anchor):
    """Lines 20-24: of every post but x, of its pairs with both sides similar enough, the nearest chosen side's."""
    found = []
    for post, candidates in raw:
        similar = [p for p in candidates if min(cosine(p[0], y_w), cosine(p[1], y_l)) > Fraction(str(t))]
        if post == x or not similar:
            continue
        best = max(similar, key=lambda pair: cosine(pair[0], y_w))
        if points(best, anchor):
            found.append((post, candidates.index(best)))
    return found


@st.composite
def cases(draw, sides):
    """Posts with 1 to 4 items; an item is the levels of a response, or of both sides of a pair."""
    dimensions = draw(st.sampled_from([1, 3, 6, 33, 70, 90]))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    middle = draw(st.sampled_from([0.2, 0.5, 0.8]))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    chances = [(1 - middle) / 2, middle, (1 - middle) / 2]
    rows = iter(random.choice([1, 2, 3], p=chances, size=(sides * (sum(sizes) + 1), dimensions)).tolist())
    raw = []
    for number, size in enumerate(sizes):
        items = [tuple(tuple(next(rows)) for _ in range(sides)) for _ in range(size)]
        raw.append((2 * number, [item if sides > 1 else item[0] for item in items]))
    anchor = draw(st.one_of(st.none(), st.tuples(st.integers(0, dimensions - 1), st.sampled_from([-1, 1]))))
    query = [tuple(next(rows)) for _ in range(sides)]
    return dimensions, raw, query, anchor


def rotated(raw, start):
    """The order of sampling: from the post that row `start` is of, and round once."""
    owners = [number for number, (_, items) in enumerate(raw) for _ in items]
    first = owners[start % len(owners)]
    return raw[first:] + raw[:first]


def corpus_of(raw, dimensions, paired):
    rows = [item for _, items in raw for item in items]
    posts = np.array([post for post, items in raw for _ in items])
    sides = [np.array([row[side] if paired else row for row in rows]) for side in range(1 + paired)]
    words = [transposed(pack(side.reshape(len(rows), dimensions))) for side in sides]
    return Corpus(words[0], posts, dimensions, *words[1:])


def find(kernel, case, post, start, t, limit, paired):
    dimensions, raw, query, anchor = case
    corpus = corpus_of(raw, dimensions, paired)
    packed = pack(np.array(query))
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "numpy":
            patch.setattr(search, "kernels", lambda posts: None)
        patch.setattr(search, "SMALL", 0)
        least, other = min_matches(dimensions, t), packed[1] if paired else None
        return corpus.find(packed[0], post, start, least, limit, other, anchor)


def as_items(raw, rows):
    """Row numbers -> (post, number of its item)."""
    places = [(post, number) for post, items in raw for number in range(len(items))]
    return [places[row] for row in rows]


KERNELS = pytest.mark.parametrize("kernel", ["numba", "numpy"])


@KERNELS
@SETTINGS
@given(cases(1), st.integers(-1, 24), st.integers(0, 1 << 31), THRESHOLDS, st.integers(1, 13))
def test_user_generated_content(kernel, case, post, start, t, limit):
    _, raw, (y_w,), anchor = case
    rows, counts = find(kernel, case, post, start, t, limit, False)
    found = as_items(raw, rows.tolist())
    assert found == ugc(rotated(raw, start), post, y_w, t, anchor)[:limit]
    items = dict(raw)
    assert [Fraction(int(count), len(y_w)) for count in counts] == [cosine(items[x][i], y_w) for x, i in found]


@KERNELS
@SETTINGS
@given(cases(2), st.integers(-1, 24), st.integers(0, 1 << 31), THRESHOLDS, st.integers(1, 13))
def test_comparative_feedback(kernel, case, post, start, t, limit):
    _, raw, (y_w, y_l), anchor = case
    rows, counts = find(kernel, case, post, start, t, limit, True)
    found = as_items(raw, rows.tolist())
    assert found == pairs(rotated(raw, start), post, y_w, y_l, t, anchor)[:limit]
    items = dict(raw)
    assert [Fraction(int(count), len(y_w)) for count in counts] == [cosine(items[x][i][0], y_w) for x, i in found]


@KERNELS
def test_a_post_whose_best_response_does_not_point_the_way_gives_nothing(kernel):
    raw = [(0, [(2, 2, 2, 3), (2, 2, 2, 2)]), (1, [(2, 2, 1, 3)])]
    case = 4, raw, [(2, 2, 2, 2)], (3, 1)
    assert find(kernel, case, -1, 0, 0.3, 9, False)[0].tolist() == [2]


@KERNELS
def test_a_pair_ranks_by_its_chosen_side_among_those_with_both_sides_similar(kernel):
    same, near, far = (2, 2, 2, 2), (2, 2, 2, 3), (1, 1, 1, 1)
    raw = [(0, [(same, far), (near, near), (same, near), (same, same)])]
    assert find(kernel, (4, raw, [same, same], None), -1, 0, 0.6, 9, True)[0].tolist() == [2]
    assert len(find(kernel, (4, raw, [same, same], (3, 1)), -1, 0, 0.6, 9, True)[0]) == 0
    assert find(kernel, (4, raw, [same, same], (3, -1)), -1, 0, 0.6, 9, True)[0].tolist() == [2]


@given(st.integers(1, 200), st.decimals(0, 1, places=2).map(float))
def test_the_least_number_of_matches_is_the_first_above_the_threshold(dimensions, t):
    least = min_matches(dimensions, t)
    assert next(m for m in range(dimensions + 2) if Fraction(m, dimensions) > Fraction(str(t))) == least


@given(st.lists(WAYS, min_size=1, max_size=7))
def test_a_majority_is_the_most_frequent_direction_and_neutral_on_a_tie(votes):
    for dimension, winner in enumerate(majority(votes)):
        (first, most), *rest = Counter(vote[dimension] for vote in votes).most_common()
        assert winner == (0 if rest and rest[0][1] == most else first)


@given(WAYS, st.lists(WAYS, max_size=5))
def test_preferences_are_consistent_where_every_item_shows_what_the_pair_shows(directions, items):
    wanted = [d for d in range(4) if directions[d] != 0 and all(item[d] == directions[d] for item in items)]
    assert consistent(directions, items) == wanted


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=9))
def test_directions_of_pairs_and_of_responses_alone(levels):
    chosen, rejected = (tuple(side) for side in zip(*levels, strict=True))
    assert contrast(chosen, rejected) == tuple(shown(a, b) for a, b in levels)
    assert lone(chosen) == tuple(shown(level) for level in chosen)
