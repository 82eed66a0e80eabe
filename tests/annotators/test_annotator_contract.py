"""What every annotator owes: levels 1..3 in the order of the comments, one per dimension, the same each time."""

import pytest

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.errors import UnknownName
from persona_rm.types import Comment


class Flat:
    """An encoder that needs no model."""

    def encode(self, texts):
        import numpy as np

        rows = [np.random.default_rng(sum(text.encode())).normal(size=16) for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(texts), 16)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=ANNOTATORS.names())
def annotator(request, space):
    cls = ANNOTATORS.load(request.param)
    return cls(cls.Config(), space, Backends(encoder=Flat()))


def comments(space, n=5):
    return [Comment(f"c{i}", f"text number {i}", levels=(1 + i % 3,) * len(space)) for i in range(n)]


def test_the_name_is_the_name_in_the_table(annotator):
    assert isinstance(annotator, ANNOTATORS.load(annotator.name))


def test_levels_in_range_one_tuple_per_comment(annotator, space):
    levels = annotator.annotate(["p"] * 5, comments(space))
    assert len(levels) == 5
    assert all(isinstance(row, tuple) and len(row) == len(space) and {*row} <= {1, 2, 3} for row in levels)


def test_same_again_and_in_any_order(annotator, space):
    forward = annotator.annotate(["p"] * 5, comments(space))
    assert forward == annotator.annotate(["p"] * 5, comments(space))
    assert forward[::-1] == annotator.annotate(["p"] * 5, comments(space)[::-1])


def test_nothing_in_nothing_out(annotator):
    assert annotator.annotate([], []) == []


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(UnknownName, match="encoder, given"):
        ANNOTATORS.load("gpt")
