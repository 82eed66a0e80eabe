"""A preference space is a YAML file: adding a dimension, or bringing another space, is data and no code.

AlignX's own (paper, Table 6 and appendix A.3) is `alignx90`: 40 psychological, 7 alignment and 43 interest dimensions.
Mind the poles: "positive" is the first answer of the annotation question, not the nicer one (age: positive is Young).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

from persona_rm.errors import DataError
from persona_rm.types import Directions


@dataclass(frozen=True, slots=True)
class Pole:
    """One end of a dimension."""

    answer: str
    """The annotator's answer, e.g. "High"."""
    label: str
    """What published files and prompts write, e.g. "High Neuroticism"."""
    wording: str
    """A clause about a person: "is outgoing"."""
    descriptions: tuple[str, ...]
    """First-person sentences of people at this pole, for encoders."""
    aliases: tuple[str, ...] = ()
    """Other labels that files use for it."""
