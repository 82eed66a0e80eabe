"""Pictures as inline SVG: small pure functions from numbers to text. Colours are CSS variables of the page.

Pictures that are files are drawn by matplotlib (`construct.card.pictures`, `check_picture`). Those of the report are
not: they follow the page's light and dark colours, show a value under the mouse and stay text that a screen reader
reads, and a dot chart of 12 rows takes 5 kB and half a millisecond instead of 29 kB and 260 ms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from persona_rm.io.text import shorten

Axis = Callable[[float], float]
Point = tuple[float, float, float, str]
"""x, y, weight, and the tooltip."""
WIDTH = 760
GUTTER = 236  # room for labels left of a dot chart
RIGHT = 128  # room for values right of it
LETTER = 7  # the approximate width of a letter
SIGNS = {0: "·", 1: "+", -1: "-"}


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a dot chart. `kind`: "main", "control", "best", "hollow"; a row without value is a heading."""

    label: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    kind: str = "main"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a line chart, with an optional band; `color` is 1..8, 0 is grey; `dashed` for controls."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    color: int = 1
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of a square picture, the area of each by its weight; `joined` by a line in the order given."""

    label: str
    points: Sequence[Point]
    color: int = 1
    joined: bool = False
    dashed: bool = False


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) between `low` and `high`, about `about` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    # The factors leave room for rounding: a bound that is itself a round number gets a tick.
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """A range around the values with some space on both sides; never empty."""
    low, high = min(values), max(values)
    # A single value has no range of its own: its size decides, and a fixed space if it is 0.
    air = (high - low) * share or abs(high) * share or 0.5
    return low - air, high + air


def number(value: float) -> str:
    """A number for an axis: at most four digits, with a typographic minus sign."""
    text = f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    """One line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """The SVG element around its parts. Screen readers read `title` aloud."""
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}"'
    return f'{head} style="max-width:{width:.0f}px">{"".join(parts)}</svg>'


def dot_chart(
    rows: Sequence[Dot],
    span: tuple[float, float],
    references: Sequence[tuple[float, str]] = (),
    title: str = "",
    gutter: int = GUTTER,
) -> str:
    """Dots with intervals on a common axis, one row each, and vertical reference lines; `gutter` is for labels."""
    step, top = 26, 30 if references else 4
    bottom = top + step * len(rows)
    left, right = gutter, WIDTH - RIGHT

    def at(value: float) -> float:
        # Values outside the range are drawn at its border, and not over the labels.
        return left + (right - left) * (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])

    parts = []
    for tick in ticks(*span):
        parts += [
            line(at(tick), top, at(tick), bottom, "grid"),
            text(at(tick), bottom + 18, number(tick), "tick", "middle"),
        ]
    for value, name in references:
        parts += [
            line(at(value), top - 4, at(value), bottom, "ref"),
            text(at(value), top - 10, name, "tick", "middle"),
        ]
    for i, row in enumerate(rows):
        parts += _dot_row(row, top + step * (i + 0.5), at, (gutter - 20) // LETTER)
    return picture(WIDTH, bottom + 28, title, parts)


def _dot_row(row: Dot, y: float, at: Axis, letters: int) -> list[str]:
    if row.value is None:
        return [text(0, y + 4, row.label, "heading")]
    tip = f"<title>{escape(row.label)}: {row.value:.4f} ({row.low:.4f} to {row.high:.4f})</title>"
    return [
        f'<g class="dot {escape(row.kind)}">{tip}',
        text(14, y + 4, shorten(row.label, letters, keep_end=False), "label"),
        line(at(row.low), y, at(row.high), y, "whisker"),
        f'<circle cx="{at(row.value):.1f}" cy="{y:.1f}" r="5"/>',
        text(WIDTH - RIGHT + 16, y + 4, row.note or f"{row.value:.3f}", "value"),
        "</g>",
    ]


def line_chart(
    lines: Sequence[Line],
    *,
    x_name: str,
    y_name: str,
    y_span: tuple[float, float],
    x_ticks: Sequence[float] = (),
    log_x: bool = False,
    references: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = (WIDTH, 300),
) -> str:
    """Lines with bands; the legend is `legend(lines)`, beside the picture."""
    (width, height), (left, top, right, bottom) = size, (54, 26, 16, 44)
    xs = [x for series in lines for x in series.xs]
    move = math.log2 if log_x else float
    x_low, x_high = move(min(xs)), move(max(xs))

    def at_x(x: float) -> float:
        share = (move(x) - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return left + (width - left - right) * share

    def at_y(y: float) -> float:
        share = (min(max(y, y_span[0]), y_span[1]) - y_span[0]) / (y_span[1] - y_span[0])
        return height - bottom - (height - bottom - top) * share

    parts = [text(left - 46, 14, y_name, "tick"), text(width - right, height - 6, x_name, "tick", "end")]
    for y in ticks(*y_span):
        parts += [
            line(left, at_y(y), width - right, at_y(y), "grid"),
            text(left - 8, at_y(y) + 4, number(y), "tick", "end"),
        ]
    for x in x_ticks or ticks(min(xs), max(xs)):
        parts.append(text(at_x(x), height - bottom + 18, number(x), "tick", "middle"))
    for y, name in references:
        parts.append(line(left, at_y(y), width - right, at_y(y), "ref"))
        parts.append(text(width - right - 4, at_y(y) - 5, name, "tick", "end"))
    for series in lines:
        parts += _series(series, at_x, at_y)
    return picture(width, height, f"{y_name} by {x_name}", parts)


def _series(series: Line, at_x: Axis, at_y: Axis) -> list[str]:
    points = [f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(series.xs, series.ys, strict=True)]
    dash = " dashed" if series.dashed else ""
    parts = [f'<g class="series c{series.color}{dash}"><title>{escape(series.label)}</title>']
    if series.lows:
        # One outline: along the upper edge, then back along the lower one.
        edge = [f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(series.xs, series.highs, strict=True)]
        back = [f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(series.xs, series.lows, strict=True)][::-1]
        parts.append(f'<polygon class="band" points="{" ".join(edge + back)}"/>')
    parts.append(f'<polyline points="{" ".join(points)}"/>')
    # Markers on a dense line would hide it.
    if len(points) <= 20:
        parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3.4"/>' for p in points]
    return [*parts, "</g>"]


def square(
    clouds: Sequence[Cloud], *, x_name: str, y_name: str, span: tuple[float, float], title: str, side: int = 370
) -> str:
    """Points on two axes with the same range, and the diagonal of equal values; the legend is `legend(clouds)`."""
    left, top, right, bottom = 48, 26, 14, 44
    most = max((weight for cloud in clouds for *_, weight, _ in cloud.points), default=1.0) or 1.0

    def at(value: float, start: float, end: float) -> float:
        return start + (end - start) * (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])

    def at_x(x: float) -> float:
        return at(x, left, side - right)

    def at_y(y: float) -> float:
        return at(y, side - bottom, top)

    parts = [text(0, 14, y_name, "tick"), text(side - right, side - 6, x_name, "tick", "end")]
    for tick in ticks(*span):
        parts += [
            line(left, at_y(tick), side - right, at_y(tick), "grid"),
            text(left - 8, at_y(tick) + 4, number(tick), "tick", "end"),
            text(at_x(tick), side - bottom + 18, number(tick), "tick", "middle"),
        ]
    parts.append(line(left, side - bottom, side - right, top, "ref"))
    for cloud in clouds:
        parts += _cloud(cloud, at_x, at_y, most)
    return picture(side, side, title, parts)


def _cloud(cloud: Cloud, at_x: Axis, at_y: Axis, most: float) -> list[str]:
    parts = [f'<g class="series cloud c{cloud.color}{" dashed" if cloud.dashed else ""}">']
    if cloud.joined:
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y, *_ in cloud.points)
        parts.append(f'<polyline points="{points}"/>')
    # SVG draws in order, so the large points come first and the small ones stay visible on top of them.
    for x, y, weight, tip in sorted(cloud.points, key=lambda point: -point[2]):
        # The area, and not the radius, is proportional to the weight.
        radius = max(3.0, 11 * math.sqrt(weight / most))
        shape = f'cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{radius:.1f}"'
        parts.append(f"<circle {shape}><title>{escape(tip)}</title></circle>")
    return [*parts, "</g>"]


def legend(lines: Sequence[Line | Cloud]) -> str:
    """Names and colours of the lines."""
    keys = [
        f'<span class="key c{series.color}{" dashed" if series.dashed else ""}"><i></i>{escape(series.label)}</span>'
        for series in lines
    ]
    return f'<div class="legend">{"".join(keys)}</div>'


def heat_map(
    rows: Sequence[tuple[str, Sequence[float]]], columns: Sequence[str], groups: Sequence[str], title: str
) -> str:
    """Cells in -1..1, orange below zero and blue above. Whole numbers are printed as signs, and `groups` name equal
    spans of columns."""
    cell, high, top, left, gap = 92, 24, 48, 268, 18
    # Columns of one group; `at` adds a gap after each group.
    per = len(columns) // max(1, len(groups))

    def at(j: int) -> float:
        return left + j * cell + (j // per) * gap

    parts = [text(at(g * per), 16, name, "heading") for g, name in enumerate(groups)]
    parts += [text(at(j) + cell / 2, 38, name, "tick", "middle") for j, name in enumerate(columns)]
    for i, (name, values) in enumerate(rows):
        y = top + i * high
        parts.append(text(0, y + 16, shorten(name, 38, keep_end=False), "label"))
        parts += [_cell(at(j), y, cell - 3, high - 3, value) for j, value in enumerate(values)]
    return picture(at(len(columns) - 1) + cell, top + high * len(rows) + 4, title, parts)


def _cell(x: float, y: float, width: float, height: float, value: float) -> str:
    strength, side = min(1.0, abs(value)), "pos" if value > 0 else "neg"
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3"'
    shown = (SIGNS[value] if isinstance(value, int) else f"{value:+.2f}").replace("-", "\N{MINUS SIGN}")
    css = "cell strong" if strength > 0.7 else "cell"
    # A weak value has some opacity too, to tell it from none.
    fill = f'<rect {shape} class="{side}" fill-opacity="{0.06 + 0.94 * strength if value else 0:.2f}"/>'
    return f'<rect {shape} class="blank"/>{fill}' + text(x + width / 2, y + 15, shown, css, "middle")


def bars(rows: Sequence[tuple[str, float]], title: str) -> str:
    """Horizontal bars with their share of the total, and their counts if the numbers are integers."""
    total, most = sum(n for _, n in rows) or 1, max((n for _, n in rows), default=0) or 1
    step, left, right, parts = 26, GUTTER, WIDTH - RIGHT - 30, []
    for i, (name, n) in enumerate(rows):
        y, width = step * i, (right - left) * n / most
        shown = f"{n:,}  ({n / total:.1%})" if isinstance(n, int) else f"{n / total:.1%}"
        parts += [text(0, y + 17, shorten(name, 36, keep_end=False), "label")]
        parts.append(f'<rect x="{left}" y="{y + 5}" width="{max(width, 1):.1f}" height="16" rx="2" class="bar"/>')
        parts.append(text(left + width + 10, y + 17, shown, "value"))
    return picture(WIDTH, step * len(rows) + 4, title, parts)
