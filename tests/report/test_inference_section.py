import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from persona_rm.benchmarks.figures import Figure
from persona_rm.errors import DataError
from persona_rm.report import EMBEDDED_GOALS, INFERENCE_GOALS, ReportData, collect, goals_of, render, svg
from persona_rm.report.goals import label
from persona_rm.report.inference_data import AskingFigures, parse
from persona_rm.report.inference_section import TITLE, inferred, matched
from persona_rm.report.sections import accuracy, history
from tests.report.test_page import NASTY, check, full

OBSERVED = [{"population": "clusters", "items": 16, "accuracy": [0.8, 0.7, 0.9]}]
KINDS = ("low_rank", "clusters", "independent")
PRECISION = {"vote": (0.36, 0.42, 0.92), "posterior": (0.79, 0.8, 0.9)}
RECALL = {"vote": (0.87, 0.83, 0.68), "posterior": (0.66, 0.57, 0.97)}


def near(value: float, wide: float = 0.02) -> list[float]:
    return [value, value - wide, value + wide]


def measured(value: float, **about: object) -> dict[str, object]:
    return {**about, "value": value, "low": value - 0.02, "high": value + 0.02, "n": 600}


def growth(n: int, most: float, rate: float) -> list[float]:
    return near(0.5 + (most - 0.5) * (1 - math.exp(-n / rate)), 0.015)


def table() -> list[dict[str, object]]:
    classes = ("positive", "negative", "neutral")
    return [
        {"inferrer": who, "class": name, "precision": near(PRECISION[who][i]), "recall": near(RECALL[who][i])}
        for who in ("vote", "posterior")
        for i, name in enumerate(classes)
    ]


def reliability(name: str, bend: float, ece: float) -> dict[str, object]:
    bins = [[p / 15 + 1 / 30, (p / 15 + 1 / 30) ** bend, 30000 if p in (0, 14) else 200 + 90 * p] for p in range(15)]
    return {"inferrer": name, "ece": ece, "bins": bins}


def dimensions() -> list[dict[str, object]]:
    return [
        {
            "dimension": f"Need for thing {i} (Murray)", "inferrer": who, "held": 0.3 - 0.01 * i,
            "precision": None if i == 3 else 0.7, "recall": 0.6, "error_rate": 0.02 + 0.01 * i,
        }
        for i in range(24) for who in ("vote", "posterior")
    ]  # fmt: skip


def alignment() -> list[dict[str, object]]:
    named = [("Bayes-optimal", 0.98, "best"), ("PBA, vote", 0.78, "main"), ("PBA, golden", 0.92, "main")]
    named += [("PBA, posterior", 0.88, "main"), ("no persona", 0.5, "control")]
    named += [("posterior of another user", 0.51, "control")]
    return [measured(value, name=name, kind=kind) for name, value, kind in named]


def asking() -> list[dict[str, object]]:
    return [
        {"population": kind, "how": how, "questions": n, "accuracy": growth(n, 0.86 - 0.03 * i, rate)}
        for i, kind in enumerate(KINDS)
        for how, rate in (("expected information", 4 + i), ("random", 9 + i))
        for n in range(21)
    ]


def example() -> dict[str, object]:
    fit = {"users": 320, "calibrated_on": 80, "classes": 3, "temperature": 0.9312, "log_evidence": {"1": -3.0}}
    memories = ("semantic: posterior over all 8 items", "episodic: the items most like the prompt (4)", "both")
    items = [(who, n, most) for who, most in (("vote", 0.85), ("posterior", 0.91)) for n in (0, 2, 4, 8, 16)]
    return {
        "about": {"users": 150, "items": 8, "population": "independent", "fit": fit},
        "table": table(),
        "calibration": [
            reliability("vote", 2.5, 0.14), reliability("posterior, before", 1.5, 0.051),
            reliability("posterior, after", 1.03, 0.012),
        ],
        "by_items": [{"inferrer": who, "n": n, "accuracy": growth(n, most, 4)} for who, n, most in items],
        "dimensions": dimensions(),
        "errors": [
            {"dimension": str(i), "source": by, "true": 0.02 + i / 150, "estimated": 0.02 + i / 152 + off * (i % 5)}
            for i in range(40) for by, off in (("ugc", 0.003), ("pair", -0.002))
        ],
        "alignment": alignment(),
        "gap": {"closed": [0.714, 0.62, 0.81], "golden": 0.92, "vote": 0.78, "posterior": 0.88},
        "asking": asking(),
        "observed": [{"population": kind, "items": 16, "accuracy": near(0.78)} for kind in KINDS],
        "memory": [measured(0.88 - 0.02 * i, name=name) for i, name in enumerate(memories)],
        "tastes": [
            measured(value, population=kind, name=name) for kind, name, value in (
                ("plural", "one vector", 0.74), ("plural", "two tastes", 0.8),
                ("independent", "one vector", 0.9), ("independent", "two tastes", 0.895),
            )
        ],
        "prior": [
            measured(0.7 + 0.03 * i + 0.05 * (name != "one class"), population=kind, name=name)
            for i, kind in enumerate(KINDS) for name in ("one class", "latent classes")
        ],
        "real": [measured(0.61, what="P-SOUPS", name="PBA, posterior"), measured(0.7, what="UKP", name="agreement")],
        "real_rates": [{"trait": "age", "accuracy": 0.82, "silent": 0.4, "ece": 0.06, "n": 212}],
    }  # fmt: skip


def figures(**changed: float) -> list[Figure]:
    values = {
        "posterior_positive_precision": 0.79, "posterior_positive_recall": 0.66, "posterior_negative_precision": 0.8,
        "posterior_negative_recall": 0.57, "posterior_ece": 0.012, "golden_gap_closed": 0.714,
        "questions_to_match_16": 7, "linear_golden": 0.94, "pba_posterior": 0.88, "pba_linear_posterior": 0.9,
    }  # fmt: skip
    return [Figure(name, v, v, v, 600) for name, v in {**values, **changed}.items()]


def run(folder, found: object, measured_figures: list[Figure] | None = None) -> ReportData:
    path = folder / "inference" / "inference.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    rows = [figure.to_dict() for figure in (figures() if measured_figures is None else measured_figures)]
    (folder / "metrics.json").write_text(json.dumps(rows))
    return collect(folder)


def pictures(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_a_run_without_inference_looks_as_before():
    data = full()
    assert inferred(data) == ""
    assert TITLE not in render(data)
    assert goals_of({"pba_golden", "vote_ece"}) == EMBEDDED_GOALS
    assert "Posterior" not in render(replace(data, goals=goals_of({"pba_golden"})))


def test_the_whole_section_says_what_was_found(tmp_path):
    page = inferred(run(tmp_path, example())).replace("\N{NO-BREAK SPACE}", " ")
    check(page)
    assert len(pictures(page)) == 2 + 1 + 3 + 4
    assert "from 8 items, 79 % are right, and it finds 66 % of those that users hold (negative 80 % and 57 %" in page
    assert "wins back 71 % (62 % to 81 %) of the accuracy that the vote loses" in page
    assert "7 chosen questions tell as much as 16 observed items" in page
    assert "calibrated on 80, classes 3, temperature 0.9312" in page
    assert "posterior, after: error 0.012" in page
    assert "log" not in page
    assert all(picture.get("aria-label") for picture in pictures(page))


def test_goals_of_the_table_are_judged(tmp_path):
    page = inferred(run(tmp_path, example()))
    assert page.count("ok (≥ 0.75)") == 2
    assert page.count("ok (≥ 0.60)") == 1
    assert page.count("miss (≥ 0.60)") == 1


def test_the_header_counts_the_goals_and_names_the_misses(tmp_path):
    page = render(run(tmp_path, example()))
    assert "6 of 7 goals reached." in page
    assert "Posterior, negative, recall is 0.570; the goal is 0.60 or more." in page


@pytest.mark.parametrize("part", sorted(example()))
def test_any_part_may_be_missing(tmp_path, part):
    found = example()
    whole = inferred(run(tmp_path, found))
    del found[part]
    page = inferred(run(tmp_path, found))
    check(page)
    assert len(page) < len(whole)
    assert "None" not in page


@pytest.mark.parametrize("part", sorted(set(example()) - {"about", "observed"}))
def test_any_part_may_stand_alone(tmp_path, part):
    page = inferred(run(tmp_path, {part: example()[part]}, []))
    check(page)
    assert 'class="missing"' not in page
    assert "<h3>" in page or "<details>" in page


@pytest.mark.parametrize("found", [{}, {"about": {"users": 3}}, {"table": [], "unknown": 1}, {"observed": OBSERVED}])
def test_nothing_measured_says_how_to_make_it(tmp_path, found):
    page = render(run(tmp_path, found, []))
    assert "an `inference` section" in page[page.index(TITLE) :]


def renamed(value: object) -> object:
    """Every text of a JSON value made nasty, but keys and the kinds of dots."""
    if isinstance(value, dict):
        return {key: part if key == "kind" else renamed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [renamed(part) for part in value]
    return f"{value} {NASTY}" if isinstance(value, str) else value


def test_everything_is_escaped_and_nothing_is_asked_of_the_network(tmp_path):
    page = inferred(run(tmp_path, renamed(example())))
    assert "img" not in check(page)
    assert page.count("&lt;img src=http://evil") > 40
    assert pictures(page)
    assert not re.search(r"(?i)<(script|link|iframe|img)\b|@import|url\(|src=[\"']|href=", page)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ('{"gap": {"closed": [NaN, 0, 1], "golden": 1, "vote": 0, "posterior": 1}}', "gap.closed.0"),
        ('{"memory": [{"name": "a", "value": Infinity, "low": 0, "high": 1, "n": 1}]}', "memory.0.value"),
        ('{"calibration": [{"inferrer": "vote", "ece": 0.1, "bins": [[0.1, 1e999, 3]]}]}', "calibration.0.bins.0.1"),
        ('{"by_items": [{"inferrer": "vote", "n": 4}]}', "by_items.0.accuracy"),
        ('{"table": [{"inferrer": "vote", "class": "positive", "precision": [0.1, 0.2]}]}', "table.0.precision"),
        ('{"alignment": [{"name": "a", "value": 0, "low": 0, "high": 1, "n": 1, "kind": "x y"}]}', "alignment.0.kind"),
        ('{"about": {"fit": {"temperature": NaN}}}', "temperature must be finite"),
        ("[]", "dict"),
        ("{", "not JSON"),
    ],
)
def test_what_is_not_a_number_or_not_there_is_refused_by_key(tmp_path, content, key):
    with pytest.raises(DataError, match=re.escape(key)) as caught:
        run(tmp_path, content)
    assert "inference.json" in str(caught.value)


def test_a_class_that_was_never_claimed_has_no_number(tmp_path):
    found = {"table": [{"inferrer": "vote", "class": "positive", "precision": None, "recall": [0.0, 0.0, 0.0]}]}
    page = inferred(run(tmp_path, found, []))
    assert "\N{EN DASH}" in page
    assert "0.000" in page


def test_too_few_questions_fall_short_and_are_named(tmp_path):
    found = example() | {"observed": [{"population": "low_rank", "items": 16, "accuracy": near(0.95)}]}
    page = render(run(tmp_path, found, [f for f in figures() if f.name != "questions_to_match_16"]))
    assert "Asking: 20 questions tell less than 16 observed items, 0.858 against 0.950." in page
    assert "Not measured in this run:" in page
    assert label("questions_to_match_16") in page
    assert "expected information more than 20; random more than 20" in page


def test_matched_is_the_first_number_of_questions_that_is_enough():
    rows = [AskingFigures(population="w", how="h", questions=n, accuracy=(n / 10,) * 3) for n in (9, 3, 7)]
    assert matched(rows, 0.6) == 7
    assert matched(rows, 0.7) == 7
    assert matched(rows, 0.95) is None


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("posterior_positive_precision", 0.75, True),
        ("posterior_negative_recall", 0.59, False),
        ("posterior_ece", 0.031, False),
        ("golden_gap_closed", 0.6, True),
        ("questions_to_match_16", 10, True),
        ("questions_to_match_16", 11, False),
    ],
)
def test_goals_of_inferred_preferences(name, value, met):
    assert INFERENCE_GOALS[name].met(value, {}) is met
    assert label(name) != name
    assert name in goals_of({name})
    assert name in goals_of((), inference=True)
    assert name not in goals_of(())


def test_a_goal_in_questions_is_a_whole_number():
    assert str(INFERENCE_GOALS["questions_to_match_16"]) == "10 or less"
    assert str(INFERENCE_GOALS["posterior_ece"]) == "0.03 or less"


@pytest.mark.parametrize("who", ["vote", "posterior"])
def test_every_figure_of_the_table_has_a_name_in_words(who):
    names = [f"{who}_{c}_{k}" for c in ("positive", "negative", "neutral") for k in ("precision", "recall")]
    words = [label(name) for name in (*names, f"{who}_ece", "questions_to_match_16_random", f"pba_{who}")]
    assert len(set(words)) == 9
    assert not any("_" in word for word in words)


def test_only_policies_are_in_the_chart_of_accuracies():
    own = ["posterior_ece", "vote_ece", "golden_gap_closed", "questions_to_match_16", "questions_to_match_16_random",
           "gap_golden_minus_posterior", "vote_neutral_recall", "linear_golden", "prior_low_rank_one_class",
           "tastes_plural_two_tastes", "observed_16_clusters", "linear_vote_h0"]  # fmt: skip
    shown = ["pba_posterior", "pba_linear_posterior", "pba_recent"]
    page = accuracy(ReportData(figures=tuple(Figure(name, 0.5, 0.4, 0.6, 9) for name in own + shown)))
    assert page.count("<circle") == len(shown)
    assert all(label(name) in page for name in shown)


def test_no_items_at_all_do_not_break_the_history_on_its_log_axis():
    found = [Figure(f"{name}_h{n}", 0.5, 0.4, 0.6, 9) for name in ("linear_vote", "ica") for n in (0, 2)]
    page = history(ReportData(figures=tuple(found[:2] + found[3:])))
    assert "linear_vote" not in page
    assert "ICA" in page


def test_points_lie_on_the_diagonal_where_both_agree_and_areas_follow_weights():
    cloud = svg.Cloud(NASTY, [(0.0, 0.0, 400.0, NASTY), (1.0, 1.0, 100.0, ""), (0.5, 0.25, 1.0, "")], joined=True)
    root = ElementTree.fromstring(svg.square([cloud], x_name="x", y_name="y", span=(0, 1), title="t"))
    first, second, third = [{key: float(c.get(key)) for key in ("cx", "cy", "r")} for c in root.iter("circle")]
    diagonal = next(line for line in root.iter("line") if line.get("class") == "ref")
    assert [float(diagonal.get(k)) for k in ("x1", "y1")] == [first["cx"], first["cy"]]
    assert [float(diagonal.get(k)) for k in ("x2", "y2")] == [second["cx"], second["cy"]]
    assert first["r"] == pytest.approx(2 * second["r"])
    assert third["r"] == 3
    assert third["cx"] == pytest.approx((first["cx"] + second["cx"]) / 2, abs=0.11)
    assert root.find("g/polyline") is not None


def test_long_names_of_a_dot_chart_are_cut_and_said_in_full_to_a_pointer():
    name = "a very long name of something that was recalled, with more words"
    root = ElementTree.fromstring(svg.dot_chart([svg.Dot(name, 0.5, 0.4, 0.6)], (0, 1)))
    assert name in next(root.iter("title")).text
    assert next(t.text for t in root.iter("text") if t.get("class") == "label").endswith("…")


def test_unknown_keys_are_ignored():
    assert parse({"later": 1, "gap": None}) == parse({})
