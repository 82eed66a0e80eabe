"""Figures of the data card, as PNG files: pure functions from counts to a file, drawn by matplotlib (extra `report`).

Bars of dimensions are horizontal, one line of text each, so that 90 of them can be read; the figure grows with them.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.construct.card.data_card import DataCard
from persona_rm.errors import MissingExtra

DPI = 110
LINE = 0.165
"""Inches of one dimension's bar."""
BLUE, RED, GREY, DARK = "#2b6cb0", "#c05621", "#e2e4e8", "#4a5568"
Groups = Sequence[str]
"""The source of each dimension: psychology, alignment, interest."""


def _figure(width: float, height: float, **options: Any) -> Any:
    """A figure without a screen or a global state, in inches. Raises MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("the data card's pictures need matplotlib: pip install persona_rm[report]") from error
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", **options)


def _save(figure: Any, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    # The figure was made without pyplot, so it has no canvas yet; making one attaches it.
    FigureCanvasAgg(figure)
    figure.savefig(path, bbox_inches="tight", format="png")
    return path


def _borders(groups: Groups) -> list[tuple[int, int]]:
    """(first, last + 1) of every run of equal groups."""
    cuts = [0, *(i for i in range(1, len(groups)) if groups[i] != groups[i - 1]), len(groups)]
    return list(pairwise(cuts))


def _bare(axes: Any, *sides: str) -> None:
    for side in sides:
        axes.spines[side].set_visible(False)


def correlation(path: Path, matrix: npt.ArrayLike, groups: Groups, n: int) -> Path:
    """Figure 4: Pearson's r of every two dimensions, numbered from 1; grey where a dimension is constant."""
    size, figure = len(groups), _figure(9.6, 8.4)
    axes = figure.subplots()
    image = _heat(axes, np.asarray(matrix, float))
    edge = size + 0.5
    ticks = [1, *range(10, size + 1, 10)] if size > 10 else list(range(1, size + 1))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    for first, end in _borders(groups):
        for line in (axes.axhline, axes.axvline):
            line(end + 0.5, color="black", linewidth=0.8)
        middle = (first + end + 1) / 2
        axes.text(middle, -0.012 * size, groups[first], ha="center", va="bottom", fontsize=9)
        axes.text(edge + 0.012 * size, middle, groups[first], ha="left", va="center", rotation=270, fontsize=9)
    axes.set_xlabel("dimension, in the order of the space")
    axes.set_ylabel("dimension")
    axes.set_title(f"Pearson correlation of {size} dimensions' levels, {n:,} responses", pad=24)
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.07, label="Pearson's r (grey: none, constant)")
    return _save(figure, path)


def _heat(axes: Any, values: npt.NDArray[np.float64]) -> Any:
    from matplotlib import colormaps

    edge, colours = len(values) + 0.5, colormaps["RdBu_r"].with_extremes(bad=GREY)
    return axes.imshow(values, cmap=colours, vmin=-1, vmax=1, extent=(0.5, edge, edge, 0.5), interpolation="none")


def _tall(names: Sequence[str], groups: Groups, width: float, aside: float = 1.015) -> tuple[Any, Any]:
    """Axes with a line per dimension, numbered, the first on top, and a rule between groups."""
    figure = _figure(width, LINE * len(names) + 1.4)
    axes = figure.subplots()
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [f"{name}  {i}" for i, name in enumerate(names, 1)], fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    for first, end in _borders(groups):
        if end < len(names):
            axes.axhline(end - 0.5, color="black", linewidth=0.6)
        middle = (first + end - 1) / 2
        where = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center", "rotation": 270}
        axes.text(aside, middle, groups[first], fontsize=8, **where)
    _bare(axes, "top", "right", "left")
    return figure, axes


def levels(path: Path, counts: npt.ArrayLike, names: Sequence[str], groups: Groups) -> Path:
    """Levels per dimension, counts (3, D): shares low and high from both ends, "cannot reflect" between them."""
    table = np.asarray(counts, float)
    total = np.maximum(table.sum(0), 1)
    shares = 100 * table / total
    figure, axes = _tall(names, groups, 10, aside=1.17)
    rows, left = np.arange(len(names)), np.zeros(len(names))
    for share, colour, label in zip(shares, (RED, GREY, BLUE), ("low", "cannot reflect", "high"), strict=True):
        axes.barh(rows, share, left=left, color=colour, height=0.78, label=label)
        left += share
    for row, column in enumerate(shares.T):
        for share, x, colour in zip(column, (104, 109.5, 115), (RED, DARK, BLUE), strict=True):
            axes.text(x, row, f"{share:.1f}", ha="right", va="center", fontsize=7, color=colour)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of responses")
    axes.set_title(f"Level of {int(table.sum(0).max(initial=0)):,} responses on each dimension", pad=26)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
    return _save(figure, path)


def directions(path: Path, counts: npt.ArrayLike, names: Sequence[str], groups: Groups, n: int) -> Path:
    """Table 7: pairs by direction, counts (2, D), negative first; positive to the right, negative to the left."""
    negative, positive = np.asarray(counts, np.int64)
    figure, axes = _tall(names, groups, 10)
    rows, most = np.arange(len(names)), max(int(negative.max(initial=0)), int(positive.max(initial=0)), 1)
    axes.barh(rows, positive, color=BLUE, height=0.78, label="positive")
    axes.barh(rows, -negative, color=RED, height=0.78, label="negative")
    for row, (less, more) in enumerate(zip(negative.tolist(), positive.tolist(), strict=True)):
        axes.text(more + 0.01 * most, row, f"{more:,}", ha="left", va="center", fontsize=6.5, color=DARK)
        axes.text(-less - 0.01 * most, row, f"{less:,}", ha="right", va="center", fontsize=6.5, color=DARK)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlim(-1.18 * most, 1.18 * most)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.set_xlabel("pairs")
    axes.set_title(f"Directions of {n:,} pairs", pad=26)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8, reverse=True)
    return _save(figure, path)


def personas(path: Path, histograms: Mapping[str, Mapping[int, int]], parts: Mapping[str, int]) -> Path:
    """How many items the personas have, a panel per kind of item (title -> size -> examples), and what they consist
    of (parts -> examples)."""
    wide = len(histograms) + 1
    figure = _figure(4.4 * wide, 3.6, layout="constrained")
    panels = figure.subplots(1, wide)
    for axes, (title, histogram) in zip(panels, histograms.items(), strict=False):
        sizes = sorted(histogram)
        axes.bar(sizes, [histogram[size] for size in sizes], color=BLUE)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("number")
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel("examples")
    for axes in panels[:-1]:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _bare(axes, "top", "right")
    _named(panels[-1], list(parts), list(parts.values()), BLUE)
    panels[-1].set_title("parts of the persona", fontsize=10)
    return _save(figure, path)


def _named(axes: Any, names: Sequence[str], counts: Sequence[int], colour: str) -> None:
    """Horizontal bars with their names and counts."""
    most = max([*counts, 1])
    axes.barh(range(len(names)), counts, color=colour)
    for row, count in enumerate(counts):
        axes.text(count + 0.01 * most, row, f"{count:,}", ha="left", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * most)
    axes.set_xticks([])
    _bare(axes, "top", "right", "bottom")


def rows(path: Path, steps: Sequence[tuple[str, int, int]]) -> Path:
    """Rows through the stages: (what goes where, rows out, rows dropped) from top to bottom, as shares of the rows in.

    Units differ from stage to stage (posts, responses, pairs), so every bar has its own 100 %.
    """
    figure = _figure(10, 0.5 * len(steps) + 1.3)
    axes = figure.subplots()
    for row, (_, out, dropped) in enumerate(steps):
        share = 100 * out / max(out + dropped, 1)
        axes.barh(row, share, color=BLUE, height=0.62, label="" if row else "go on")
        axes.barh(
            row,
            100 - share if out + dropped else 0,
            left=share,
            color=RED,
            height=0.62,
            label="" if row else "dropped",
        )
        words = f"{out + dropped:,} in, {out:,} out ({share:.1f} %), {dropped:,} dropped"
        axes.text(102, row, words, ha="left", va="center", fontsize=8.5)
    axes.set_yticks(range(len(steps)), [name for name, *_ in steps], fontsize=8.5)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the rows that come in")
    axes.set_title("Rows through the stages", pad=22)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    _bare(axes, "top", "right")
    return _save(figure, path)


def draw(folder: Path, card: DataCard, matrix: npt.ArrayLike | None = None) -> dict[str, str]:
    """Every picture that the card has figures for, in `folder`/figures: what `DataCard.figures` wants.

    `matrix` is `LevelTally.correlation()`. Raises `MissingExtra`; its text is for `DataCard.figures_missing`.
    """
    # Fails here if matplotlib is missing, before any picture is drawn.
    _figure(1, 1)
    names, groups = [d["id"] for d in card.dimensions], [d["source"] for d in card.dimensions]
    target, made = folder / "figures", {}
    if card.flows:
        made["rows"] = rows(target / "rows.png", _steps(card))
    if card.levels and card.levels.responses:
        counts = [[level[name] for level in card.levels.by_dimension.values()] for name in ("low", "none", "high")]
        made["levels"] = levels(target / "levels.png", counts, names, groups)
        if matrix is not None:
            made["correlation"] = correlation(target / "correlation.png", matrix, groups, card.levels.responses)
    if (figures := card.examples) and figures.count:
        ways = [[way[side] for way in figures.by_dimension.values()] for side in ("negative", "positive")]
        made["directions"] = directions(
            target / "directions.png", ways, names, groups, figures.count - figures.without_directions
        )
        sizes = {
            "UGC items": figures.n_ugc,
            "PAIR items": figures.n_pairs,
            "non-neutral dimensions": figures.non_neutral,
        }
        made["personas"] = personas(target / "personas.png", sizes, figures.by_persona)
    return {name: path.relative_to(folder).as_posix() for name, path in made.items()}


def _steps(card: DataCard) -> list[tuple[str, int, int]]:
    """The card's flows as `rows` wants them."""

    def words(keys: Sequence[str]) -> str:
        return " + ".join(keys).replace("_", " ")

    return [
        (
            f"{words(flow.before)} \N{RIGHTWARDS ARROW} {words(flow.after)}",
            sum(card.rows.get(name, 0) for name in flow.after),
            sum(card.drops.get(flow.what, {}).values()),
        )
        for flow in card.flows
    ]
