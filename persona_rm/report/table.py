"""Figures as a table for the console."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from persona_rm.benchmarks.figures import Figure
from persona_rm.report.goals import Goal, label, verdict

STYLES = {"ok": "green", "miss": "bold red", "explained": "yellow", "": ""}


def figure_table(
    figures: Sequence[Figure],
    goals: Mapping[str, Goal] | None = None,
    notes: Mapping[str, str] | None = None,
    title: str = "Figures",
) -> Table:
    """Name, value, 95 % interval, cases, goal and whether it was reached. Empty columns are left out."""
    goals, notes = goals or {}, notes or {}
    with_goals = any(figure.name in goals for figure in figures)
    with_failed = any(figure.failed for figure in figures)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("figure", overflow="fold")
    for column in ("value", "95 % interval", "cases", *(["failed"] if with_failed else [])):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("goal", "") if with_goals else ():
        table.add_column(column)
    for figure in figures:
        table.add_row(*_cells(figure, with_failed), *(_goal(figure, goals, figures, notes) if with_goals else ()))
    return table


def _cells(figure: Figure, with_failed: bool) -> list[Text]:
    interval = f"{figure.low:.3f} to {figure.high:.3f}"
    cells = [Text(label(figure.name)), Text(f"{figure.value:.3f}", "bold"), Text(interval), Text(f"{figure.n:,}")]
    return [*cells, Text(str(figure.failed), "yellow" if figure.failed else "dim")] if with_failed else cells


def _goal(
    figure: Figure, goals: Mapping[str, Goal], figures: Sequence[Figure], notes: Mapping[str, str]
) -> tuple[Text, Text]:
    outcome = verdict(figure, goals, figures, notes)
    return Text(str(goals.get(figure.name, ""))), Text(outcome, STYLES[outcome])
