"""The packed search against the definition: cosines of one-hot vectors, counted one by one."""

from fractions import Fraction

import numpy as np
import pytest

from persona_rm.construct import search
from persona_rm.construct.search import Corpus, matches, min_matches, pack, scan_numpy, seeded
from persona_rm.construct.steps import one_hot


def random_levels(n, dimensions, seed=0):
    return np.random.default_rng(seed).choice([1, 2, 3], p=[0.15, 0.6, 0.25], size=(n, dimensions))


@pytest.mark.parametrize(
    ("dimensions", "threshold", "least"), [(90, 0.6, 55), (90, 0.5, 46), (10, 0.6, 7), (7, 0.6, 5)]
)
def test_larger_than_the_threshold_is_strict(dimensions, threshold, least):
    assert min_matches(dimensions, threshold) == least
    assert Fraction(least, dimensions) > Fraction(str(threshold)) >= Fraction(least - 1, dimensions)


@pytest.mark.parametrize("dimensions", [1, 31, 32, 33, 90, 130])
def test_packed_matches_are_exact(dimensions):
    levels = random_levels(40, dimensions)
    packed = pack(levels)
    assert packed.shape == (40, -(-dimensions // 32))
    for i in range(40):
        assert (matches(packed[i], packed, dimensions) == (levels == levels[i]).sum(1)).all()


def test_ninety_dimensions_take_24_bytes():
    assert pack(random_levels(5, 90)).nbytes == 5 * 24


def test_cosine_of_one_hot_is_the_share_of_matches():
    levels = random_levels(10, 90)
    hot = one_hot([tuple(row) for row in levels.tolist()])
    cosine = hot @ hot.T / 90
    packed = pack(levels)
    assert all(np.allclose(cosine[i], matches(packed[i], packed, 90) / 90) for i in range(10))


def brute(levels, posts, query, post, start, least, limit, others=None, other=None):
    """The definition, row by row: the most similar row of each of the first `limit` posts from the start's post on."""
    first = int(np.searchsorted(posts, posts[start % len(posts)]))
    best = {}
    for row in [*range(first, len(posts)), *range(first)]:
        same = int((levels[row] == query).sum())
        if posts[row] == post or same < least or (other is not None and (others[row] == other).sum() < least):
            continue
        if posts[row] not in best and len(best) == limit:
            break
        if posts[row] not in best or same > best[posts[row]][1]:
            best[posts[row]] = (row, same)
    return list(best.values())


@pytest.fixture(params=["numba", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(search, "_numba_kernel", lambda: None)
    else:
        pytest.importorskip("numba")


@pytest.mark.parametrize("limit", [1, 5, 1000])
@pytest.mark.parametrize("both", [False, True])
def test_both_kernels_follow_the_definition(kernel, limit, both):
    levels, second = random_levels(300, 40), random_levels(300, 40, seed=1)
    posts = np.sort(np.random.default_rng(2).integers(0, 120, 300))
    corpus = Corpus(pack(levels), posts, 40, pack(second) if both else None)
    for query in range(0, 300, 37):
        other = second[query] if both else None
        packed = pack(other[None])[0] if both else None
        rows, counts = corpus.find(corpus.rows[query], int(posts[query]), query * 7, 17, limit, packed)
        expected = brute(levels, posts, levels[query], posts[query], query * 7, 17, limit, second, other)
        assert list(zip(rows.tolist(), counts.tolist(), strict=True)) == expected


def test_the_kernels_agree_across_chunks(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(search, "CHUNK", 64)
    levels, posts = pack(random_levels(1000, 90)), np.sort(np.random.default_rng(1).integers(0, 300, 1000))
    for query in range(0, 1000, 111):
        start = (query * 13) % 1000
        fast = Corpus(levels, posts, 90).find(levels[query], int(posts[query]), start, 46, 20)
        first = int(np.searchsorted(posts, posts[start]))
        slow = scan_numpy(
            levels, levels[:, :0], posts, levels[query], levels[0][:0], int(posts[query]), first, 90, 46, 20
        )
        assert (fast[0] == slow[0]).all()
        assert (fast[1] == slow[1]).all()


def test_a_corpus_without_rows_finds_nothing(kernel):
    empty = Corpus(pack(np.empty((0, 90))), np.empty(0, np.int64), 90)
    assert len(empty.find(pack(random_levels(1, 90))[0], 0, 5, 55, 8)[0]) == 0


def test_seeds_depend_on_their_parts_only():
    assert seeded(1, "a").integers(1 << 40) == seeded(1, "a").integers(1 << 40)
    assert seeded(1, "a").integers(1 << 40) != seeded(1, "b").integers(1 << 40)
