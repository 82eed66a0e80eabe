"""What methods on frozen features read in a response: its encoding and, if asked for, eight surface features.

Surface features say how a text is written: length, lines, list items, exclamation and question marks, first person,
length of words, markup. A sentence encoder hears little of them, and real users' choices among answers of language
models depend on them (LLMFAO: the personal gain over the pooled reward came from such features).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from persona_rm.backends.base import Encoder, Vectors

Features = Literal["encoder", "encoder+surface"]
TextPart = Literal["both", "response"]
"""What is embedded. "both" puts the response first: encoders cut long texts at the end."""
SURFACE = ("words", "lines", "list_items", "exclamations", "questions", "first_person", "word_length", "markup")
SHARE = 0.3
"""The weight of one standardised surface feature beside an encoding of length one."""
WORD = re.compile(r"\w+")
LIST_ITEM = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s", re.MULTILINE)
FIRST_PERSON = re.compile(r"\bI\b")
Floats = npt.NDArray[np.float64]


def surface(text: str) -> list[float]:
    """The surface features of a text, in the order of `SURFACE`; counts are log(1 + count)."""
    words = WORD.findall(text)
    counts = (
        len(words),
        text.count("\n"),
        len(LIST_ITEM.findall(text)),
        text.count("!"),
        text.count("?"),
        len(FIRST_PERSON.findall(text)),
    )
    length = sum(map(len, words)) / max(1, len(words))
    return [*np.log1p(counts).tolist(), length, float(np.log1p(text.count("`") + text.count("*")))]


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """Turns (prompt, response) into a row. `scaling` are means and standard deviations of the surface features, shape
    (2, len(SURFACE)); None leaves them out."""

    encoder: Encoder
    part: TextPart = "both"
    scaling: Floats | None = None

    def rows(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """Features of shape (n, width), float32. A text that comes often is embedded once."""
        joined = [response if self.part == "response" else f"{response}\n\n{prompt}" for prompt, response in texts]
        if not joined:
            return np.zeros((0, 0), np.float32)
        unique = list(dict.fromkeys(joined))
        place = {text: i for i, text in enumerate(unique)}
        encoded = self.encoder.encode(unique)[[place[text] for text in joined]]
        if self.scaling is None:
            return encoded
        read = {response: surface(response) for response in {response for _, response in texts}}
        mean, deviation = self.scaling
        written = (np.array([read[response] for _, response in texts]) - mean) / deviation * SHARE
        return np.concatenate([encoded, written.astype(np.float32)], axis=1)


def surface_scaling(responses: Sequence[str]) -> Floats:
    """Means and standard deviations of the surface features over distinct responses; 1 for a constant feature."""
    rows = np.array([surface(text) for text in dict.fromkeys(responses)])
    deviation = rows.std(0)
    return np.stack([rows.mean(0), np.where(deviation > 1e-9, deviation, 1.0)])
