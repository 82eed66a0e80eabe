"""The evaluation of inferred directions: each part on a tiny simulator, and the recipe made tiny, end to end."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from persona_rm.benchmarks.evaluation import read_figures, write_figures
from persona_rm.benchmarks.figures import Figure
from persona_rm.errors import RecipeError
from persona_rm.inferrers.calibration import expected_calibration_error
from persona_rm.pipeline.job import run_recipe
from persona_rm.pipeline.studies import FOLDER, merge_figures, run_inference, study
from persona_rm.pipeline.studies import direction_accuracy as accuracy
from persona_rm.pipeline.studies.alignment import alignment
from persona_rm.recipe import load_recipe
from tests.pipeline.studies.inference_samples import SMALL, Told, hand_toys, run_of, study_of, study_with_pairs
from tests.source import ROOT


@pytest.fixture(scope="module")
def small(tmp_path_factory, space):
    return study_with_pairs(tmp_path_factory.mktemp("study"), space)


def test_what_is_told_is_asked_for_once_by_number_of_items(small):
    silent = Told(small.space, small.space.neutral)
    first, prompts = small.inferred(silent, 4), [case.example.prompt for case in small.cases]
    assert small.inferred(silent, 4) is first
    assert [asked[:3] for asked in silent.asked] == [(unit, 4, "") for unit in small.units]
    assert {asked[3] for asked in silent.asked} == {None}, "nobody sees golden directions"
    assert {one.n_items for one in small.inferred(silent, 2)} == {2}
    assert len(silent.asked) == 2 * len(prompts)
    by_prompt = Told(small.space, small.space.neutral, by_prompt=True)
    by_prompt.name = "told by prompt"
    small.inferred(by_prompt, 4)
    assert [asked[2] for asked in by_prompt.asked] == prompts


def test_the_cases_are_held_out_people_and_posts(small):
    train = {post.text for post in small.simulator.posts("train")}
    assert len(small.cases) == 28
    for case in small.cases:
        assert case.unit.startswith("test")
        assert not train & {case.example.prompt, *(item.prompt for item in case.example.persona.items)}
        assert case.example.persona.n_items == study.OBSERVED


def test_differences_are_those_of_the_texts(small):
    signs = np.sign(small.differences)
    np.testing.assert_array_equal(signs, [case.example.directions for case in small.cases])
    assert np.abs(small.differences).max() == 2


def test_controls_of_ordering_pairs(small):
    """Silence is at chance, golden directions order as the true utilities do, and their opposite the other way."""
    golden, size = small.ordered(small.golden), (len(small.cases), len(small.space))
    assert set(small.ordered(np.zeros(size, int))) == {0.5}
    np.testing.assert_array_equal(small.ordered(-small.golden), 1 - golden)
    liked = np.array([case.utilities for case in small.cases])
    np.testing.assert_array_equal(golden, (np.sign(liked[:, 0] - liked[:, 1]) + 1) / 2)


def test_the_table_is_what_was_counted(small):
    found = accuracy.table(small)
    said = np.array([one.directions for one in small.inferred(small.posterior, SMALL["items"])])
    up, golden_up = said == 1, small.golden == 1
    figures = small.sheet.figures
    assert figures["posterior_positive_precision"].value == pytest.approx((up & golden_up).sum() / up.sum())
    assert figures["posterior_positive_recall"].value == pytest.approx((up & golden_up).sum() / golden_up.sum())
    assert len(found["table"]) == 6
    for row in found["table"]:
        for kind in ("precision", "recall"):
            figure = figures[f"{row['inferrer']}_{row['class']}_{kind}"]
            assert row[kind] == [figure.value, figure.low, figure.high]
    about = found["about"]
    assert (about["users"], about["items"], about["population"]) == (14, 4, "independent")
    assert about["fit"]["users"] + about["fit"]["calibrated_on"] == 40


def test_who_is_never_named_positive_has_no_precision(small, monkeypatch):
    monkeypatch.setitem(small.__dict__, "vote", Told(small.space, small.space.neutral))
    monkeypatch.setattr(small, "_inferred", {})
    rows = {(row["inferrer"], row["class"]): row for row in accuracy.table(small)["table"]}
    assert rows["told", "positive"]["precision"] is None
    assert rows["told", "positive"]["recall"][0] == 0
    assert rows["told", "neutral"]["recall"][0] == 1
    found = accuracy.dimensions(small)["dimensions"]
    assert {(row["precision"], row["recall"]) for row in found if row["inferrer"] == "told"} == {(None, 0.0)}


def test_calibration_is_measured_before_and_after_and_left_as_it_was(small):
    fitted = small.posterior.calibration
    rows = {row["inferrer"]: row for row in accuracy.calibration(small)["calibration"]}
    assert list(rows) == ["vote", "posterior, before", "posterior, after"]
    assert small.posterior.calibration is fitted
    p = np.array([one.probabilities for one in small.inferred(small.posterior, SMALL["items"])])
    assert rows["posterior, after"]["ece"] == pytest.approx(expected_calibration_error(p, small.golden))
    assert fitted.temperature != 1
    assert rows["posterior, before"]["ece"] != rows["posterior, after"]["ece"]
    for row, name in zip(rows.values(), ("vote_ece", "posterior_ece_before", "posterior_ece"), strict=True):
        figure = small.sheet.figures[name]
        assert figure.value == row["ece"]
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert figure.low < figure.high
        assert sum(n for _, _, n in row["bins"]) == 3 * small.golden.size


def test_dimensions_are_those_that_somebody_holds(small):
    rows = accuracy.dimensions(small)["dimensions"]
    held = {small.space.dimensions[dim].name for dim in np.flatnonzero((small.golden != 0).any(0))}
    for name in ("vote", "posterior"):
        assert {row["dimension"] for row in rows if row["inferrer"] == name} == held
    assert all(0 < row["held"] <= 1 and 0 <= row["recall"] <= 1 and row["error_rate"] >= 0.02 for row in rows)
    assert all(row["precision"] is None or 0 <= row["precision"] <= 1 for row in rows)


def test_error_rates_are_compared_where_the_world_is_silent(small):
    rows = accuracy.error_rates(small)["errors"]
    assert len(rows) == len(small.space) - len(small.simulator.language.active)
    true, estimated = (np.array([row[key] for row in rows]) for key in ("true", "estimated"))
    assert true.min() >= 0.02 - 1e-9
    assert np.corrcoef(true, estimated)[0, 1] > 0.8


def test_more_items_order_more_pairs_and_golden_directions_most(small):
    rows = {(row["inferrer"], row["n"]): row["accuracy"] for row in accuracy.by_items(small)["by_items"]}
    assert set(rows) == {(name, n) for name in ("vote", "posterior") for n in SMALL["history"]}
    assert rows["vote", 0] == [0.5, 0.5, 0.5]
    assert rows["posterior", 4][0] > rows["posterior", 0][0]
    assert small.sheet.figures["linear_golden"].value >= rows["posterior", 4][0]
    assert small.sheet.figures["linear_posterior_h4"].n == len(small.cases)


def test_alignment_with_a_policy_that_is_the_truth(small, monkeypatch, tmp_path):
    """A linear policy orders pairs as directions x levels do, so every figure can be had by hand."""
    hand_toys(monkeypatch, small)
    monkeypatch.setitem(small.run.recipe.dpo, "pba", SimpleNamespace(method={"name": "pba"}))
    found, figures = alignment(small, tmp_path), small.sheet.figures
    right = {
        "golden": small.ordered(small.golden).mean(), "no_persona": 0.5,
        **{
            inferrer.name: small.ordered([one.directions for one in small.inferred(inferrer, 4)]).mean()
            for inferrer in (small.vote, small.posterior)
        },
    }  # fmt: skip
    for name in ("golden", "vote", "posterior"):
        assert figures[f"pba_{name}"].value == pytest.approx(right[name])
    assert figures["control_no_persona"].value == 0.5
    assert figures["control_posterior_shuffled"].value < figures["pba_posterior"].value
    assert figures["gap_posterior_minus_vote"].value == pytest.approx(right["posterior"] - right["vote"])
    assert figures["gap_golden_minus_posterior"].value == pytest.approx(right["golden"] - right["posterior"])
    closed = (right["posterior"] - right["vote"]) / (right["golden"] - right["vote"])
    assert figures["golden_gap_closed"].value == pytest.approx(closed)
    assert found["gap"]["closed"][0] == pytest.approx(closed)
    assert {row["kind"] for row in found["alignment"]} == {"best", "main", "control"}
    assert figures["bayes_optimal"].value == pytest.approx(right["golden"])
    assert [row["name"].split(":")[0] for row in found["memory"]] == ["semantic", "episodic", "episodic"]


def test_where_golden_is_no_better_than_vote_there_is_no_gap_and_the_other_figures_stand(small, monkeypatch, tmp_path):
    hand_toys(monkeypatch, small)
    monkeypatch.setitem(small.run.recipe.dpo, "pba", SimpleNamespace(method={"name": "pba"}))
    golden = [Told(small.space, tuple(row)) for row in small.golden.tolist()]
    told = [one.infer(user) for one, user in zip(golden, small.personas(4), strict=True)]
    monkeypatch.setitem(small._inferred, (f"vote {small.vote.config}", small.config.items), told)
    monkeypatch.setattr(small.sheet, "figures", {})
    found = alignment(small, tmp_path)
    assert "gap" not in found
    assert "golden_gap_closed" not in small.sheet.figures
    assert small.sheet.figures["pba_vote"].value == small.sheet.figures["pba_golden"].value
    assert "no gap to close" in small.run.console.file.getvalue()


def test_without_a_policy_or_with_another_inferrer_nothing_runs(tmp_path):
    run = run_of(tmp_path)
    with pytest.raises(RecipeError, match=r"no trained policy in .*dpo/pba/model: run the recipe"):
        run_inference(run, run.recipe.inference, {})
    other = run_of(tmp_path / "other", infer={"inferrer": "vote", "population": 12})
    with pytest.raises(RecipeError, match=r"inference compares `posterior` with `vote`; infer\.inferrer is 'vote'"):
        _ = study_of(other).posterior


def test_figures_are_added_to_those_of_the_evaluation(tmp_path):
    figures = [Figure(name, value, 0, 1, 9) for name, value in (("a", 0.1), ("b", 0.2), ("b", 0.3), ("c", 0.4))]
    write_figures(tmp_path / "eval" / "metrics.json", figures[:2])
    write_figures(tmp_path / FOLDER / "metrics.json", figures[2:])
    merge_figures(tmp_path)
    assert read_figures(tmp_path / "metrics.json") == [figures[0], figures[2], figures[3]]


PROMISED = (
    "vote_positive_precision", "vote_positive_recall", "posterior_positive_precision", "posterior_positive_recall",
    "posterior_negative_precision", "posterior_negative_recall", "posterior_ece", "golden_gap_closed",
)  # fmt: skip


TINY = {
    "source.users": 60, "source.test_users": 16, "source.posts": 80, "build.workers": 1, "dpo.pba.rows": 224,
    "infer.population": 24, "infer.items": 6, "infer.inferrer": '{"name": "posterior", "classes": [1, 2]}',
    "inference.items": 4, "inference.history": "[0, 4]", "inference.choices": 2, "inference.populations": "[low_rank]",
    "inference.asked_users": 4, "inference.questions": 3, "inference.bank": 40, "inference.resamples": 60,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_recipe_made_tiny_runs_to_its_report(tmp_path):
    """Real construction and real DPO: the policy, told golden directions, orders what it could not without."""
    overrides = [f"{key}={value}" for key, value in {"out": tmp_path / "run", **TINY}.items()]
    recipe = load_recipe(ROOT / "recipes" / "inference.yaml", overrides)
    run = run_recipe(recipe, Console(file=io.StringIO(), width=200))
    figures = {figure.name: figure for figure in read_figures(run / "metrics.json")}
    assert set(PROMISED) <= set(figures)
    assert figures["pba_golden"].value > figures["control_no_persona"].value + 0.1
    found = json.loads((run / "inference" / "inference.json").read_text())
    parts = ("table", "calibration", "dimensions", "errors", "by_items", "prior", "asking", "observed", "tastes")
    assert {*parts, "about", "alignment", "gap", "memory"} == set(found)
    report = (run / "report.html").read_text()
    assert all(heading in report for heading in ("Inferred preferences", "Asking", "Several tastes in one user"))
    stages = [(stage["name"], stage["status"]) for stage in json.loads((run / "stages.json").read_text())]
    assert stages == [(name, "done") for name in ("build", "infer", "dpo/pba", "inference")]
