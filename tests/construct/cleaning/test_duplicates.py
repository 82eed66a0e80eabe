"""Groups are those of all pairs, in any order, and a crowd of equal texts costs little."""

import random

import numpy as np
import pytest

from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.construct.cleaning.duplicates import bands, exact_groups, exact_hash, groups, shingles, signature

CONFIG = CleanConfig(near_duplicates=0.8)
WORDS = [f"word{n}" for n in range(400)]


def text(seed, size=60):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def edited(original, seed, edits=1):
    words, r = original.split(), random.Random(seed)
    for _ in range(edits):
        words[r.randrange(len(words))] = r.choice(WORDS)
    return " ".join(words)


def signatures(texts):
    return np.stack([signature(t, CONFIG) for t in texts])


def all_pairs(ids, signs, threshold):
    """The answer by definition: components over all pairs, the smallest id of each."""
    label = list(range(len(ids)))
    for i in range(len(ids)):
        for j in np.flatnonzero((signs[i] == signs).mean(1) >= threshold).tolist():
            low, high = sorted((label[i], label[j]))
            label = [low if one == high else one for one in label]
    best = {c: min((ids[i], i) for i in range(len(ids)) if label[i] == c)[1] for c in set(label)}
    return [best[c] for c in label]


def family(n=60):
    texts = [text(seed) for seed in range(n)]
    return texts + [edited(t, seed) for seed, t in enumerate(texts)] + [edited(t, 1, 12) for t in texts[:20]]


def test_exact_groups_fold_case_and_spaces():
    texts = ["The same  Text", "other", "the same text", "The\nsame text "]
    ids = ["d", "c", "b", "a"]
    assert exact_groups(ids, [exact_hash(t) for t in texts]).tolist() == [3, 1, 3, 3]
    assert exact_groups([], np.empty(0, np.uint64)).tolist() == []


def test_a_signature_is_deterministic_and_estimates_jaccard():
    a, b = text(1, 200), edited(text(1, 200), 2, 4)
    first, second = set(shingles(a, 5).tolist()), set(shingles(b, 5).tolist())
    truth = len(first & second) / len(first | second)
    assert (signature(a, CONFIG) == signature(a, CONFIG)).all()
    assert (signature(a, CONFIG) == signature(b, CONFIG)).mean() == pytest.approx(truth, abs=0.15)
    assert signature(a, CONFIG).dtype == np.uint32
    assert signature(a, CONFIG).shape == (128,)
    assert signature("one two three four five six seven", CONFIG)[:3].tolist() == [531083459, 980487168, 161444986]


def test_short_texts_and_texts_without_words():
    assert (signature("two words", CONFIG) == signature("Two, words!", CONFIG)).all()
    assert (signature("!!!", CONFIG) != signature("???", CONFIG)).any()
    assert len(signature("", CONFIG)) == 128
    assert len(shingles("a b c d e f", 5)) == 2


def test_a_text_of_megabytes_fits_in_memory():
    assert signature("some words here " * 100_000, CONFIG).shape == (128,)


def test_groups_are_those_of_all_pairs():
    texts = family()
    ids = [f"id{n:04}" for n in range(len(texts))]
    signs = signatures(texts)
    assert groups(ids, signs, 0.8).tolist() == all_pairs(ids, signs, 0.8)


def test_groups_do_not_depend_on_the_order():
    texts = family(30)
    ids = [f"id{n:04}" for n in range(len(texts))]
    signs = signatures(texts)
    first = groups(ids, signs, 0.8)
    order = np.random.default_rng(0).permutation(len(ids))
    second = groups([ids[i] for i in order], signs[order], 0.8)
    assert {ids[i]: ids[first[i]] for i in range(len(ids))} == {
        ids[order[i]]: ids[order[second[i]]] for i in range(len(ids))
    }


def test_chains_are_joined():
    chain = [text(5, 100)]
    for seed in range(6):
        chain.append(edited(chain[-1], seed, 1))
    ids = [f"c{n}" for n in range(len(chain))]
    assert groups(ids, signatures(chain), 0.8).tolist() == [0] * len(chain)


def test_five_thousand_equal_texts_are_one_group():
    signs = np.concatenate([np.tile(signature(text(1), CONFIG), (5000, 1)), signatures([text(2)])])
    found = groups([f"{n:05}" for n in range(5001)], signs, 0.8)
    assert found.tolist() == [0] * 5000 + [5000]


def test_a_bucket_of_thousands_of_different_texts_is_not_compared_pair_by_pair(monkeypatch):
    """Two thousand variants of a template: far fewer comparisons than 2,000,000 pairs, and nearly one group."""
    from persona_rm.construct.cleaning import duplicates

    template = text(9, 120)
    variants = [template + " " + WORDS[n % 400] + " " + WORDS[(n * 7) % 399] for n in range(2000)]
    pairs = []
    real = duplicates._verified

    def counted(kept, left, right, parents, threshold):
        new = parents[left] != parents[right]
        pairs.append(int(new.sum()))
        return real(kept, left, right, parents, threshold)

    monkeypatch.setattr(duplicates, "_verified", counted)
    found = groups([f"{n:05}" for n in range(2000)], signatures(variants), 0.8)
    assert sum(pairs) < 2000 * 40
    assert (found == 0).mean() > 0.99


def test_nothing_gives_nothing():
    assert groups([], np.empty((0, 128), np.uint32), 0.8).tolist() == []


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_bands_find_pairs_at_the_threshold(threshold):
    count, rows = bands(threshold, 128)
    assert count * rows <= 128
    assert 1 - (1 - threshold**rows) ** count >= 0.99
    assert 1 - (1 - threshold ** (rows + 1)) ** (128 // (rows + 1)) < 0.99
