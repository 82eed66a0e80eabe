"""Surface features count what they say."""

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.features.surface import SURFACE, SurfaceFeatures, surface
from persona_rm.space import PreferenceSpace


@pytest.mark.parametrize(
    ("text", "feature", "count"),
    [
        ("one two three", "words", 3),
        ("One. Two! Three? 3.5 is no end", "sentences", 3),
        ("a\nb\nc", "lines", 2),
        ("a\n\nb\n \nc", "paragraphs", 2),
        ("- one\n* two\n1. three\n2) four\nnot-a - list", "list_items", 4),
        ("# A\n## B\n#no", "headings", 2),
        ("Hi! Great!", "exclamations", 2),
        ("Why? How?", "questions", 2),
        ("**bold** and *so*", "emphasis", 6),
        ("`code` and ```", "code", 5),
        ("in 2024, 7 of 9", "digits", 6),
        ("NASA and EU, not Nato", "capitals", 2),
        ("fine :) \U0001f600 at 10:30", "emoji", 2),
    ],
)
def test_counts(text: str, feature: str, count: int) -> None:
    assert surface(text)[SURFACE.index(feature)] == pytest.approx(np.log1p(count))


@pytest.mark.parametrize(
    ("text", "feature", "share"),
    [
        ("I like my tea", "first_person", 2 / 4),
        ("you and your tea", "second_person", 2 / 4),
        ("we do not, never", "negation", 2 / 4),
        ("however this is unquestionable", "formal", 2 / 4),
        ("hey, that is cool", "informal", 2 / 4),
        ("aa bbbb", "word_length", 3.0),
        ("a a a a", "vocabulary", 1 / 2),
    ],
)
def test_shares(text: str, feature: str, share: float) -> None:
    assert surface(text)[SURFACE.index(feature)] == pytest.approx(share)


@pytest.mark.parametrize("text", ["", " \n", "?!", "\ud800"])
def test_every_text_has_finite_features(text: str, space: PreferenceSpace) -> None:
    rows = SurfaceFeatures(SurfaceFeatures.Config(), space, Backends()).extract(["p"], [text])
    assert rows.shape == (1, len(SURFACE))
    assert np.isfinite(rows).all()
    assert surface("") == (0.0,) * len(SURFACE)
