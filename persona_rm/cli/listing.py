"""Lists of names with a description each: names are never cut, descriptions wrap."""

import inspect
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from persona_rm.errors import PersonaRMError
from persona_rm.registry import Registry

SENTENCE = re.compile(r".*?[.!?](?=\s+[A-Z`\"(]|\s*$)")
"""Up to the first full stop that a capital letter or the end follows: "eq. 2" and "e.g. this" are inside."""
LEAST = 30
"""Columns that a description needs beside the name; with fewer it stands below."""
INDENT = "  "


@dataclass(frozen=True, slots=True)
class ZooMember:
    """One member of a zoo as `persona-rm zoo` shows it. `problem` says why it could not be imported."""

    zoo: str
    name: str
    sentence: str
    needs: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    problem: str = ""


def zoo_member(zoo: str, registry: Registry, name: str) -> ZooMember:
    """The member with the first sentence of its module, or of its class.

    Members import neither torch nor ray, so this is cheap; one that another package brings may fail to import, and
    the list goes on without its sentence.
    """
    try:
        cls = registry.load(name)
    except (ImportError, AttributeError, SyntaxError, PersonaRMError) as error:
        return ZooMember(zoo, name, "", problem=f"{type(error).__name__}: {error}")
    sentence = first_sentence(sys.modules[cls.__module__].__doc__ or "", name) or first_sentence(
        cls.__doc__ or "", name
    )
    config = getattr(cls, "Config", None)
    return ZooMember(
        zoo,
        name,
        sentence,
        tuple(sorted(getattr(cls, "needs", ()))),
        tuple(sorted(getattr(cls, "controls", ()))),
        tuple(getattr(config, "model_fields", {})),
    )


def first_sentence(text: str, name: str = "") -> str:
    """The first sentence of a docstring, without the member's own name in front of it."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split()).removeprefix(f"`{name}`: ")
    match = SENTENCE.match(paragraph)
    sentence = match.group() if match else paragraph
    return sentence[:1].upper() + sentence[1:]


def listing(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Lines for rows of (name, paragraphs) on `width` columns, paragraphs beside the names or, if narrow, below."""
    longest = max((len(name) for name, _ in rows), default=0)
    beside = len(INDENT) + longest + 2
    column = " " * beside if width - beside >= LEAST else INDENT * 2
    lines = []
    for name, paragraphs in rows:
        wrapped = [line for text in paragraphs for line in _wrap(text, width - len(column))]
        if column == INDENT * 2:
            lines.append(INDENT + name)
        elif wrapped:
            lines.append(f"{INDENT}{name:<{longest}}  {wrapped.pop(0)}")
        else:
            lines.append(INDENT + name)
        lines += [column + line for line in wrapped]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Words are never broken, so that paths and names can be copied."""
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)
