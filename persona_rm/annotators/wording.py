"""The prompts of the annotators that ask a language model: a YAML file (`prompted.yaml`) over a preference space."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.text import fill
from persona_rm.io.yaml_file import read_yaml
from persona_rm.space import Dimension, PreferenceSpace

PromptForm = Literal["questions", "json", "compact"]
Level = Annotated[int, Field(ge=1, le=3)]

PACKAGED = Path(__file__).with_name("prompted.yaml")
OPTIONS = re.compile(r"\(1\).+\(2\).+\(3\)", re.S)


class WorkedExample(Config):
    """A comment whose levels are known, by dimension id; 2 is asked about in `questions` only."""

    post: str
    comment: str
    levels: dict[str, Level]


class Wording(Config):
    """One way to ask. `codes`: what the model writes -> level."""

    codes: dict[str, Level]
    head: str
    example: str
    query: str
    task: str = ""
    dimension: str = ""
    between: str
    last: str


class WordingFile(Config):
    """A whole file: two wordings per form."""

    examples: tuple[WorkedExample, ...]
    questions: tuple[Wording, Wording]
    # `json` is a method of pydantic's models, so the field has another name than the form.
    json_: tuple[Wording, Wording]
    compact: tuple[Wording, Wording]


def read_wording(path: Path) -> WordingFile:
    """The file at `path`. Raises DataError."""
    if not path.is_file():
        raise DataError("no wording here; the packaged one is annotators/prompted.yaml", file=path)
    data = read_yaml(path)
    try:
        return WordingFile.model_validate({"json_" if key == "json" else key: data[key] for key in data})
    except (ValidationError, TypeError) as error:
        raise DataError(f"this is no wording of annotation prompts: {error}", file=path) from error


@dataclass(frozen=True)
class PromptWriter:
    """Renders one wording over one space. `opening` is the same for all comments, `tasks` for all posts."""

    wording: Wording
    form: PromptForm
    space: PreferenceSpace
    examples: tuple[WorkedExample, ...]

    @cached_property
    def opening(self) -> str:
        """Everything before the post."""
        shown = [kept for example in self.examples if (kept := self._known(example))]
        worked = [self._example(number, *pair) for number, pair in enumerate(shown, start=1)]
        lines = "".join(fill(self.wording.dimension, words(n, d)) for n, d in enumerate(self.space.dimensions, 1))
        return fill(self.wording.head, {"dimensions": lines}) + "".join(worked) + (self.wording.last if worked else "")

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """What follows the comment: one text per dimension in `questions`, else one empty text."""
        if self.form != "questions":
            return ("",)
        return tuple(fill(self.wording.task, words(n, d)) for n, d in enumerate(self.space.dimensions, start=1))

    def prompts(self, post: str, comment: str) -> list[str]:
        """The prompts of one comment; all begin alike, up to the task."""
        common = self.opening + fill(self.wording.query, {"post": post, "comment": comment})
        return [common + task for task in self.tasks]

    def _known(self, example: WorkedExample) -> tuple[WorkedExample, dict[int, int]] | None:
        """(example, position -> level) on the dimensions that this space has; None where it has none of them."""
        known = {self.space.index(id): level for id, level in example.levels.items() if id in self.space.ids}
        return (example, known) if known else None

    def _example(self, number: int, example: WorkedExample, levels: Mapping[int, int]) -> str:
        said = {"post": example.post, "comment": example.comment}
        text = fill(self.wording.example, {"number": str(number)}) + fill(self.wording.query, said)
        if self.form == "questions":
            code = {level: option for option, level in self.wording.codes.items()}
            answered = [self.tasks[place] + code[level] + self.wording.between for place, level in levels.items()]
            return text + "".join(answered)
        return text + written(levels, self.wording.codes, self.form) + self.wording.between


def asker(file: WordingFile, form: PromptForm, space: PreferenceSpace, variant: int, examples: bool) -> PromptWriter:
    """The prompts of a form and a variant, with or without worked examples."""
    wordings = {"questions": file.questions, "json": file.json_, "compact": file.compact}[form]
    return PromptWriter(wordings[variant], form, space, file.examples if examples else ())


def written(levels: Mapping[int, int], codes: Mapping[str, int], form: PromptForm) -> str:
    """The answer of `json` or `compact` that says these levels (position -> level); 2 is not said."""
    code = {level: text for text, level in codes.items()}
    said = sorted((place + 1, code[level]) for place, level in levels.items() if level != 2)
    if form == "json":
        return "{" + ",".join(f'"{number}":{text}' for number, text in said) + "}"
    return "[" + ",".join(f"{'-' if text == '-' else ''}{number}" for number, text in said) + "]"


def words(number: int, dimension: Dimension) -> dict[str, str]:
    """What a wording may say of a dimension."""
    positive, negative = dimension.positive, dimension.negative
    options = f" (1) {positive.answer} (2) {negative.answer} (3) Comments alone cannot reflect"
    return {
        "number": str(number),
        "name": dimension.name,
        # Most questions of the space spell out their options already.
        "question": dimension.question + ("" if OPTIONS.search(dimension.question) else options),
        "positive_label": positive.label,
        "negative_label": negative.label,
    }


def schema(form: PromptForm, codes: Sequence[str], n: int) -> dict[str, object]:
    """The JSON schema of an answer of `json` or `compact` over `n` dimensions."""
    if form == "json":
        value = {"type": "integer", "enum": sorted(map(int, codes))}
        numbers = {str(number): value for number in range(1, n + 1)}
        return {"type": "object", "properties": numbers, "additionalProperties": False}
    # Numbers from 1 on, because 0 has no sign.
    signed = [*range(1, n + 1), *range(-1, -n - 1, -1)]
    return {"type": "array", "items": {"type": "integer", "enum": signed}, "maxItems": n}
