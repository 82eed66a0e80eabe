"""The contract of an annotator: texts -> intensity 1..3 per dimension with a confidence, or an error for that row."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from persona_rm.annotators.cost import Cost
from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError, RecipeError
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Comment, Levels


@dataclass(frozen=True, slots=True)
class Reading:
    """What an annotator read in one comment: a level and a confidence (0 to 1) per dimension, or why it could not."""

    levels: Levels = ()
    confidence: tuple[float, ...] = ()
    error: str = ""
    """What is wrong, said of the comment ("is empty"), without its text: reasons are few and are counted."""
    cut: int = 0
    """Characters of post and comment that the annotator left out because they were too long for it."""


VARIANTS = (0, 1)
WARM = Comment("warm-up", "Hello.")


class Annotator(ABC):
    """Reads the intensity of each comment on each dimension (paper, section 4.1 (1); L = 3)."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    reads_text: ClassVar[bool] = True
    """False for an annotator that only passes on the levels that a text already carries."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends) -> None:
        self.config, self.space, self.backends = config, space, backends

    @property
    def neutral(self) -> Reading:
        """The reading of a comment without text, which no model needs to be asked about."""
        return Reading((MIDDLE,) * len(self.space), (1.0,) * len(self.space))

    @abstractmethod
    def read(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int = 0) -> list[Reading]:
        """One reading per comment, same order. A comment that cannot be read has `error` and nothing else.

        A comment without text is `neutral`: a policy may answer nothing, and that says nothing about any dimension.

        `variant` 1 asks the same in other words: levels that differ between the two are no attitudes (test-retest).
        Raises RecipeError if the annotator has only one way to ask, or is set up wrong.
        """

    def annotate(self, prompts: Sequence[str], comments: Sequence[Comment]) -> list[Levels]:
        """The levels alone. Raises DataError naming the first comment that could not be read."""
        readings = self.read(prompts, comments)
        for comment, reading in zip(comments, readings, strict=True):
            if reading.error:
                raise DataError(f"comment {comment.id!r} {reading.error}")
        return [reading.levels for reading in readings]

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        """`annotate` for bare texts: the `LevelReader` that methods see.

        A text without any word is read as neutral on every dimension: a policy may give an empty answer, and that
        answer shows nothing. `read` reports such a comment as an error, because construction must not keep it.
        """
        given = list(zip(prompts, texts, strict=True))
        rows = [i for i, text in enumerate(texts) if text.strip() or not self.reads_text]
        comments = [Comment(id=str(i), text=texts[i]) for i in rows]
        levels = dict(zip(rows, self.annotate([prompts[i] for i in rows], comments), strict=True)) if rows else {}
        neutral = (MIDDLE,) * len(self.space)
        return [levels.get(i, neutral) for i in range(len(given))]

    def cost(self, prompts: Sequence[str], comments: Sequence[Comment]) -> Cost:
        """What reading these comments takes: the seconds measured, and no tokens where no language model is asked.

        Another text is read beforehand: loading is no cost of a comment. A text that this process has read before may
        be cheaper than a new one.
        """
        self.read([""], [WARM])
        started = time.perf_counter()
        self.read(prompts, comments)
        return Cost(seconds=time.perf_counter() - started)

    def check(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int) -> None:
        """Raises DataError for prompts that are not one per comment, `RecipeError` for a variant unknown here."""
        if len(prompts) != len(comments):
            raise DataError(f"{len(prompts)} prompts for {len(comments)} comments; give one each")
        if variant not in VARIANTS:
            raise RecipeError(f"annotator {self.name} has no variant {variant!r}; there is: 0, 1")
