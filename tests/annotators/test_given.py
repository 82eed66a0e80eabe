"""`given`: levels of the source, and levels with a known error."""

import pytest
from pydantic import ValidationError

from persona_rm.annotators.given import GivenAnnotator, GivenConfig
from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, RecipeError
from persona_rm.types import Comment

NOISE = ((0.8, 0.1, 0.1), (0.0, 1.0, 0.0), (0.0, 0.5, 0.5))


def annotate(space, levels, **config):
    annotator = GivenAnnotator(GivenConfig(**config), space, Backends())
    comments = [Comment(id=f"c{i}", text="x", levels=row) for i, row in enumerate(levels)]
    return annotator.annotate([""] * len(comments), comments)


def test_hands_levels_on(space):
    levels = [(1,) * 90, (2,) * 45 + (3,) * 45]
    assert annotate(space, levels) == levels


def test_a_comment_without_levels_is_named(space):
    with pytest.raises(DataError, match=r"'c1' carries no levels"):
        annotate(space, [(1,) * 90, None])


@pytest.mark.parametrize("levels", [(1,) * 89, (0,) + (1,) * 89, (4,) * 90])
def test_wrong_levels_are_refused(space, levels):
    with pytest.raises(DataError, match=r"'c0' needs 90 levels in 1\.\.3"):
        annotate(space, [levels])


def test_confusion_has_the_stated_rates_and_is_deterministic(space):
    levels = [(3,) * 90 for _ in range(60)]
    noisy = annotate(space, levels, confusion=NOISE, seed=1)
    flat = [level for row in noisy for level in row]
    assert set(flat) == {2, 3}
    assert abs(flat.count(3) / len(flat) - 0.5) < 0.03
    assert noisy == annotate(space, levels, confusion=NOISE, seed=1)
    assert noisy != annotate(space, levels, confusion=NOISE, seed=2)


def test_confusion_does_not_depend_on_the_batch(space):
    levels = [(1,) * 90 for _ in range(4)]
    annotator = GivenAnnotator(GivenConfig(confusion=NOISE), space, Backends())
    comments = [Comment(id=f"c{i}", text="x", levels=row) for i, row in enumerate(levels)]
    whole = annotator.annotate([""] * 4, comments)
    assert whole == [annotator.annotate([""], [comment])[0] for comment in comments]


def test_one_matrix_per_dimension(space):
    sure = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    swap = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    assert annotate(space, [(1,) * 90], confusion=(swap,) + (sure,) * 89) == [(3,) + (1,) * 89]


def test_bad_confusion_is_refused(space):
    with pytest.raises(ValidationError, match="distribution"):
        GivenConfig(confusion=((0.5, 0.1, 0.1), (0, 1, 0), (0, 0, 1)))
    with pytest.raises(RecipeError, match="2 matrices"):
        annotate(space, [], confusion=(NOISE, NOISE))


def test_the_second_draw_is_another_one_with_the_same_rates(space):
    annotator = GivenAnnotator(GivenConfig(confusion=NOISE), space, Backends())
    comments = [Comment(id=f"c{i}", text="x", levels=(3,) * 90) for i in range(60)]
    first, second = ([r.levels for r in annotator.read([""] * 60, comments, variant)] for variant in (0, 1))
    pairs = [pair for rows in zip(first, second, strict=True) for pair in zip(*rows, strict=True)]
    assert abs(sum(b == 3 for _, b in pairs) / len(pairs) - 0.5) < 0.03
    assert abs(sum(a == b for a, b in pairs) / len(pairs) - 0.5) < 0.03


def test_the_confidence_is_what_the_level_read_says_about_the_true_one(space):
    annotator = GivenAnnotator(GivenConfig(confusion=NOISE), space, Backends())
    comments = [Comment(id=f"c{i}", text="x", levels=(1, 2, 3) * 30) for i in range(9)]
    found = {
        (level, round(sure, 9))
        for reading in annotator.read([""] * 9, comments)
        for level, sure in zip(reading.levels, reading.confidence, strict=True)
    }
    assert found == {(1, 1.0), (2, round(1 / 1.6, 9)), (3, round(0.5 / 0.6, 9))}
