"""Free-text feedback on an answer ("too long, not my humour") as signed evidence on dimensions.

Feedback is a wish, and its own style says the least about it: an annotator that reads "get to the point!" as a text
sees a curt user. So a critique is cut into clauses, the cues of wishing and rejecting are removed, and the rest is
put into a statement of the user: "too long" is read as "I want answers that are long", and turned. The cues are data
(`critique.yaml`), English, and simple: irony, praise in passing ("rude, which I liked") and a complaint without a cue
("that was hurtful") are misread. A language model, where there is one, can be asked for labels instead.

How well it reads depends on the annotator most of all: `tests/inferrers/test_critique.py` has figures for `encoder`,
which sees likes of everything in short statements unless its `gate` is raised, to 5 or so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from persona_rm.backends.base import Backends, Generator, LevelReader
from persona_rm.config import Config, PathText
from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.item_reader import (
    PromptAndText,
    labels_schema,
    listed,
    read_labels,
    read_levels,
    read_prompts,
    votes_of,
)
from persona_rm.io.text import fill, shorten
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Directions, Levels, content_id

PACKAGED = Path(__file__).with_suffix(".yaml")
FIELDS = {"wanted": {"clause"}, "refused": {"clause"}, "question": {"labels", "about", "critique"}}
MARKS = r"[.,;:!?()\n]+"
BETWEEN = "..."
LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Critique:
    """What a user said about a response. `about` is that response, where it is known."""

    text: str
    about: str = ""
    created: str | None = None
    """ISO 8601."""

    @property
    def id(self) -> str:
        """Of its item."""
        return content_id("critique", self.about, self.text)


class CritiqueWording(Config):
    """A whole file."""

    ends: tuple[str, ...]
    joins: tuple[str, ...]
    turned: tuple[str, ...]
    wished: tuple[str, ...]
    means: dict[str, tuple[str, ...]]
    prompt: str
    wanted: str
    refused: str
    question: str


class CritiqueConfig(Config):
    """By whom critiques are read, and how. The limits are those of the generator's way."""

    by: Literal["reader", "generator"] = "reader"
    refusals: Literal["turned", "said"] = "turned"
    """`turned`: the annotator reads "I want ..." of what is refused, and the signs are turned. `said`: it reads "I do
    not want ..." itself: for an annotator that understands a negation."""
    wording: PathText | None = None
    """Another file; None is the packaged `critique.yaml`."""
    max_chars: int = Field(2000, ge=100)
    """Of the critique, and of the response: the middle of a longer one is left out."""
    labels: int = Field(12, ge=1)
    """Labels in one answer, at most."""
    max_tokens: int = Field(384, ge=1)


DEFAULT = CritiqueConfig()


@dataclass(frozen=True, slots=True)
class Clause:
    """What is left of a clause without its cues, and whether it is wanted (1) or refused (-1)."""

    text: str
    sign: int


def critiques_as_items(
    critiques: Sequence[Critique], space: PreferenceSpace, backends: Backends, config: CritiqueConfig = DEFAULT
) -> list[Item]:
    """By whom the config says. Raises `RecipeError` if that one is not among the backends."""
    if config.by == "generator":
        return asked_items(critiques, space, backends.need_generator("critiques (by: generator)"), config)
    return critique_items(critiques, space, backends.need_reader("critiques (by: reader)"), config)


def critique_items(
    critiques: Sequence[Critique], space: PreferenceSpace, reader: LevelReader, config: CritiqueConfig = DEFAULT
) -> list[Item]:
    """One item per critique, source "critique"; one call of the reader, each statement once.

    The clauses of a critique are summed up: where they disagree, or nothing is read, the vote is 0. Raises `DataError`
    naming the place of a blank critique, or if the reader fails.
    """
    _check(critiques)
    wording = _wording(config.wording)
    rows = [clauses(critique.text, wording) for critique in critiques]
    stated = [[_stated(clause, wording, config.refusals) for clause in row] for row in rows]
    levels = read_levels([asked for row in stated for asked, _ in row], reader, len(space), f"{len(rows)} critiques")
    votes = [_sum([(levels[asked], sign) for asked, sign in row], len(space)) for row in stated]
    return [_item(critique, vote) for critique, vote in zip(critiques, votes, strict=True)]


def asked_items(
    critiques: Sequence[Critique], space: PreferenceSpace, generator: Generator, config: CritiqueConfig = DEFAULT
) -> list[Item]:
    """One item per critique, from the labels that a language model names; it sees the response too.

    Labels that are none of the space are left out. Raises `DataError` naming the place of a critique that is blank,
    got no answer, or one that cannot be read.
    """
    _check(critiques)
    if not critiques:
        return []
    wording, names = _wording(config.wording), listed(space)
    prompts = [_question(critique, wording, names, config.max_chars) for critique in critiques]
    schema = labels_schema(space, config.labels)
    answers = generator.generate(prompts, max_tokens=config.max_tokens, schema=schema)
    if len(answers) != len(critiques):
        raise DataError(f"the generator was asked about {len(critiques)} critiques and gave {len(answers)} answers")
    items = []
    for place, (critique, answer) in enumerate(zip(critiques, answers, strict=True)):
        try:
            if answer.error:
                raise DataError(f"the model gave no answer: {answer.error}")
            items.append(_item(critique, read_labels(answer.text, space)[0]))
        # The place is added here, because the reader of labels does not know it.
        except DataError as error:
            raise DataError(f"critiques[{place}]: {error}") from error
    return items


def clauses(text: str, wording: CritiqueWording) -> list[Clause]:
    """The clauses of a critique in order; those of which the cues leave no word are left out."""
    clauses: list[Clause] = []
    # The cues are written with a plain apostrophe, and phones type the typographic one.
    for sentence in re.split(f"{MARKS}|{_any(wording.ends)}", text.replace("\u2019", "'"), flags=re.I):
        sign = 1
        for part in re.split(_any(wording.joins), sentence, flags=re.I):
            # A part without a cue keeps the sign of the part before it in the same sentence.
            rest, own = _read(part, wording)
            sign = sign if own is None else own
            if LETTER.search(rest):
                clauses.append(Clause(rest, sign))
    return clauses


def _read(part: str, wording: CritiqueWording) -> tuple[str, int | None]:
    """(the words without cues, the sign that the cues give; None without a cue)."""
    rest, wished = _without(part, wording.wished, wording.turned)
    rest, turned = _without(rest, wording.turned, ())
    # Two cues that turn the meaning cancel each other.
    sign = None if not wished + turned else (-1) ** turned
    return " ".join(rest.split()), sign


def _without(text: str, cues: Sequence[str], longer: Sequence[str]) -> tuple[str, int]:
    """(`text` without these cues, how many there were); one that is part of a cue among `longer` stays."""
    count = 0
    # Longer cues come first, because a shorter one may be a part of them.
    for cue in sorted(cues, key=len, reverse=True):
        guarded = [other for other in longer if cue in other and cue != other]
        if any(re.search(_pattern(other), text, re.I) for other in guarded):
            continue
        text, n = re.subn(_pattern(cue), lambda match: f" {match[1] if match.re.groups else ''} ", text, flags=re.I)
        count += n
    return text, count


def _any(words: Sequence[str]) -> str:
    # Without words, an empty alternative would match everywhere; (?!) matches nowhere.
    return "|".join(_pattern(word) for word in words) or r"(?!)"


@cache
def _pattern(cue: str) -> str:
    """A cue as whole words; what lies between its parts is a group."""
    # An apostrophe belongs to its word here, which \b alone would split.
    inside = r"\b(.+?)\b".join(re.escape(part.strip()) for part in cue.split(BETWEEN))
    return rf"(?<![\w'])(?:{inside})(?![\w'])"


@cache
def _read_file(path: Path, _changed: int) -> CritiqueWording:
    return read_prompts(path, CritiqueWording, FIELDS)


def _wording(path: str | None) -> CritiqueWording:
    # The time of the last change is a part of the cache's key, so that an edited file is read again.
    file = Path(path) if path else PACKAGED
    return _read_file(file, file.stat().st_mtime_ns if file.is_file() else 0)


def _check(critiques: Sequence[Critique]) -> None:
    for place, critique in enumerate(critiques):
        if not critique.text.strip():
            raise DataError(f"critiques[{place}] has no text: there is nothing to read; leave it out")


def _stated(clause: Clause, wording: CritiqueWording, refusals: str) -> tuple[PromptAndText, int]:
    """(what is read, the sign of what is found)."""
    said = clause.sign < 0 and refusals == "said"
    statement = fill(wording.refused if said else wording.wanted, {"clause": _meant(clause.text, wording.means)})
    return (wording.prompt, statement), 1 if said else clause.sign


def _meant(text: str, means: Mapping[str, Sequence[str]]) -> str:
    # Longer words come first in the pattern, because an alternation takes the first one that matches.
    known = {word: phrase for phrase, words in means.items() for word in words}
    return re.sub(_any(sorted(known, key=len, reverse=True)), lambda match: known[match[0].lower()], text, flags=re.I)


def _sum(read: Sequence[tuple[Levels, int]], size: int) -> Directions:
    votes = [[vote * sign for vote in votes_of(levels, (MIDDLE,) * size)] for levels, sign in read]
    # Without a clause there is no column to sum, and the critique votes for nothing.
    nets = [sum(column) for column in zip(*votes, strict=True)] or [0] * size
    return tuple((net > 0) - (net < 0) for net in nets)


def _question(critique: Critique, wording: CritiqueWording, names: str, limit: int) -> str:
    fields: Mapping[str, str] = {
        "labels": names,
        "about": shorten(critique.about, limit) or "(not known)",
        "critique": shorten(critique.text, limit),
    }
    return fill(wording.question, fields)


def _item(critique: Critique, votes: Directions) -> Item:
    return Item(critique.id, "critique", votes, critique.created)
