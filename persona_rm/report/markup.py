"""The HTML elements of all sections. Every text from data goes through `escape`."""

from collections.abc import Sequence
from html import escape as _escape

TableCell = str | tuple[str, str]
"""Text, or (text, css class)."""


def escape(value: object) -> str:
    """The value as text, with the characters of markup replaced."""
    return _escape(str(value), quote=True)


def section(title: str, *parts: str) -> str:
    """A heading and its content, with an id for links."""
    anchor = "-".join(title.lower().split())
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: str, css: str = "") -> str:
    """One paragraph of plain text."""
    return f'<p class="{css}">{escape(text)}</p>'


def missing(what: str, part: str) -> str:
    """The text of a section whose part of the run is missing; `part` is what to add to the recipe."""
    said = f"Not run: {what}. Give the recipe {part}, then"
    return f'<p class="missing">{escape(said)} <code>persona-rm run RECIPE</code></p>'


def figure(*parts: str) -> str:
    """A picture with its legend, in a frame."""
    return f'<div class="figure">{"".join(parts)}</div>'


def table(head: Sequence[TableCell], rows: Sequence[Sequence[TableCell]]) -> str:
    """A table. Cells are text, or text with a CSS class; the class "num" aligns right."""
    top = "".join(_td("th", cell) for cell in head)
    body = "".join(f"<tr>{''.join(_td('td', cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def details(summary: str, *parts: str) -> str:
    """Content that unfolds under a summary."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def bullets(items: Sequence[str]) -> str:
    """A list of sentences."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def num(value: object, digits: int = 3) -> tuple[str, str]:
    """A number cell."""
    if isinstance(value, int):
        shown = f"{value:,}"
    elif isinstance(value, float):
        shown = f"{value:.{digits}f}"
    else:
        shown = str(value)
    return shown.replace("-", "\N{MINUS SIGN}"), "num"


def _td(tag: str, cell: TableCell) -> str:
    text, css = (cell, "") if isinstance(cell, str) else cell
    return f'<{tag} class="{css}">{escape(text)}</{tag}>' if css else f"<{tag}>{escape(text)}</{tag}>"
