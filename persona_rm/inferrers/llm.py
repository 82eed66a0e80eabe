"""`llm`: the paper's inference for text without annotations (AlignX, section 5): read every item, then vote."""

from typing import ClassVar, Literal

from persona_rm.config import Config
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.item_reader import annotated_items
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.types import Persona


class LlmInferrerConfig(VoteConfig):
    """The vote's thresholds, and what is read."""

    then: Literal["vote"] = "vote"
    """The rule over the items."""
    again: bool = False
    """Read items that carry directions too, instead of keeping those."""
    demo: bool = True
    """The demographic text is one more item: the paper averages over it as over the others."""


class Llm(VoteInferrer):
    """`vote` over directions that the annotator of the recipe reads: a language model, a server, or the encoder."""

    name: ClassVar[str] = "llm"
    Config: ClassVar[type[Config]] = LlmInferrerConfig

    def items(self, persona: Persona) -> list[Item]:
        """The persona's items; all texts without directions in one call of the annotator.

        Raises `RecipeError` without an annotator, `DataError` naming the user if it fails.
        """
        reader = self.backends.need_reader("inferrer llm")
        return annotated_items(persona, self.space, reader, self.config.again, self.config.demo)
