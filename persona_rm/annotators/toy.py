"""The embedded world read back: intensities by the world's own wordings, so that generated answers can be annotated
too."""

from collections.abc import Sequence
from typing import ClassVar

from persona_rm.annotators.base import Annotator
from persona_rm.types import Comment, Levels
from persona_rm.world.language import load_language


class ToyAnnotator(Annotator):
    """Exact on text of the embedded world; "cannot reflect" everywhere on any other text."""

    name: ClassVar[str] = "toy"

    def annotate(self, prompts: Sequence[str], comments: Sequence[Comment]) -> list[Levels]:
        """`Language.read_levels` of every comment."""
        language = load_language(self.space)
        return [language.read_levels(comment.text) for comment in comments]
