"""`simulator`: reads the intensities of simulated text by the simulator's own wordings, generated answers included."""

from collections.abc import Sequence
from typing import ClassVar

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Comment


class SimulatorAnnotator(Annotator):
    """Exact on text of the simulator; "cannot reflect" on every dimension of any other text."""

    name: ClassVar[str] = "simulator"

    def read(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int = 0) -> list[Reading]:
        """`Language.read_levels` of every comment, with confidence 1; both variants are the same."""
        self.check(prompts, comments, variant)
        language, sure = load_language(self.space), (1.0,) * len(self.space)
        return [Reading(language.read_levels(comment.text), sure) for comment in comments]
