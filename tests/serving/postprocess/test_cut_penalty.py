"""The penalty of a response that was cut."""

import pytest

from persona_rm.errors import ScoreError
from persona_rm.serving.postprocess import PostprocessConfig, Postprocessor
from persona_rm.types import RewardStep
from tests.serving.postprocess.postprocess_samples import applied, raw


@pytest.mark.parametrize(("cut", "given", "change"), [(1.0, -1.5, -2.0), (0.0, 0.5, 0.0)])
def test_a_cut_response_costs_the_penalty(cut, given, change):
    made = Postprocessor(PostprocessConfig(cut_penalty=2))
    logs = {"persona_rm/postprocess/raw": 0.5, "persona_rm/postprocess/cut": change}
    assert applied(made, raw(0.5, cut=cut)) == (given, logs)
    assert made.apply(raw(0.5, cut=cut)).trace.steps == (RewardStep("cut", 0.5, given),)


def test_it_is_off_by_default_and_needs_to_know():
    assert not PostprocessConfig().on
    assert PostprocessConfig(cut_penalty=2).on
    with pytest.raises(ScoreError, match="needs cut of every sample"):
        Postprocessor(PostprocessConfig(cut_penalty=2)).apply(raw(0.5))
