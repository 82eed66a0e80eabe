"""Memory that really runs out: the limit of this process's address space stands just above what it has."""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from persona_rm.backends.logprob.memory import in_halves
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.errors import ScoreError

WIDE = {"intermediate_size": 16384, "num_hidden_layers": 1, "max_position_embeddings": 16384}
"""A token of an answer takes 64 KiB and more while the model reads it."""
SHORT = ["I like the law.", "No.", "I like the law. " * 4]
LONG = "I like the law. " * 300
QUESTION = "What is law? "


@contextmanager
def room(size):
    """No more than `size` bytes above what this process has now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def ask(backend, responses):
    return backend.logprob([QUESTION] * len(responses), responses)


def test_only_the_row_that_does_not_fit_fails_and_the_others_are_exact(tiny_model):
    backend = TransformersLogProb(tiny_model(0, **WIDE))
    expected = ask(backend, SHORT)
    with room(96 * 2**20):
        with pytest.raises(ScoreError, match=r"out of memory on a row of \d{4,} tokens.*max_length") as caught:
            ask(backend, [*SHORT[:2], LONG, SHORT[2], LONG])
        assert (caught.value.rows, caught.value.kind) == ((2, 4), "too_long")
        assert [row.policy for row in ask(backend, SHORT)] == pytest.approx([row.policy for row in expected], abs=1e-5)


def test_rows_that_fit_only_one_by_one_are_scored(tiny_model):
    rows = ["I like the law. " * (30 + i) for i in range(8)]
    backend = TransformersLogProb(tiny_model(0, **WIDE))
    expected = ask(backend, rows)
    seen = []
    sums = backend._sums
    backend._sums = lambda part: (seen.append(len(part)), sums(part))[1]
    with room(128 * 2**20):
        found = ask(backend, rows)
    assert seen[0] == len(rows)
    assert len(seen) > 1
    assert [row.policy for row in found] == pytest.approx([row.policy for row in expected], abs=1e-4)


def test_other_errors_are_not_taken_for_it():
    def work(_rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        in_halves(work, [((1, 2), 1)], lambda: None)
