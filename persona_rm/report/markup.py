"""Bits of HTML that every section is made of. Whatever comes from data goes through `escape`."""

from collections.abc import Sequence
from html import escape as _escape

TableCell = str | tuple[str, str]
"""Text, or (text, css class)."""


def escape(value: object) -> str:
    """Text that cannot become markup."""
    return _escape(str(value), quote=True)


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; an id for links."""
    anchor = "-".join(title.lower().split())
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: str, css: str = "") -> str:
    """One paragraph of plain text."""
    return f'<p class="{css}">{escape(text)}</p>'


def missing(what: str, part: str) -> str:
    """What a section says when its part of the run is not there; `part` is what to add to the recipe."""
    said = f"Not run: {what}. Give the recipe {part}, then"
    return f'<p class="missing">{escape(said)} <code>persona-rm run RECIPE</code></p>'


def figure(*parts: str) -> str:
    """A picture with its legend, in a frame."""
    return f'<div class="figure">{"".join(parts)}</div>'


def table(head: Sequence[TableCell], rows: Sequence[Sequence[TableCell]]) -> str:
    """A table; cells are text, or text with a class ("num" aligns right)."""
    top = "".join(_td("th", cell) for cell in head)
    body = "".join(f"<tr>{''.join(_td('td', cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def details(summary: str, *parts: str) -> str:
    """Something folded away."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def bullets(items: Sequence[str]) -> str:
    """A list of sentences."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def num(value: object, digits: int = 3) -> tuple[str, str]:
    """A number cell."""
    shown = (
        f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}" if isinstance(value, float) else str(value)
    )
    return shown.replace("-", "\N{MINUS SIGN}"), "num"


def _td(tag: str, cell: TableCell) -> str:
    text, css = (cell, "") if isinstance(cell, str) else cell
    return f'<{tag} class="{css}">{escape(text)}</{tag}>' if css else f"<{tag}>{escape(text)}</{tag}>"
