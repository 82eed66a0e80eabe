"""K-means per post: against all partitions, against itself in other batches, and at sizes that hurt."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.pairing import kmeans as module
from persona_rm.construct.pairing.kmeans import cluster, clusters, one_hot

ROWS = st.lists(st.tuples(*[st.integers(1, 3)] * 3), max_size=14)


def inertia(levels, labels):
    points, labels = one_hot(levels), np.array(labels)
    return sum(((points[labels == c] - points[labels == c].mean(0)) ** 2).sum() for c in set(labels.tolist()))


def some_levels(n, dimensions=12, seed=0):
    return [tuple(row) for row in np.random.default_rng(seed).integers(1, 4, (n, dimensions)).tolist()]


def test_one_hot():
    assert one_hot([(1, 3)]).tolist() == [[1, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("n", [4, 5, 7])
def test_few_responses_get_the_best_partition(n, k):
    levels = some_levels(n)
    best = min(inertia(levels, labels) for labels in product(range(k), repeat=n) if len(set(labels)) == k)
    assert inertia(levels, cluster(levels, k, 0, "t")) == pytest.approx(best)


@given(st.integers(1, 8), st.integers(1, 8))
def test_every_partition_is_tried_once(n, k):
    labels = module._partitions(n, min(n, k))[0].tolist()
    names = [list(dict.fromkeys(row)) for row in labels]
    assert all(name == list(range(min(n, k))) for name in names)
    assert len({tuple(row) for row in labels}) == len(labels) == stirling(n, min(n, k))


def stirling(n, k):
    """Ways to split n things into k parts."""
    return int(n == k) if n == 0 or k == 0 else k * stirling(n - 1, k) + stirling(n - 1, k - 1)


@pytest.mark.parametrize("seed", range(4))
def test_descents_come_near_the_best_and_no_cluster_is_empty(monkeypatch, seed):
    levels = some_levels(8, seed=seed)
    exact = inertia(levels, cluster(levels, 3, 0, "t"))
    monkeypatch.setattr(module, "EXACT", 2)
    labels = cluster(levels, 3, 0, "t")
    assert set(labels) == {0, 1, 2}
    assert inertia(levels, labels) <= exact * 1.05


def test_clear_groups_are_found_by_descent():
    groups = [(1,) * 6] * 4 + [(2,) * 6] * 40 + [(3,) * 6]
    assert cluster(groups, 3, 0, "t") == (0,) * 4 + (1,) * 40 + (2,)


@pytest.mark.parametrize(
    ("levels", "labels"),
    [
        ([], ()),
        ([(1, 2)], (0,)),
        ([(1, 2), (1, 3)], (0, 1)),
        ([(1, 2)] * 4, (0,) * 4),
        ([(1, 2)] * 40, (0,) * 40),
        ([(1, 2), (3, 3), (1, 2), (3, 3)], (0, 1, 0, 1)),
        ([(1, 2), (3, 3)] * 10, (0, 1) * 10),
    ],
)
def test_few_or_equal_responses(levels, labels):
    assert cluster(levels, 3, 0, "t") == labels


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=8), st.integers(1, 4), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_post_gets_the_same_clusters_alone_and_in_any_batch(posts, k, seed, random):
    ids = [f"post {i}" for i in range(len(posts))]
    together = clusters(posts, k, seed, ids)
    assert together == [cluster(post, k, seed, name) for post, name in zip(posts, ids, strict=True)]
    order = list(range(len(posts)))
    random.shuffle(order)
    assert clusters([posts[i] for i in order], k, seed, [ids[i] for i in order]) == [together[i] for i in order]
    for post, labels in zip(posts, together, strict=True):
        assert len(labels) == len(post)
        assert list(dict.fromkeys(labels)) == list(range(min(k, len(set(post)))))


@pytest.mark.parametrize("n", [8, 9, 40, 300])
def test_large_batches_are_cut_and_change_nothing(monkeypatch, n):
    posts = [some_levels(n, 90, seed) for seed in range(12)]
    ids = [str(i) for i in range(12)]
    whole = clusters(posts, 3, 0, ids)
    monkeypatch.setattr(module, "CELLS", 1)
    assert clusters(posts, 3, 0, ids) == whole == [cluster(post, 3, 0, i) for post, i in zip(posts, ids, strict=True)]


def test_the_gram_matrix_and_the_rows_give_the_same(monkeypatch):
    posts, ids = [some_levels(60, 90, seed) for seed in range(5)], list("abcde")
    by_gram = clusters(posts, 3, 0, ids)
    monkeypatch.setattr(module, "GRAM", 10)
    assert clusters(posts, 3, 0, ids) == by_gram


def test_draws_depend_on_the_seed_and_the_row_id():
    levels = some_levels(40, 90)
    assert len({cluster(levels, 3, 0, name) for name in "abcdefgh"}) > 1
    assert len({cluster(levels, 3, seed, "a") for seed in range(8)}) > 1
    assert cluster(levels, 3, 7, "x") == cluster(levels, 3, 7, "x")


def test_five_thousand_replies_need_little_memory():
    levels = some_levels(5000, 90)
    tracemalloc.start()
    labels = cluster(levels, 3, 0, "t")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(labels) == {0, 1, 2}
    assert peak < 60e6  # a Gram matrix alone would be 100 MB


def test_equal_centres_leave_no_cluster_empty():
    rows = np.array([[[1, 1, 1], [1, 1, 2], [3, 3, 3], [2, 2, 2]]], np.uint8)
    members = np.zeros((1, 1, 3, 4), np.float32)
    members[..., 0] = 1
    labels, _ = module._descend(module._product(module._hot(rows)), members)
    assert set(labels[0, 0].tolist()) == {0, 1, 2}


def test_an_empty_cluster_takes_the_farthest_point_that_is_not_alone():
    labels, distances = np.array([0, 0, 0, 1]), -np.array([[9.0, 5.0, 7.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0] * 4])
    module._fill(labels, distances)
    assert labels.tolist() == [0, 2, 0, 1]
