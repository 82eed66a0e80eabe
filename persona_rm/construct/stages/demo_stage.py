"""Stage demo: P_DEMO for the examples of a row, by the template or by a language model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Generator
from persona_rm.construct import records
from persona_rm.construct.demo import describe
from persona_rm.construct.pairing.rules import demo
from persona_rm.construct.stages.outcome import Outcome
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example

if TYPE_CHECKING:
    from persona_rm.construct.config import DemoConfig


def template(row: dict[str, Any], space: PreferenceSpace, empty: bool) -> Outcome:
    """The examples of a row with their directions in words as description; with `empty`, without one."""
    made = []
    for entry in row["examples"]:
        example = records.to_example(entry)
        made.append(entry | {"demo": "" if empty else demo(example.directions, space)})
    return Outcome({"examples": made})


class Describe:
    """Descriptions by a language model, read back by the construction's annotator; the template if they disagree."""

    def __init__(self, annotator: Annotator, generator: Generator, config: DemoConfig, space: PreferenceSpace) -> None:
        self.annotator, self.generator, self.config, self.space = annotator, generator, config, space

    def __call__(self, rows: list[dict[str, Any] | None]) -> list[Outcome]:
        """The rows with descriptions; all examples of a batch are described in one call of the model."""
        entries = [entry for row in rows if row for entry in row["examples"]]
        examples: list[Example] = [records.to_example(entry) for entry in entries]
        described = describe(examples, self.config, self.space, self.generator, self.annotator) if examples else []
        # Descriptions are dealt out again in the order in which `entries` were collected.
        texts = iter(described)
        return [self._outcome(row, texts) for row in rows]

    def _outcome(self, row: dict[str, Any] | None, texts: Iterator[tuple[str, str]]) -> Outcome:
        if row is None:
            return Outcome()
        made, counts = [], dict[str, float]()
        for entry in row["examples"]:
            text, problem = next(texts)
            name = f"demo by template: {problem}" if problem else "demo by the model"
            counts[name] = counts.get(name, 0) + 1
            made.append(entry | {"demo": text})
        return Outcome({"examples": made}, (), counts)
