"""P_DEMO: a description of the user who prefers the chosen response (paper, section 4.2 and appendix A.3).

An LLM compares the two responses and answers in the paper's JSON. Its description is read back by the annotator of the
construction and kept only if it agrees with the pair. Otherwise the template is used: the directions in words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.backends.base import Generation, Generator
from persona_rm.construct.pairing.rules import demo, lone
from persona_rm.io.text import fill
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Directions, Example

if TYPE_CHECKING:
    from persona_rm.construct.config import DemoConfig

KEYS = ("reason", "textual persona", "dimension description", "like keywords", "dislike keywords")
TEXT = "textual persona"
FILE = Path(__file__).with_name("demo.yaml")
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 400},
        TEXT: {"type": "string", "maxLength": 800},
        "dimension description": {"type": "object", "additionalProperties": {"type": "string"}},
        "like keywords": {"type": "string"},
        "dislike keywords": {"type": "string"},
    },
    "required": [TEXT],
    "additionalProperties": False,
}


@cache
def _question() -> str:
    text: str = yaml.safe_load(FILE.read_text(encoding="utf-8"))["question"]
    return text


def question(example: Example, space: PreferenceSpace) -> str:
    """The prompt for one example."""
    # Interests are asked for as keywords, all other dimensions by their two answers.
    named = [d for d in space.dimensions if not d.id.startswith("likes_")]
    keywords = ", ".join(d.name for d in space.dimensions if d.id.startswith("likes_"))
    listed = "\n".join(f"{n}. {d.name}: ({d.positive.answer}, {d.negative.answer})" for n, d in enumerate(named, 1))
    texts = {"post": example.prompt, "first": example.chosen, "second": example.rejected}
    return fill(_question(), {"dimensions": listed, "keywords": keywords, **texts})


def described(generation: Generation) -> tuple[str, str]:
    """(description, "") of an answer, or ("", the reason why there is none)."""
    if generation.error:
        return "", "the model gave no answer"
    try:
        answer: Any = json.loads(generation.text)
    except ValueError:
        return "", "the answer is not JSON"
    text = answer.get(TEXT) if isinstance(answer, dict) else None
    return (text.strip(), "") if isinstance(text, str) and text.strip() else ("", f"the answer has no {TEXT!r}")


def agrees(text: Directions, pair: Directions, least: float) -> bool:
    """Whether a description with the directions `text` supports a pair: it mentions dimensions, and at least the share
    `least` of them (one or more) points the pair's way."""
    mentioned = [(a, b) for a, b in zip(text, pair, strict=True) if a]
    same = sum(a == b for a, b in mentioned)
    return same > 0 and same >= least * len(mentioned)


def describe(
    examples: Sequence[Example], config: DemoConfig, space: PreferenceSpace, generator: Generator, annotator: Annotator
) -> list[tuple[str, str]]:
    """(description, "") per example, or (template, why the model's description was not taken)."""
    prompts = [question(example, space) for example in examples]
    answers = [described(g) for g in generator.generate(prompts, max_tokens=config.max_tokens, schema=SCHEMA)]
    # Only what the model wrote is read back. An example without an answer gets the template in any case.
    asked = [i for i, (text, _) in enumerate(answers) if text]
    texts = [Comment(examples[i].id, answers[i][0]) for i in asked]
    readings = dict(zip(asked, annotator.read([""] * len(asked), texts) if asked else [], strict=True))
    out = []
    for i, (example, (text, problem)) in enumerate(zip(examples, answers, strict=True)):
        reason = problem or _disagreement(readings[i], example, config)
        out.append((demo(example.directions, space), reason) if reason else (text, ""))
    return out


def _disagreement(reading: Reading, example: Example, config: DemoConfig) -> str:
    """Why a description cannot stand for the pair, or ""."""
    if reading.error:
        return "the description could not be read back"
    same = agrees(lone(reading.levels), example.directions, config.agree)
    return "" if same else "the description does not agree with the pair"
