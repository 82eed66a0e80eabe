"""Surface features count what they say, and stand beside the encoding."""

import numpy as np
import pytest

from persona_rm.methods.text_features import SHARE, SURFACE, TextFeatures, surface, surface_scaling
from tests.methods.method_samples import LetterEncoder


@pytest.mark.parametrize(
    ("text", "feature", "count"),
    [
        ("one two three", "words", 3),
        ("a\nb\nc", "lines", 2),
        ("- one\n* two\n1. three\n2) four\nnot-a - list", "list_items", 4),
        ("Hi! Great!", "exclamations", 2),
        ("Why? How?", "questions", 2),
        ("I think I am; Idaho is not I'm... it is", "first_person", 3),
        ("`code` and **bold**", "markup", 6),
    ],
)
def test_counts(text: str, feature: str, count: int) -> None:
    assert surface(text)[SURFACE.index(feature)] == pytest.approx(np.log1p(count))


def test_an_empty_response_has_features() -> None:
    assert surface("") == [0.0] * len(SURFACE)


def test_features_are_scaled_beside_the_encoding() -> None:
    texts = [("x", "short"), ("x", "a good deal longer!"), ("x", "short")]
    scaling = surface_scaling([response for _, response in texts])
    rows = TextFeatures(LetterEncoder(), scaling=scaling).rows(texts)
    assert rows.shape == (3, 16 + len(SURFACE))
    assert rows[0].tolist() == rows[2].tolist()
    assert rows[:2, 16] == pytest.approx([-SHARE, SHARE])
    # A feature that no text has stays 0, without a division by 0.
    assert rows[:, 16 + SURFACE.index("list_items")].tolist() == [0, 0, 0]
    assert TextFeatures(LetterEncoder()).rows(texts).shape == (3, 16)
