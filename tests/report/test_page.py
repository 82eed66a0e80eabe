import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from persona_rm.benchmarks.figures import Figure
from persona_rm.report import ReportData, render, write_report
from persona_rm.report.report_data import PpoFigures, Stat

NASTY = "<img src=http://evil onerror=x>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(page: str) -> list[str]:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser.tags


def full() -> ReportData:
    figures = [Figure(n, 0.9, 0.88, 0.92, 500) for n in ("pba_golden", "pba_vote", "pba_golden_flip", "bayes_optimal")]
    figures += [Figure("ica", 0.6, 0.58, 0.62, 498, failed=2), Figure("control_longer", 0.56, 0.5, 0.6, 500)]
    figures += [Figure(f"ica_h{n}", 0.5 + n / 100, 0.5, 0.7, 500) for n in (2, 4, 8, 16)]
    stat, rise = Stat(0.1, 0.05, 200), Stat(1.0, 0.1, 200)
    curves = {"camp a": ((0.0, 0.1), (1.0, 0.3)), NASTY: ((0.0, 0.2), (1.0, 0.1))}
    two_users = {
        "dimensions": ["age", NASTY],
        "users": [{"label": NASTY, "directions": [1, 0], "rewarded_for": [0.9, -0.1]}] * 2,
        "answers": [{"prompt": "p", "text": NASTY, "rewards": [1.0, -1.0]}],
        "before_after": [
            {"user": "a", "prompt": NASTY, "before": NASTY, "after": "x", "utility_before": 0, "utility_after": 1}
        ],
    }
    card = {"rows": {"threads": 10}, "drops": {"thread": {NASTY: 4}}, "levels": {"shares": {"low": 0.1, "none": 0.9}}}
    return ReportData(
        title=NASTY,
        info={"seed": 7, "versions": {"openrlhf": "0.11.2"}},
        recipe={"dpo": {"beta": NASTY}},
        stages=({"name": "build", "status": "failed", "seconds": 3},),
        commands=f"persona-rm run x.yaml {NASTY}",
        figures=tuple(figures),
        notes={"control_longer": "because of so and so"},
        card=card | {"examples": {"with_ugc": 4}},
        ppo=(PpoFigures("matched", curves, stat, rise, rise), PpoFigures("shuffled", curves, stat, rise, rise)),
        two_users=two_users,
        problems=("one line was cut",),
    )


def test_an_empty_report_says_what_to_run_and_claims_nothing():
    page = render(ReportData())
    check(page)
    assert page.count('class="missing"') == 9
    assert "Nothing was measured yet" in page
    assert "goals reached" not in page


@pytest.mark.parametrize(
    "part", ["figures", "ppo", "two_users", "card", "recipe", "stages", "commands", "info", "problems"]
)
def test_any_part_may_be_missing(part):
    page = render(replace(full(), **{part: getattr(ReportData(), part)}))
    check(page)
    assert page != render(full())


def test_everything_from_data_is_escaped():
    page = render(full())
    assert "img" not in check(page)
    assert page.count("&lt;img src=http://evil onerror=x&gt;") >= 8


def test_the_page_asks_nothing_of_the_network():
    page = render(replace(full(), title="t"))
    assert not re.search(r"(?i)<(script|link|iframe|img)\b|@import|url\(|src=[\"']|href=[\"']http", page)


def test_goals_are_judged_and_misses_are_named():
    page = render(full())
    assert "3 of 5 goals reached. 1 outside the band, explained below." in page
    said = page[page.index('id="what-fell-short"') : page.index('id="accuracy"')]
    assert "ICA, history in the prompt is 0.600; the goal is 0.65 or more." in said
    assert "2 of 500 cases got no score" in said
    assert "because of so and so" in said
    assert "PPO shuffled: rewards of other users raised the true utility by 10.0 standard errors" in said
    assert "Stage build failed" in said
    assert "one line was cut" in said


def test_the_report_is_one_file(tmp_path):
    path = write_report(tmp_path / "deep" / "report.html", full())
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
