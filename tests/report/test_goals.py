import pytest

from persona_rm.benchmarks.figures import Figure
from persona_rm.report.goals import EMBEDDED_GOALS, Goal, is_control, label, verdict


def figure(name, value):
    return Figure(name, value, value - 0.02, value + 0.02, 500)


@pytest.mark.parametrize(
    ("golden", "bayes", "expected"),
    [(0.91, 0.95, "ok"), (0.89, 0.95, "miss"), (0.91, 0.99, "miss"), (0.91, None, "ok")],
)
def test_golden_must_be_high_and_near_the_best_possible(golden, bayes, expected):
    figures = [figure("pba_golden", golden), *([figure("bayes_optimal", bayes)] if bayes else [])]
    assert verdict(figures[0], EMBEDDED_GOALS, figures, {}) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.5, "ok"), (0.47, "ok"), (0.54, "miss"), (0.4, "miss")])
def test_controls_belong_at_chance(value, expected):
    control = figure("control_shuffled", value)
    assert verdict(control, EMBEDDED_GOALS, [control], {}) == expected
    explained = verdict(control, EMBEDDED_GOALS, [control], {"control_shuffled": "because"})
    assert explained == ("explained" if expected == "miss" else "ok")


def test_a_note_does_not_excuse_a_method():
    poor = figure("ica", 0.6)
    assert verdict(poor, EMBEDDED_GOALS, [poor], {"ica": "excuse"}) == "miss"


def test_figures_without_a_goal_have_no_verdict_and_keep_their_name():
    assert verdict(figure("something", 0.1), EMBEDDED_GOALS, [], {}) == ""
    assert label("something") == "something"


def test_goals_read_as_sentences():
    assert str(Goal(0.47, 0.53)) == "0.47 to 0.53"
    assert str(Goal(high=0.2)) == "0.20 or less"
    assert str(EMBEDDED_GOALS["pba_golden"]) == "0.90 or more, within 0.07 of Bayes-optimal scorer"


@pytest.mark.parametrize("name", ["control_longer", "ica_shuffled", "bradley_terry", "longer_words"])
def test_controls_are_set_apart(name):
    assert is_control(name)
    assert not is_control("pba_golden")
