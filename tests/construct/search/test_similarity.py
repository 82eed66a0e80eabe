"""The packed search against the definition: matches counted one by one, posts looked at one by one."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from persona_rm.construct.hashing import seeded
from persona_rm.construct.pairing.kmeans import one_hot
from persona_rm.construct.search import similarity as search
from persona_rm.construct.search.packing import pack, place, transposed
from persona_rm.construct.search.similarity import Corpus, matches, min_matches
from persona_rm.errors import DataError


def random_levels(n, dimensions, seed=0):
    return np.random.default_rng(seed).choice([1, 2, 3], p=[0.15, 0.6, 0.25], size=(n, dimensions))


def packed_words(levels):
    return transposed(pack(levels))


@pytest.fixture(params=["numba", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(search, "kernels", lambda posts: None)
    else:
        pytest.importorskip("numba")
        monkeypatch.setattr(search, "SMALL", 0)


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


@pytest.mark.parametrize("dimensions", [1, 32, 33, 64, 65, 90, 97, 130])
def test_every_level_has_two_bits_of_its_own(dimensions):
    words = -(-dimensions // 32)
    places = [place(d, words) for d in range(dimensions)]
    bits = [bit for one, low, two, high in places for bit in ((one, low), (two, high))]
    assert len(set(bits)) == 2 * dimensions
    assert all(0 <= word < words and 0 <= bit < 64 for word, bit in bits)


def test_ninety_dimensions_take_24_bytes():
    assert pack(random_levels(5, 90)).nbytes == 5 * 24


def test_transposed_words_are_contiguous():
    packed = pack(random_levels(5, 90))
    assert transposed(packed).flags.c_contiguous
    assert (packed == transposed(packed).T).all()


def test_cosine_of_one_hot_is_the_share_of_matches():
    levels = random_levels(10, 90)
    hot = one_hot([tuple(row) for row in levels.tolist()])
    cosine = hot @ hot.T / 90
    packed = pack(levels)
    assert all(np.allclose(cosine[i], matches(packed[i], packed, 90) / 90) for i in range(10))


@pytest.mark.parametrize("dimensions", [20, 64, 90, 96, 130, 200])
def test_counts_are_exact_with_any_number_of_words(kernel, dimensions):
    levels = random_levels(1500, dimensions)
    corpus = Corpus(packed_words(levels), np.arange(1500), dimensions)
    for query in (0, 700, 1499):
        same = (levels == levels[query]).sum(1)
        for least in (0, dimensions // 2, dimensions, dimensions + 1):
            assert corpus.count(corpus.words[:, query], least) == (same >= least).sum()


def test_a_whole_scan_over_many_blocks_finds_each_row_once(kernel):
    levels = random_levels(9000, 90)
    corpus = Corpus(packed_words(levels), np.arange(9000), 90)
    same = (levels == levels[5]).sum(1)
    rows, counts = corpus.find(corpus.words[:, 5], 5, 6001, 42, 9000)
    expected = [row for row in [*range(6001, 9000), *range(6001)] if same[row] >= 42 and row != 5]
    assert rows.tolist() == expected
    assert (counts == same[rows]).all()


def test_kernels_read_memory_maps_and_short_post_numbers_in_place(kernel, tmp_path):
    levels = random_levels(700, 90)
    posts = np.sort(np.random.default_rng(1).integers(0, 200, 700)).astype(np.int32)
    np.save(tmp_path / "words.npy", packed_words(levels))
    np.save(tmp_path / "posts.npy", posts)
    words, numbers = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("words", "posts"))
    mapped, plain = Corpus(words, numbers, 90), Corpus(packed_words(levels), posts.astype(np.int64), 90)
    query = plain.words[:, 3]
    for found, wanted in zip(mapped.find(query, 3, 99, 46, 30), plain.find(query, 3, 99, 46, 30), strict=True):
        assert (found == wanted).all()
    assert mapped.count(query, 46) == plain.count(query, 46)


def test_a_post_of_many_replies_gives_one_row(kernel):
    levels = np.tile(random_levels(1, 90), (6000, 1))
    levels[4321, :30], levels[:4321, :40] = 3, 4 - levels[:4321, :40]
    posts = np.repeat([0, 1, 2], [10, 5900, 90])
    query = pack(levels)[4321]
    rows, counts = Corpus(packed_words(levels), posts, 90).find(query, 0, 3000, 46, 5)
    assert rows[0] == 4321
    assert counts[0] == 90
    assert posts[rows].tolist() == [1, 2]


@pytest.mark.parametrize("limit", [-1, 0, 1, 3])
def test_the_limit_holds(kernel, limit):
    levels = np.tile(random_levels(1, 90), (50, 1))
    corpus = Corpus(packed_words(levels), np.arange(50), 90)
    assert corpus.find(corpus.words[:, 0], 7, 6, 55, limit)[0].tolist() == [6, 8, 9][: max(limit, 0)]


def test_a_corpus_without_rows_finds_nothing(kernel):
    empty = Corpus(packed_words(np.empty((0, 90))), np.empty(0, np.int64), 90)
    query = pack(random_levels(1, 90))[0]
    assert len(empty.find(query, 0, 5, 55, 8)[0]) == 0
    assert empty.count(query, 1) == 0


def test_a_corpus_says_what_shape_it_needs():
    packed, posts = pack(random_levels(8, 90)), np.arange(8)
    with pytest.raises(DataError, match=r"shape \(3, 8\).*transposed\(pack\(levels\)\)"):
        Corpus(packed, posts, 90)
    with pytest.raises(DataError, match="contiguous"):
        Corpus(packed.T, posts, 90)
    with pytest.raises(DataError, match="posts are contiguous integers"):
        Corpus(transposed(packed), posts.astype(float), 90)


def test_a_query_that_does_not_fit_is_refused():
    levels = pack(random_levels(8, 90))
    one = Corpus(transposed(levels), np.arange(8), 90)
    both = Corpus(transposed(levels), np.arange(8), 90, transposed(levels))
    with pytest.raises(DataError, match="3 packed words"):
        one.find(levels[0, :2], 0, 0, 1, 1)
    with pytest.raises(DataError, match="second side"):
        both.find(levels[0], 0, 0, 1, 1)
    with pytest.raises(DataError, match="second side"):
        one.find(levels[0], 0, 0, 1, 1, levels[0])
    for anchor in ((90, 1), (-1, 1), (0, 0)):
        with pytest.raises(DataError, match="an anchor is a dimension below 90"):
            one.find(levels[0], 0, 0, 1, 1, anchor=anchor)


def test_seeds_depend_on_their_parts_only():
    assert seeded(1, "a").integers(1 << 40) == seeded(1, "a").integers(1 << 40)
    assert seeded(1, "a").integers(1 << 40) != seeded(1, "b").integers(1 << 40)


def test_the_module_does_not_import_numba():
    code = "import sys, persona_rm.construct.search.similarity; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
