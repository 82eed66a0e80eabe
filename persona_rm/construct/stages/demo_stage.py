"""Stage demo: P_DEMO for the examples of a row, by the template or by an LLM in an actor of ours."""

from pathlib import Path
from typing import Any

from persona_rm.construct import records
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.demo import describe
from persona_rm.construct.job.workers import AnnotatorSpec, Map, Outcome, annotator
from persona_rm.construct.pairing.rules import demo
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example


def template(row: dict[str, Any], space: PreferenceSpace, empty: bool) -> Outcome:
    """The pair's directions in words; with `empty`, no description."""
    made = []
    for entry in row["examples"]:
        example = records.to_example(entry)
        made.append(entry | {"demo": "" if empty else demo(example.directions, space)})
    return Outcome({"examples": made})


class Describe(Map):
    """LLM descriptions, read back by the construction's annotator; the template where they do not agree."""

    def __init__(self, told: Path, spec: AnnotatorSpec, config: ConstructConfig, space: PreferenceSpace) -> None:
        from persona_rm.backends.openai_http import HttpConfig, HttpGenerator
        from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator

        super().__init__(told, self.described)
        self.config, self.space = config.demo, space
        self.annotator = annotator(spec, self.space, 1)
        made: Any = (VllmGenerator, VllmConfig) if config.demo.by == "llm" else (HttpGenerator, HttpConfig)
        self.generator = made[0](made[1](**config.demo.generator))

    def described(self, rows: list[dict[str, Any] | None]) -> list[Outcome]:
        """All examples of a batch in one call of the model."""
        entries = [entry for row in rows if row for entry in row["examples"]]
        examples: list[Example] = [records.to_example(entry) for entry in entries]
        told = describe(examples, self.config, self.space, self.generator, self.annotator) if examples else []
        texts = iter(told)
        return [self._outcome(row, texts) for row in rows]

    def _outcome(self, row: dict[str, Any] | None, texts: Any) -> Outcome:
        if row is None:
            return Outcome()
        made, counts = [], dict[str, float]()
        for entry in row["examples"]:
            text, problem = next(texts)
            name = f"demo by template: {problem}" if problem else "demo by the model"
            counts[name] = counts.get(name, 0) + 1
            made.append(entry | {"demo": text})
        return Outcome({"examples": made}, (), counts)
