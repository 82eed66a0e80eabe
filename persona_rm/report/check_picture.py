"""The figures of a user check as a picture (matplotlib, extra `report`)."""

from pathlib import Path

from persona_rm.benchmarks.user_verdict import UserCheck
from persona_rm.errors import DataError, MissingExtra

COLOURS = {"personal": "#2b6cb0", "gain": "#2b6cb0"}
GREY = "#718096"
FORMATS = (".svg", ".png")
DIFFERENCES = ("gain", "own_minus_swapped")
NAMES = {
    "personal": "personal", "shuffled": "state of another user", "pooled": "pooled reward",
    "bradley_terry": "pooled, encoder only", "longer": "longer wins", "gain": "personal minus pooled",
    "own_minus_swapped": "personal minus another user's",
}  # fmt: skip


def check_picture(check: UserCheck, path: Path) -> Path:
    """Draw accuracies and differences with their intervals into an SVG or PNG file.

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
    accuracies = [one for one in check.figures.values() if one.name.rpartition(".")[2] not in DIFFERENCES]
    differences = [one for one in check.figures.values() if one.name.rpartition(".")[2] in DIFFERENCES]
    height = 1.6 + 0.26 * len(check.figures)
    figure = Figure(figsize=(8.5, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1, height_ratios=[len(accuracies), len(differences)])
    titles = ("accuracy on held-out comparisons", "difference of accuracies: the personal part helps right of 0")
    for axes, rows, title, line in zip(panels, (accuracies, differences), titles, (0.5, 0.0), strict=True):
        axes.axvline(line, color=GREY, linewidth=0.8, linestyle=":")
        for place, row in enumerate(reversed(rows)):
            colour = COLOURS.get(row.name.rpartition(".")[2], GREY)
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            axes.plot([row.value], [place], "o", color=colour, markersize=5)
            axes.annotate(
                f"{row.value:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8
            )
        axes.set_yticks(range(len(rows)), [_label(row.name) for row in reversed(rows)], fontsize=8)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{check.verdict.answer}: {check.n_users:,} users, {check.n_pairs:,} comparisons", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def check_format(path: Path) -> None:
    """Raises `DataError` if no picture can have this name, before the figures are computed."""
    if path.is_dir() or path.suffix.lower() not in FORMATS:
        found = "a folder" if path.is_dir() else repr(path.suffix or "no suffix")
        raise DataError(f"a picture is one of {', '.join(FORMATS)}, found {found}", file=path)


def _label(name: str) -> str:
    k, _, what = name.rpartition(".")
    shown = NAMES.get(what, what)
    return f"{shown}, new user, k = {k.removeprefix('k')}" if k else shown
