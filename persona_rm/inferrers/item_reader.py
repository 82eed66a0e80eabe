"""Text without directions -> evidence: levels by an annotator, or labels of the space by a language model.

A level above, at or below the middle is a vote for one pole, for none, for the other; of a pair the level of what was
chosen is compared with that of what was rejected (paper, section 4.2). Votes, not texts, are what goes on.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from persona_rm.backends.base import LevelReader
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import Item, bare_item, check_votes
from persona_rm.io.text import FIELD
from persona_rm.io.yaml_file import read_yaml
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Directions, Levels, Pair, Persona, Ugc, content_id

PromptAndText = tuple[str, str]
"""(prompt, text)."""
NO_LABEL, BOTH_POLES = "no label of the space", "both poles of a dimension"
KEY = "labels"
ConfigT = TypeVar("ConfigT", bound=Config)


def annotated_items(
    persona: Persona, space: PreferenceSpace, reader: LevelReader, again: bool = False, demo: bool = False
) -> list[Item]:
    """The persona's items as votes, in the order of `items_of`; those without directions are read.

    One call of the reader, each (prompt, text) once. `again` reads those with directions too; `demo` adds the
    demographic text. Raises `DataError` naming the user if the reader fails at a text.
    """
    user = f"user {persona.user_id!r}"
    named: list[tuple[str, Ugc | Pair]] = [(f"{user}, ugc[{i}]", item) for i, item in enumerate(persona.ugc)]
    named += [(f"{user}, pairs[{i}]", item) for i, item in enumerate(persona.pairs)]
    open_ = [texts_in(item) for _, item in named if again or item.directions is None]
    about = persona.demo if demo and persona.demo.strip() else ""
    asked = [one for texts in open_ for one in texts] + ([("", about)] if about else [])
    levels = read_levels(asked, reader, len(space), user)
    items = [_item(item, levels, len(space), where, again) for where, item in named]
    return items + ([_demo(about, levels)] if about else [])


def demo_item(persona: Persona, space: PreferenceSpace, reader: LevelReader) -> Item | None:
    """The demographic text as one item, or None if there is none. Raises `DataError` naming the user."""
    if not persona.demo.strip():
        return None
    levels = read_levels([("", persona.demo)], reader, len(space), f"user {persona.user_id!r}")
    return _demo(persona.demo, levels)


def read_levels(
    asked: Sequence[PromptAndText], reader: LevelReader, size: int, who: str
) -> dict[PromptAndText, Levels]:
    """The levels of each text, one call, each once. Raises `DataError` naming `who`.

    What the reader itself says is passed on: it numbers the texts as they were asked, and repeats none of them.
    """
    once = list(dict.fromkeys(asked))
    if not once:
        return {}
    try:
        readings = reader.levels([prompt for prompt, _ in once], [text for _, text in once])
    except DataError as error:
        raise DataError(f"{who}: the annotator failed at one of {len(once)} texts: {error}") from error
    # Readers are members too. A wrong number of readings would give every text another one's levels.
    if len(readings) != len(once):
        raise DataError(f"{who}: the annotator was asked about {len(once)} texts and answered {len(readings)}")
    for levels in readings:
        if len(levels) != size or not {1, 2, 3}.issuperset(levels):
            problem = f"{len(levels)} levels, values {sorted({*levels} - {1, 2, 3})[:3]} among them are none"
            raise DataError(f"{who}: the annotator owes {size} levels of 1, 2 or 3 per text, found {problem}")
    return {one: tuple(levels) for one, levels in zip(once, readings, strict=True)}


def texts_in(item: Ugc | Pair) -> list[PromptAndText]:
    """What has to be read: the comment, or what was chosen and what was rejected."""
    if isinstance(item, Ugc):
        return [(item.prompt, item.comment)]
    return [(item.prompt, item.chosen), (item.prompt, item.rejected)]


def _item(item: Ugc | Pair, levels: Mapping[PromptAndText, Levels], size: int, where: str, again: bool) -> Item:
    bare = bare_item(item)
    if item.directions is not None and not again:
        return Item(bare.id, bare.source, check_votes(item.directions, where, size), bare.created)
    return Item(bare.id, bare.source, item_votes(item, levels), bare.created)


def _demo(about: str, levels: Mapping[PromptAndText, Levels]) -> Item:
    read = levels["", about]
    return Item(content_id("demo", about), "demo", votes_of(read, (MIDDLE,) * len(read)))


def item_votes(item: Ugc | Pair, levels: Mapping[PromptAndText, Levels]) -> Directions:
    """The votes of an item whose texts have these levels. A tie votes for no pole."""
    rows = [levels[one] for one in texts_in(item)]
    against = rows[1] if len(rows) > 1 else (MIDDLE,) * len(rows[0])
    return votes_of(rows[0], rows[0] if isinstance(item, Pair) and item.tie else against)


def votes_of(levels: Sequence[int], against: Sequence[int]) -> Directions:
    """The sign of the difference, dimension by dimension."""
    return tuple((a > b) - (a < b) for a, b in zip(levels, against, strict=True))


def read_prompts(path: Path, form: type[ConfigT], fields: Mapping[str, set[str]]) -> ConfigT:
    """A YAML file of prompts; `fields`: what each prompt must have in braces, and all it may have.

    Raises `DataError` if the file is missing or malformed, or a prompt has other fields.
    """
    if not path.is_file():
        raise DataError("no prompts here; without a file of your own the packaged ones are taken", file=path)
    try:
        prompts = form.model_validate(read_yaml(path))
    except ValidationError as error:
        raise DataError(f"this is no {form.__name__}: {error}", file=path) from error
    for key, needed in fields.items():
        if (present := set(FIELD.findall(getattr(prompts, key)))) != needed:
            raise DataError(f"has the fields {sorted(present)}, and needs {sorted(needed)}", file=path, key=key)
    return prompts


def labels_schema(space: PreferenceSpace, most: int) -> dict[str, object]:
    """The JSON schema of `{"labels": [...]}` with `most` labels or fewer. None forbids a label twice, or both poles.

    An object, since hosted servers take no list as the whole answer.
    """
    labels = [pole.label for d in space.dimensions for pole in (d.positive, d.negative)]
    listed = {"type": "array", "items": {"type": "string", "enum": labels}, "maxItems": most}
    return {"type": "object", "properties": {KEY: listed}, "required": [KEY], "additionalProperties": False}


def listed(space: PreferenceSpace) -> str:
    """The labels as a prompt lists them: one dimension a line, the positive pole first."""
    return "\n".join(f"- {d.positive.label} | {d.negative.label}" for d in space.dimensions)


def read_labels(answer: str, space: PreferenceSpace) -> tuple[Directions, Counter[str]]:
    """(directions, what was left out, by reason) of an answer by `labels_schema`; what no label names is neutral.

    A label said twice is said once; a dimension of which both poles are said is neutral and counted. Raises
    `DataError` if the answer is of another form, or lists something and no label among it; without its text.
    """
    said = _strings(answer)
    poles: dict[int, set[int]] = {}
    left_out: Counter[str] = Counter()
    for text in said:
        if (pole := _pole(text, space)) is None:
            left_out[NO_LABEL] += 1
        else:
            poles.setdefault(pole[0], set()).add(pole[1])
    if said and not poles:
        raise DataError(f"none of the {len(said)} labels in the model's answer is one of space {space.name}")
    left_out[BOTH_POLES] += sum(len(signs) > 1 for signs in poles.values())
    # Signs of both poles add up to 0, and those of no label as well. The unary plus drops reasons that occurred 0
    # times.
    return tuple(sum(poles.get(d, ())) for d in range(len(space))), +left_out


def _strings(answer: str) -> list[str]:
    try:
        said: Any = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the model's answer ({len(answer)} characters) is not JSON") from error
    labels = said.get(KEY) if isinstance(said, dict) else None
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise DataError(f"the model's answer is JSON, but no object with a list of {KEY!r}")
    return labels


def _pole(text: str, space: PreferenceSpace) -> tuple[int, int] | None:
    """(position, direction) of a text that is one label, in any case, or an alias of one."""
    try:
        directions = space.parse(text)
    except DataError:
        return None
    spoken = [(place, direction) for place, direction in enumerate(directions) if direction]
    return spoken[0] if len(spoken) == 1 else None
