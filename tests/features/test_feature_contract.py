"""What every feature extractor promises, run over the whole zoo."""

from pathlib import Path

import numpy as np
import pytest

from persona_rm.annotators.encoder import EncoderAnnotator, EncoderConfig
from persona_rm.backends.base import Backends
from persona_rm.errors import RecipeError
from persona_rm.features import FEATURES
from persona_rm.features.base import FeatureExtractor
from persona_rm.features.feature_set import FeatureSet, Scaling, feature_members
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import LetterEncoder, LetterReader

TEXTS = [("ask", "one"), ("ask", "two words here"), ("other", "one"), ("ask", "")]


class NamedEncoder(LetterEncoder):
    """A letter encoder that says what it is, so that its vectors can be kept on disk."""

    signature = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts):  # type: ignore[no-untyped-def]
        self.asked += texts
        return super().encode(texts)


def backends(space: PreferenceSpace, folder: Path | None = None) -> Backends:
    encoder = NamedEncoder()
    reader = EncoderAnnotator(EncoderConfig(), space, Backends(encoder=encoder))
    return Backends(encoder=encoder, reader=reader, folder=folder)


@pytest.fixture(params=list(FEATURES.table))
def extractor(request: pytest.FixtureRequest, space: PreferenceSpace) -> FeatureExtractor:
    cls, config = FEATURES.member(request.param)
    made: FeatureExtractor = cls(config, space, backends(space))
    return made


def test_rows_in_order_and_each_for_itself(extractor: FeatureExtractor) -> None:
    prompts, responses = zip(*TEXTS, strict=True)
    rows = extractor.extract(prompts, responses)
    assert rows.dtype == np.float32
    assert rows.shape[0] == 4
    assert np.isfinite(rows).all()
    if extractor.names:
        assert len(extractor.names) == rows.shape[1]
    for i, (prompt, response) in enumerate(TEXTS):
        assert extractor.extract([prompt], [response])[0] == pytest.approx(rows[i], abs=1e-5)
    assert extractor.extract([], []).shape[0] == 0
    assert len({row.tobytes() for row in rows[:2]}) == 2


def test_a_missing_model_is_named_with_who_asks(space: PreferenceSpace) -> None:
    for name, words in (("encoder", "mine needs a text encoder"), ("contrasts", "mine needs an annotator")):
        with pytest.raises(RecipeError, match=words):
            FeatureSet([{"name": name}], space, Backends(), "mine")


def test_contrasts_need_more_than_levels(space: PreferenceSpace) -> None:
    features = FeatureSet([{"name": "contrasts"}], space, Backends(reader=LetterReader(space)), "mine")
    with pytest.raises(RecipeError, match="LetterReader gives levels only"):
        features.rows(TEXTS)


def test_contrasts_are_the_numbers_behind_the_levels(space: PreferenceSpace) -> None:
    given = backends(space)
    rows, _ = FeatureSet([{"name": "contrasts"}], space, given, "mine").rows(TEXTS)
    levels = np.array(given.need_reader("x").levels(*zip(*TEXTS, strict=True)))
    read = levels != 2
    assert read.any()
    assert (np.sign(rows[read]) == levels[read] - 2).all()
    assert not rows[3].any()


def test_blocks_stand_side_by_side_and_a_text_is_read_once(space: PreferenceSpace) -> None:
    given = backends(space)
    features = FeatureSet(
        feature_members(["encoder", {"name": "encoder", "text": "response"}, "surface"]), space, given, "m"
    )
    rows, widths = features.rows([*TEXTS, TEXTS[0]])
    assert widths == (16, 16, 26)
    assert rows.shape == (5, 58)
    assert rows[0].tolist() == rows[4].tolist()
    # The response alone does not see the prompt.
    assert rows[0, 16:32].tolist() == rows[2, 16:32].tolist()
    assert rows[0, :16].tolist() != rows[2, :16].tolist()
    assert features.rows([])[0].shape == (0, 0)


def test_rows_are_kept_on_disk_by_content(space: PreferenceSpace, tmp_path: Path) -> None:
    members = feature_members(["encoder"])
    first = backends(space, tmp_path)
    rows, _ = FeatureSet(members, space, first, "m").rows(TEXTS)
    again = backends(space, tmp_path)
    stored, _ = FeatureSet(members, space, again, "m").rows([*TEXTS, ("new", "text")])
    assert stored[:4].tolist() == rows.tolist()
    assert again.encoder.asked == ["text\n\nnew"]  # type: ignore[union-attr]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".npz"}


def test_what_a_recipe_may_name() -> None:
    assert feature_members("encoder+surface") == ({"name": "encoder"}, {"name": "surface"})
    with pytest.raises(ValueError, match="one or more"):
        feature_members([])
    with pytest.raises(Exception, match=r"no 'surfaces'.*did you mean 'surface'"):
        feature_members(["surfaces"])


def test_scaling_gives_every_block_the_same_length() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(3, 5, (200, 4)), rng.normal(0, 0.01, (200, 30)), np.ones((200, 1))], axis=1)
    scaled = Scaling.of(rows.astype(np.float32), (4, 30, 1)).apply(rows.astype(np.float32))
    for block in (slice(0, 4), slice(4, 34)):
        assert (scaled[:, block] ** 2).sum(1).mean() == pytest.approx(1, rel=1e-3)
    assert not scaled[:, 34].any()
    assert Scaling.of(rows.astype(np.float32), (4, 30, 1), "none").apply(rows.astype(np.float32))[0, 34] == 1
