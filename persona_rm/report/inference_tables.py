"""Inferred preferences as tables: the paper's Table 12, every dimension, and real text."""

from collections.abc import Mapping, Sequence
from typing import Literal

from persona_rm.report import markup as html
from persona_rm.report.goals import CLASSES
from persona_rm.report.inference_data import DimensionFigures, Inferred, Interval, Measured, TraitRate
from persona_rm.report.report_data import ReportData

RateKind = Literal["precision", "recall"]
NONE = ("\N{EN DASH}", "num")
PAPER = (
    "The paper reports for its vote, on real text: positive 0.357 and 0.873, negative 0.416 and 0.829, neutral 0.921 "
    "and 0.682 (precision and recall)."
)


def heading(title: str) -> str:
    """A heading inside the section."""
    return f"<h3>{html.escape(title)}</h3>"


def interval(low: float, high: float, digits: int = 3) -> tuple[str, str]:
    """A cell with both ends."""
    return f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "\N{MINUS SIGN}"), "num"


def table12(results: Inferred, data: ReportData) -> str:
    """Precision and recall of each direction, against the goals."""
    if not results.table:
        return ""
    head: list[html.TableCell] = ["inferrer", "preference"]
    for kind in ("precision", "recall"):
        head += [(kind, "num"), ("95 % interval", "num"), "goal"]
    rows: list[list[html.TableCell]] = []
    for row in results.table:
        names: tuple[tuple[RateKind, Interval | None], ...] = (("precision", row.precision), ("recall", row.recall))
        cells = [cell for kind, value in names for cell in _judged(f"{row.inferrer}_{row.label}_{kind}", value, data)]
        rows.append([row.inferrer, row.label, *cells])
    words = (
        "Precision: of the preferences that are claimed, the share that is right. Recall: of those that users hold, "
        "the share that is claimed."
    )
    shown = [html.paragraph(words, "soft"), _wide(html.table(head, rows))]
    if any(row.inferrer == "vote" and row.label in CLASSES for row in results.table):
        shown.append(html.paragraph(PAPER, "soft"))
    return heading("Precision and recall by direction (the paper's Table 12)") + "".join(shown)


def _judged(name: str, value: Interval | None, data: ReportData) -> list[html.TableCell]:
    if value is None:
        return [NONE, NONE, ""]
    goal = data.goals.get(name)
    if goal is None:
        return [html.num(value[0]), interval(*value[1:], digits=2), ""]
    outcome = "ok" if goal.met(value[0], {}) else "miss"
    return [
        html.num(value[0]),
        interval(*value[1:], digits=2),
        (f"{outcome} (≥ {goal.low:.2f})" if goal.low is not None else outcome, f"{outcome} name"),
    ]


def dimensions(results: Inferred) -> str:
    """Every dimension with its precision and recall, folded away."""
    if not results.dimensions:
        return ""
    inferrers = list(dict.fromkeys(row.inferrer for row in results.dimensions))
    by_name: dict[str, dict[str, DimensionFigures]] = {}
    for row in results.dimensions:
        by_name.setdefault(row.dimension, {})[row.inferrer] = row
    head: list[html.TableCell] = ["dimension", ("have a view", "num"), ("false claims", "num")]
    head += [(f"{name}: {kind}", "num") for name in inferrers for kind in ("precision", "recall")]
    order = sorted(by_name.items(), key=lambda item: -max(row.held for row in item[1].values()))
    rows = [_dimension(name, by, inferrers) for name, by in order]
    words = (
        "Share of users with a view; how often the annotator claims one that is not there; preferences not neutral."
    )
    return html.details(f"All {len(rows)} dimensions", html.paragraph(words, "soft"), _wide(html.table(head, rows)))


def _dimension(name: str, by: Mapping[str, DimensionFigures], inferrers: Sequence[str]) -> list[html.TableCell]:
    first = next(iter(by.values()))
    cells: list[html.TableCell] = [name.split(" (")[0], _share(first.held), _share(first.error_rate)]
    for inferrer in inferrers:
        row = by.get(inferrer)
        cells += [_two(row.precision), _two(row.recall)] if row else [NONE, NONE]
    return cells


def _wide(table: str) -> str:
    return f'<div class="scroll">{table}</div>'


def _share(value: float | None) -> tuple[str, str]:
    return NONE if value is None else (f"{value:.1%}", "num")


def _two(value: float | None) -> tuple[str, str]:
    return NONE if value is None else html.num(value, 2)


def real(results: Inferred) -> str:
    """Figures on text of real users, and the annotator's rates there, trait by trait."""
    parts = [_measured(results.real)] if results.real else []
    parts += [_rates(results.real_rates)] if results.real_rates else []
    words = "Public data sets, not simulated users."
    return heading("On real text") + html.paragraph(words, "soft") + "".join(parts) if parts else ""


def _measured(rows: Sequence[Measured]) -> str:
    head: list[html.TableCell] = ["data", "figure", ("value", "num"), ("95 % interval", "num"), ("cases", "num")]
    cells: list[list[html.TableCell]] = [
        [row.what, row.name, html.num(row.value), interval(row.low, row.high), html.num(row.n)] for row in rows
    ]
    return html.table(head, cells)


def _rates(rows: Sequence[TraitRate]) -> str:
    head: list[html.TableCell] = [
        "trait",
        ("right where it speaks", "num"),
        ("silent", "num"),
        ("calibration error", "num"),
        ("cases", "num"),
    ]
    cells: list[list[html.TableCell]] = [
        [row.trait, html.num(row.accuracy), _share(row.silent), html.num(row.ece), html.num(row.n)] for row in rows
    ]
    return html.table(head, cells)
