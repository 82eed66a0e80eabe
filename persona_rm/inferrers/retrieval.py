"""`retrieval`: episodic memory, in which only the items that resemble the prompt speak, under a rule for few items.

The paper sums a user up once for all prompts; CIPHER (Gao et al. 2024) keeps episodes instead, and recalls those
whose context is like the one at hand. Recall here is by likeness and by time:

    score(item) = similarity * cos(e(item), e(prompt)) + recency * 0.5 ** (age / half_life)

Age is counted from the user's newest item. PRIME reports that a summary beats episodes, and that recent episodes
beat similar ones: this member is what the others are compared with.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from persona_rm.backends.base import Backends, Encoder
from persona_rm.config import Config
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import NO_BACKENDS, Inferrer, Posterior
from persona_rm.inferrers.contexts import contexts_of, texts_of
from persona_rm.inferrers.evidence import Item, bare_item, distinct
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.inferrers.tally import DAY
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc


class VoteRule(VoteConfig):
    """The paper's vote over what is recalled."""

    name: Literal["vote"] = "vote"


class PosteriorRule(PosteriorConfig):
    """The posterior over what is recalled; its model is fitted on everything."""

    name: Literal["posterior"] = "posterior"


class RetrievalConfig(Config):
    """How many items are recalled, and by what. Both weights are shares of one score."""

    items: int = Field(8, gt=0)
    recency: float = Field(0.5, ge=0, le=1)
    similarity: float = Field(0.5, ge=0, le=1)
    """Weight of the cosine; 0 needs no encoder."""
    half_life: float = Field(90.0, gt=0)
    """Days after which an item is half as recent."""
    ugc: Literal["prompt", "reply"] = "prompt"
    """What of UGC is compared with the prompt that is asked: the prompt it answers, or that and the comment."""
    rule: Annotated[VoteRule | PosteriorRule, Field(discriminator="name")] = VoteRule()

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.recency == self.similarity == 0:
            raise ValueError("recency and similarity are both 0: nothing says which items are recalled")
        return self


class Retrieval(Inferrer):
    """The rule over the items that a prompt recalls. Behind a direction stand those of them that vote for it."""

    name: ClassVar[str] = "retrieval"
    Config: ClassVar[type[Config]] = RetrievalConfig
    by_prompt: ClassVar[bool] = True

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        super().__init__(config, space, backends)
        rule = VoteInferrer if config.rule.name == "vote" else PosteriorInferrer
        self.rule: Inferrer = rule(config.rule, space, backends)

    @property
    def learns(self) -> bool:
        """As the rule does."""
        return self.rule.learns

    def fit(self, personas: Sequence[Persona]) -> None:
        """The rule learns from whole personas."""
        self.rule.fit(personas)

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The rule's posterior of the recalled items. Raises `RecipeError` if likeness counts and there is no
        encoder, `DataError` if the rule finds fault with an item."""
        encoder = self.backends.need_encoder(self.name) if self.config.similarity else None
        order = rank(items, persona, prompt, self.config, encoder)[: self.config.items]
        posterior = self.rule.read(order, persona, prompt)
        # The ids of the rule itself are replaced: only items that were recalled can stand behind a direction.
        spoken = {dim: direction for dim, direction in enumerate(posterior.directions) if direction}
        behind = {dim: tuple(i.id for i in order if i.votes[dim] == way) for dim, way in spoken.items()}
        return replace(posterior, evidence=behind)

    def save(self, folder: Path) -> None:
        """config.json, and what the rule learned."""
        # The rule is saved first: both write config.json, and the one of this class must remain.
        self.rule.save(folder)
        super().save(folder)

    def load_learned(self, folder: Path) -> None:
        """What the rule learned."""
        self.rule.load_learned(folder)


def recall(persona: Persona, prompt: str, config: RetrievalConfig, encoder: Encoder | None = None) -> Persona:
    """The persona with only the UGC and pairs that this prompt recalls, in order of time (undated first).

    Episodic memory as text, for prompts that show items. Raises `RecipeError` if likeness counts and there is no
    encoder.
    """
    by_id: dict[str, Ugc | Pair] = {bare_item(item).id: item for item in persona.items}
    order = rank([bare_item(item) for item in persona.items], persona, prompt, config, encoder)[: config.items]
    times = {item.id: item.when for item in order}
    in_time = sorted(times, key=lambda id_: (_or_oldest(times[id_]), id_))
    kept = [by_id[id_] for id_ in in_time]
    ugc = tuple(item for item in kept if isinstance(item, Ugc))
    return replace(persona, ugc=ugc, pairs=tuple(item for item in kept if isinstance(item, Pair)))


def rank(
    items: Sequence[Item], persona: Persona, prompt: str, config: RetrievalConfig, encoder: Encoder | None
) -> list[Item]:
    """Distinct items, the first to be recalled first; ties by id. Without a prompt, or a weight for likeness, recency
    alone decides."""
    once = distinct(items)
    scores = _recency(once, config.half_life)
    if config.similarity and encoder is None:
        raise RecipeError("retrieval by similarity needs a text encoder: hand one over, or set similarity to 0")
    if once and prompt and config.similarity and encoder is not None:
        contexts = contexts_of(once, texts_of(persona, replies=config.ugc == "reply"), encoder)
        alike = (contexts @ encoder.encode([prompt])[0]).tolist() if contexts.any() else [0.0] * len(once)
        scores = [config.similarity * a + config.recency * r for a, r in zip(alike, scores, strict=True)]
    # The id decides between equal scores, so the result does not depend on the order of the items.
    order = sorted(range(len(once)), key=lambda row: (-scores[row], once[row].id))
    return [once[row] for row in order]


def _recency(items: Sequence[Item], half_life: float) -> list[float]:
    """0.5 ** (age / half_life) of each; 0 without a date, as if it were infinitely old."""
    times = [item.when for item in items]
    # Age is counted from the newest item and not from today, so that the result does not change with time.
    newest = max(map(_or_oldest, times), default=0.0)
    return [0.0 if when is None else float(0.5 ** ((newest - when) / DAY / half_life)) for when in times]


def _or_oldest(when: float | None) -> float:
    return float("-inf") if when is None else when
