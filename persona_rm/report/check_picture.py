"""The figures of a user check as a picture (matplotlib, extra `report`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.benchmarks.figures import Figure as DrawnFigure
from persona_rm.benchmarks.user_verdict import UserCheck
from persona_rm.errors import DataError, MissingExtra
from persona_rm.io.text import counted
from persona_rm.report.check_rows import deciding, is_difference, label_of

OWN_COLOUR, GREY = "#2b6cb0", "#718096"
"""For what has the user in it (the personal reward, and both differences), and for what it is compared with."""
FORMATS = (".svg", ".png")
SMALL, LARGE = 11, 13
"""Sizes of letters."""


def check_picture(check: UserCheck, path: Path) -> Path:
    """Draw the accuracies and differences that decide, with their intervals, into an SVG or PNG file.

    Raises `DataError` for another kind of file or a check without figures, `MissingExtra` without matplotlib.
    """
    check_format(path)
    if not check.figures:
        raise DataError("there are no figures to draw: too little data", file=path)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("the picture needs matplotlib: pip install persona_rm[report]") from error
    rows = deciding(check.figures)
    accuracies = [one for one in rows if not is_difference(one)]
    differences = [one for one in rows if is_difference(one)]
    figure = Figure(figsize=(10, 2.2 + 0.5 * len(rows)), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1, height_ratios=[len(accuracies), len(differences)])
    titles = (
        "accuracy on held-out comparisons (dotted: a coin)",
        "difference of accuracies (the personal part helps right of 0)",
    )
    for axes, part, title, line in zip(panels, (accuracies, differences), titles, (0.5, 0.0), strict=True):
        _draw(axes, part, line)
        axes.set_title(title, fontsize=LARGE, loc="left")
    what = f"{counted(check.n_users, 'user')}, {counted(check.n_pairs, 'held-out comparison')}"
    drawn = f"95 % intervals: bootstrap over {check.drawn}"
    figure.suptitle(f"Verdict: {check.verdict.answer} ({what}; {drawn})", fontsize=LARGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def check_format(path: Path) -> None:
    """Raises `DataError` if no picture can have this name, before the figures are computed."""
    if path.is_dir() or path.suffix.lower() not in FORMATS:
        found = "a folder" if path.is_dir() else repr(path.suffix or "no suffix")
        raise DataError(f"a picture is one of {', '.join(FORMATS)}, found {found}", file=path)


def _draw(axes: Any, rows: Sequence[DrawnFigure], line: float) -> None:
    """One panel: a point and an interval for each row, from above to below, and a dotted line to compare with."""
    axes.axvline(line, color=GREY, linewidth=1, linestyle=":")
    for place, row in enumerate(reversed(rows)):
        colour = OWN_COLOUR if row.name == "personal" or is_difference(row) else GREY
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([row.value], [place], "o", color=colour, markersize=8)
        value = f"{row.value:{'+' if is_difference(row) else ''}.3f}"
        axes.annotate(value, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL)
    axes.set_yticks(range(len(rows)), [label_of(row.name) for row in reversed(rows)], fontsize=SMALL)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
