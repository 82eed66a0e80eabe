"""Every seed of the fuzzer, and some mutations of each, by a fixed draw."""

import random

import pytest

from tests.fuzz.fuzz import TARGETS, mutated, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_and_no_mutation_raises(name: str) -> None:
    corpus, drawn = seeds(name), random.Random(0)
    assert len(corpus) >= 7
    for data in corpus:
        TARGETS[name](data)
        for _ in range(15):
            TARGETS[name](mutated(data, corpus, drawn))
