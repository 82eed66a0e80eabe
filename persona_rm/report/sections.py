"""The sections about figures: the headline, the accuracy chart, history size, what fell short."""

import re

from persona_rm.benchmarks.figures import Figure
from persona_rm.report import inference_section as inference
from persona_rm.report import markup as html
from persona_rm.report import svg
from persona_rm.report.goals import is_control, label, verdict
from persona_rm.report.report_data import PpoFigures, ReportData

HISTORY = re.compile(r"^(.+)_h(\d+)$")
EVAL = "an `eval` section"
OWN = ("linear_", "prior_", "tastes_", "drift_", "observed_", "real_")
"""Figures that the section on inferred preferences shows: choices of other users, or directions without a policy."""


def header(data: ReportData) -> str:
    """The title, one line about what was run, and the most important numbers."""
    met = [verdict(f, data.goals, data.figures, data.notes) for f in data.figures if f.name in data.goals]
    words = f"{met.count('ok')} of {len(met)} goals reached." if met else "No figures yet."
    if data.inferred_users and not data.figures:
        words = (
            f"The preference directions of {len(data.inferred_users):,} users were inferred; nothing was evaluated."
        )
    explained = met.count("explained")
    words += f" {explained} outside the band, explained below." if explained else ""
    facts = [f"{k} {data.info[k]}" for k in ("seed",) if k in data.info]
    facts += [str(data.info[k]) for k in ("date", "hardware") if k in data.info]
    meta = f'<p class="meta">{html.escape(" · ".join(facts))}</p>' if facts else ""
    return f"<h1>{html.escape(data.title)}</h1>{html.paragraph(words, 'lead')}{meta}{_cards(data)}"


def _cards(data: ReportData) -> str:
    by_name = {f.name: f for f in data.figures}
    cards = [
        (f"{by_name[n].value:.3f}", f"{label(n)}\n{by_name[n].low:.3f} to {by_name[n].high:.3f}")
        for n in ("pba_golden", "pba_vote", "ica", "pba_golden_flip")
        if n in by_name
    ]
    gains = [(run.name, run.gain) for run in data.ppo if run.gain is not None and not run.control]
    cards += [(f"{gain:+.1f}", f"standard errors of true utility gained by PPO, {name}") for name, gain in gains]
    inner = "".join(
        f'<div class="card"><b>{html.escape(b)}</b><span>{html.escape(s)}</span></div>' for b, s in cards[:5]
    )
    return f'<div class="cards">{inner}</div>' if cards else ""


def headline(data: ReportData) -> str:
    """The figures that have a goal, then all of them folded away."""
    if not data.figures:
        return html.section("Figures", html.missing("no figures", EVAL))
    head: list[html.TableCell] = ["figure", ("value", "num"), ("95 % interval", "num"), ("cases", "num"), "goal", ""]
    rows = [[*_cells(f), str(data.goals[f.name]), _verdict(f, data)] for f in data.figures if f.name in data.goals]
    absent = [label(name) for name in data.goals if name not in {f.name for f in data.figures}]
    words = "The bootstrap behind the intervals draws whole users (in P-SOUPS, which has two, whole prompts)."
    parts = [html.paragraph(words, "soft")]
    parts += [html.table(head, rows)] if rows else []
    parts += [html.paragraph(f"Not measured in this run: {', '.join(absent)}.", "soft")] if absent else []
    others = [[*_cells(f), (f.name, "soft")] for f in data.figures]
    parts.append(html.details(f"All {len(others)} figures", html.table([*head[:4], "name in the JSON"], others)))
    return html.section("Figures", *parts)


def _cells(figure: Figure) -> list[html.TableCell]:
    interval = f"{figure.low:.3f} to {figure.high:.3f}".replace("-", "\N{MINUS SIGN}")
    failed = f" ({figure.failed} failed)" if figure.failed else ""
    return [(label(figure.name), "name"), html.num(figure.value), (interval, "num"), (f"{figure.n:,}{failed}", "num")]


def _verdict(figure: Figure, data: ReportData) -> tuple[str, str]:
    outcome = verdict(figure, data.goals, data.figures, data.notes)
    return outcome, outcome


def accuracy(data: ReportData) -> str:
    """Every accuracy on one axis, controls set apart."""
    shown = [f for f in data.figures if _is_accuracy(f.name)]
    if not shown:
        return html.section("Accuracy", html.missing("no accuracies", EVAL))
    best = [f for f in shown if f.name == "bayes_optimal"]
    methods = [f for f in shown if not is_control(f.name) and f not in best]
    controls = [f for f in shown if is_control(f.name)]
    rows = [_dot(f, "best") for f in best] + [_dot(f, "main") for f in sorted(methods, key=lambda f: -f.value)]
    rows += [svg.Dot("Controls"), *(_dot(f, "control") for f in controls)] if controls else []
    low = min(0.4, *(f.low for f in shown))
    chart = svg.dot_chart(rows, (low, 1.0), [(0.5, "chance")], "Alignment accuracy with 95 % intervals")
    words = "Share of pairs in which the answer that the user preferred got the higher reward; ties count half."
    return html.section("Accuracy", html.paragraph(words, "soft"), html.figure(chart))


def _is_accuracy(name: str) -> bool:
    parts = ("flip", "gap", "precision", "recall", "utility", "ppo", "expected", "_ece", "questions_")
    return not HISTORY.match(name) and not name.startswith(OWN) and not any(part in name for part in parts)


def _dot(figure: Figure, kind: str) -> svg.Dot:
    note = f"{figure.value:.3f}   n = {figure.n:,}"
    return svg.Dot(label(figure.name), figure.value, figure.low, figure.high, kind, note)


def history(data: ReportData) -> str:
    """Accuracy by the number of items of a user's history that a method has seen."""
    series: dict[str, list[tuple[int, Figure]]] = {}
    for figure in data.figures:
        if (match := HISTORY.match(figure.name)) and not figure.name.startswith(OWN):
            series.setdefault(match[1], []).append((int(match[2]), figure))
    if not series:
        return html.section("History size", html.missing("no figures by history size", EVAL))
    lines = [_line(name, sorted(points, key=lambda p: p[0]), i) for i, (name, points) in enumerate(series.items())]
    values = [y for line in lines for y in (*line.lows, *line.highs)]
    sizes = sorted({n for points in series.values() for n, _ in points})
    chart = svg.line_chart(
        lines,
        x_name="items of history (half posts, half comparisons)",
        y_name="accuracy",
        y_span=(min(0.45, *values), max(0.75, *values) + 0.02),
        x_ticks=sizes,
        log_x=True,
        references=[(0.5, "chance")],
    )
    words = "The same pairs, each user known by their first items only. Bands are 95 % intervals by user."
    return html.section("History size", html.paragraph(words, "soft"), html.figure(svg.legend(lines), chart))


def _line(name: str, points: list[tuple[int, Figure]], i: int) -> svg.Line:
    xs, figures = zip(*points, strict=True)
    lows, highs = [f.low for f in figures], [f.high for f in figures]
    return svg.Line(label(name), xs, [f.value for f in figures], lows, highs, i % 8 + 1, is_control(name))


def shortfalls(data: ReportData) -> str:
    """Missed goals, failed scores, controls that need their explanation, and what the run itself names."""
    items = [_shortfall(f, data) for f in data.figures]
    items += [_ppo_shortfall(run) for run in data.ppo]
    items += [f"Stage {s.get('name')} failed." for s in data.stages if s.get("status") == "failed"]
    said = [item for item in [*items, inference.fell_short(data)] if item] + list(data.problems)
    empty = "Nothing: every goal measured was reached." if data.figures or data.ppo else "Nothing was measured yet."
    body = html.bullets(said) if said else html.paragraph(empty)
    return html.section("What fell short", body)


def _shortfall(figure: Figure, data: ReportData) -> str:
    outcome, name = verdict(figure, data.goals, data.figures, data.notes), label(figure.name)
    said = []
    if outcome in ("miss", "explained"):
        said.append(f"{name} is {figure.value:.3f}; the goal is {data.goals[figure.name]}.")
    if figure.failed:
        said.append(f"{name}: {figure.failed} of {figure.n + figure.failed} cases got no score and are not counted.")
    if said and figure.name in data.notes:
        said.append(str(data.notes[figure.name]))
    return " ".join(said)


def _ppo_shortfall(run: PpoFigures) -> str:
    if run.gain is None:
        return ""
    if run.control and run.gain > 3:
        return f"PPO {run.name}: rewards of other users raised the true utility by {run.gain:.1f} standard errors."
    if not run.control and run.gain <= 3:
        return f"PPO {run.name}: the true utility moved by {run.gain:+.1f} standard errors; the goal is more than 3."
    return ""
