import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from persona_rm.benchmarks import controls
from persona_rm.benchmarks.evaluation import Evaluation, evaluate, read_figures
from persona_rm.benchmarks.figures import direction_figures
from persona_rm.errors import DataError, ScoreError
from tests.benchmarks.benchmark_samples import Directed, Failing, cases


def test_evaluate_adapts_once_per_person_and_scores_in_batches():
    method = Directed()
    rewards = evaluate(method, cases(users=6, each=4), batch=10)
    assert (method.adapted, method.calls) == (6, 3)
    assert (rewards.margins > 0).all()


@pytest.mark.parametrize("named", [True, False])
def test_a_failed_score_is_counted_with_its_reason_and_costs_no_other_case(named):
    some = cases(users=4, each=3)
    rewards = evaluate(Failing({"prompt 1"}, named), some, batch=5)
    assert sorted(rewards.failures) == [1, 4, 7, 10]
    assert "too long" in rewards.failures[1]
    assert rewards.ok.sum() == 8
    run = Evaluation(resamples=50)
    figure = run.accuracy("x", Failing({"prompt 1"}, named), some)
    assert (figure.value, figure.n, figure.failed) == (1.0, 8, 4)


def test_a_person_who_cannot_be_adapted_to_costs_their_own_cases_only():
    class Choosy(Directed):
        def adapt(self, evidence, state=None):
            if evidence.user_id == "a0":
                raise ScoreError("a history longer than the context")
            return super().adapt(evidence, state)

    rewards = evaluate(Choosy(), cases(users=3, each=2))
    assert rewards.failures == dict.fromkeys((0, 1), "a history longer than the context")
    assert rewards.ok.tolist() == [False, False, True, True, True, True]


def test_all_failed_is_an_error_not_a_figure():
    with pytest.raises(ScoreError, match="none of 4 cases"):
        evaluate(Failing({"prompt 0", "prompt 1"}, True), cases(users=2, each=2))


def test_failures_are_shown(capsys):
    evaluate(Failing({"prompt 1"}, True), cases(), console=Console(), label="pba")
    assert "6 of 24 cases got no score" in " ".join(capsys.readouterr().out.split())


def test_the_controls_are_where_theory_says():
    run, some, method = Evaluation(resamples=200), cases(users=8), Directed()
    assert run.accuracy("golden", method, some).value == 1.0
    assert run.accuracy("control_no_persona", method, [controls.no_persona(c) for c in some]).value == 0.5
    assert run.given("control_longer", some, controls.longer_wins(some)).value == 0.5
    assert run.flip("golden_flip", "golden", method).value == 1.0
    shuffled = run.accuracy("control_shuffled", method, controls.shuffled_personas(some))
    assert shuffled.value < 1.0
    assert shuffled.low <= shuffled.value <= shuffled.high


def test_flip_is_zero_where_the_persona_is_ignored():
    class Deaf(Directed):
        def adapt(self, evidence, state=None):
            return super().adapt(evidence.with_directions((1, 0, 0)), state)

    run, some = Evaluation(resamples=50), cases()
    run.accuracy("deaf", Deaf(), some)
    assert run.flip("deaf_flip", "deaf", Deaf()).value == 0.0


def test_bayes_reports_the_cases_and_the_expectation():
    run = Evaluation(resamples=50)
    realised, expected = run.bayes(cases())
    assert (realised.name, realised.value) == ("bayes_optimal", 1.0)
    assert (expected.name, expected.value) == ("bayes_optimal_expected", pytest.approx(0.8))
    with pytest.raises(DataError, match="true utilities"):
        run.bayes([replace(c, utilities=None) for c in cases()])


def test_history_names_its_sizes():
    figures = Evaluation(resamples=50).history("ica", Directed(), cases(), sizes=(2, 16))
    assert [f.name for f in figures] == ["ica_h2", "ica_h16"]


def test_gap_is_paired_and_needs_the_same_cases():
    run, some = Evaluation(resamples=200), cases(users=20)
    run.accuracy("golden", Directed(), some)
    run.accuracy("none", Directed(), [controls.no_persona(c) for c in some])
    gap = run.gap("gap_golden_minus_none", "golden", "none")
    assert (gap.value, gap.low, gap.high) == (0.5, 0.5, 0.5)
    run.accuracy("fewer", Directed(), some[:8])
    with pytest.raises(DataError, match="same cases"):
        run.gap("bad", "golden", "fewer")
    with pytest.raises(DataError, match="there is: golden, none, fewer"):
        run.gap("bad", "golden", "unknown")


def test_by_group_splits_and_write_reads_back(tmp_path):
    run = Evaluation(resamples=50)
    run.accuracy("golden", Directed(), cases())
    assert [f.name for f in run.by_group("golden")] == ["golden.a", "golden.b"]
    run.add(direction_figures("vote", [(1, 0, -1)] * 2, [(1, 0, -1)] * 2, ["u", "v"], resamples=50)[0])
    run.write(tmp_path / "deep" / "metrics.json")
    rows = json.loads((tmp_path / "deep" / "metrics.json").read_text())
    assert set(rows[0]) == {"name", "value", "low", "high", "n"}
    assert read_figures(tmp_path / "deep" / "metrics.json") == list(run.figures.values())


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", '[{"name": "x"', '[{"name": "x", "value": "high"}]'])
def test_broken_figures_are_refused_by_file(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json"):
        read_figures(path)


def test_rewards_of_wrong_cases_never_reach_a_figure():
    run = Evaluation(resamples=50)
    with pytest.raises(DataError, match="two bootstrap units"):
        run.given("none", cases()[:2], np.array([[np.nan, 1.0], [np.nan, 1.0]]))
