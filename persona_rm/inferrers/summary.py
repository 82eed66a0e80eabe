"""`summary`: a language model keeps one profile of the user in plain words, and reads directions back from it.

The streaming idea of AlignXplore (arXiv 2505.18071), s_{t+1} = g(s_t, new signals): the first items make a profile,
each further chunk is read with the profile before it and with nothing older, so that a long history costs one short
prompt per chunk. A second question turns the profile into labels of the space, under a JSON schema.

The profile is a text about a user, so it is user text: it is in no message, no log and no file of this module.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from persona_rm.backends.base import Backends, Generation
from persona_rm.config import Config, PathText
from persona_rm.errors import DataError
from persona_rm.inferrers.base import NO_BACKENDS, Inferrer, Posterior
from persona_rm.inferrers.evidence import Item, bare_item, distinct
from persona_rm.inferrers.item_reader import labels_schema, listed, read_labels, read_prompts
from persona_rm.io.text import fill, shorten
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc

PACKAGED = Path(__file__).with_suffix(".yaml")
CUT = "profile cut at max_tokens"
FIELDS = {
    "first": {"items"},
    "update": {"summary", "items"},
    "ugc": {"number", "prompt", "comment"},
    "pair": {"number", "prompt", "chosen", "rejected"},
    "labels": {"labels", "summary"},
}
"""The fields that each prompt must have, and all it may have."""


class SummaryPrompts(Config):
    """A whole file of prompts."""

    first: str
    update: str
    ugc: str
    pair: str
    labels: str


class SummaryConfig(Config):
    """How the profile is kept, and what a label in it is worth. No published setting: AlignXplore never reads back."""

    chunk: int = Field(8, ge=1)
    """Items per update."""
    max_chars: int = Field(1200, ge=100)
    """Of each text of an item, and of `demo`: the middle of a longer one is left out."""
    max_tokens: int = Field(400, ge=1)
    """Of a profile."""
    labels: int = Field(40, ge=1)
    """Labels that are read back, at most."""
    max_label_tokens: int = Field(1024, ge=1)
    """Of the list of labels; one that is longer is cut, and an error."""
    confidence: float = Field(0.8, gt=1 / 3, lt=1)
    """P(direction) of a direction that is said; the rest is shared by the other two."""
    silent: float = Field(0.9, gt=1 / 3, lt=1)
    """P(neutral) of a dimension that is not mentioned; the rest is shared by the poles."""
    wording: PathText | None = None
    """Another file of prompts; None is the packaged `summary.yaml`."""


class Summary(Inferrer):
    """One profile per user, updated as items come.

    A generator gives its most probable answer, so a direction is said or not: nothing tells how sure it is. The
    probabilities are the config's `confidence` and `silent`, settings that were not measured: calibrate before use.
    A user's `demo` is the profile to begin with. `unread` counts what was left out of profiles, by reason.
    """

    name: ClassVar[str] = "summary"
    Config: ClassVar[type[Config]] = SummaryConfig

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        super().__init__(config, space, backends)
        self.unread: Counter[str] = Counter()

    def items(self, persona: Persona) -> list[Item]:
        """The items without votes: the texts are read, not the directions."""
        return [bare_item(item) for item in persona.items]

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """`write` from these items of the persona, then `parse`.

        Raises `DataError` naming the user, `RecipeError` without a generator.
        """
        given = {item.id for item in items}
        ugc = tuple(one for one in persona.ugc if bare_item(one).id in given)
        pairs = tuple(one for one in persona.pairs if bare_item(one).id in given)
        return self.infer_many([replace(persona, ugc=ugc, pairs=pairs)])[0]

    def infer_many(self, personas: Iterable[Persona]) -> list[Posterior]:
        """All users' profiles chunk by chunk, then all labels, so that a generator gets few and large calls."""
        users = list(personas)
        written = self.write_many(users)
        posteriors = self._parse([(text, _user(who)) for text, who in zip(written, users, strict=True)])
        # A user with a `demo` alone has no items. Its profile then counts as the one item that `_parse` gave it.
        counts = [len(distinct(self.items(who))) for who in users]
        return [replace(one, n_items=n or one.n_items) for one, n in zip(posteriors, counts, strict=True)]

    def write(self, persona: Persona) -> str:
        """The user's profile; empty for a user about whom nothing is known. Raises `DataError` naming the user."""
        return self.write_many([persona])[0]

    def write_many(self, personas: Sequence[Persona]) -> list[str]:
        """`write` for each, one call of the generator per round of chunks."""
        said = [self._shorten(persona.demo.strip()) for persona in personas]
        # Round k holds the k-th chunk of every user. A profile is updated chunk by chunk, so only users can be asked
        # about together.
        rounds = zip_longest(*(self._chunks(persona) for persona in personas))
        for chunks in rounds:
            open_ = [(i, chunk) for i, chunk in enumerate(chunks) if chunk]
            asked = [(self._question(said[i], chunk), _user(personas[i])) for i, chunk in open_]
            for (i, _), text in zip(open_, self._profiles(asked), strict=True):
                said[i] = text
        return said

    def update(self, summary: str, items: Sequence[Ugc | Pair], user_id: str = "") -> str:
        """The profile after these items, in one step; the same profile without any. `user_id` is for messages.

        Raises `DataError` if the model gives no profile; the old one then still holds.
        """
        if not items:
            return summary
        return self._profiles([(self._question(summary, items), f"user {user_id!r}")])[0]

    def parse(self, summary: str, user_id: str = "") -> Posterior:
        """The directions that a profile says. An empty profile says nothing and is the prior.

        Labels that are none of the space are counted in `unread` and left out. Raises `DataError` if the model
        gives no list of labels, or lists only such.
        """
        return self._parse([(summary, f"user {user_id!r}")])[0]

    def _parse(self, summaries: Sequence[tuple[str, str]]) -> list[Posterior]:
        asked = [(self._labels_question(text), who) for text, who in summaries if text.strip()]
        schema = labels_schema(self.space, self.config.labels)
        # Empty profiles are not asked about, so answers are matched to the other ones in order.
        answers = iter(self._ask(asked, "labels", max_tokens=self.config.max_label_tokens, schema=schema))
        nothing = self._posterior(self.space.neutral, 0)
        return [self._posterior(self._said(next(answers), who), 1) if t.strip() else nothing for t, who in summaries]

    def _said(self, answer: Generation, who: str) -> tuple[int, ...]:
        try:
            directions, left_out = read_labels(answer.text, self.space)
        except DataError as error:
            raise DataError(f"{who}: the profile could not be read back: {error}") from error
        self.unread.update(left_out)
        return directions

    def _posterior(self, directions: tuple[int, ...], n: int) -> Posterior:
        sure, silent = self.config.confidence, self.config.silent
        rows = {way: _row(way, silent if way == 0 else sure) for way in (-1, 0, 1)}
        return Posterior(tuple(rows[way] for way in directions), directions, n_items=n)

    def _profiles(self, asked: Sequence[tuple[str, str]]) -> list[str]:
        answers = self._ask(asked, "profile", max_tokens=self.config.max_tokens)
        # An answer that took all its tokens was cut by the limit.
        self.unread[CUT] += sum(answer.output_tokens >= self.config.max_tokens for answer in answers)
        return [answer.text.strip() for answer in answers]

    def _ask(self, asked: Sequence[tuple[str, str]], what: str, **given: Any) -> list[Generation]:
        """One answer per (prompt, whom it is about). Raises `DataError` naming whom and the reason."""
        if not asked:
            return []
        generator = self.backends.need_generator("inferrer summary")
        answers = generator.generate([prompt for prompt, _ in asked], **given)
        if len(answers) != len(asked):
            raise DataError(f"the generator was asked for {len(asked)} answers and gave {len(answers)}")
        for (_, who), answer in zip(asked, answers, strict=True):
            if reason := answer.error or ("" if answer.text.strip() else "the answer is empty"):
                raise DataError(f"{who}: the model gave no {what}: {reason}")
        return answers

    @cached_property
    def _prompts(self) -> SummaryPrompts:
        return read_prompts(Path(self.config.wording) if self.config.wording else PACKAGED, SummaryPrompts, FIELDS)

    def _question(self, summary: str, items: Sequence[Ugc | Pair]) -> str:
        shown = "\n".join(self._shown(number, item) for number, item in enumerate(items, start=1))
        if not summary.strip():
            return fill(self._prompts.first, {"items": shown})
        return fill(self._prompts.update, {"summary": summary, "items": shown})

    def _labels_question(self, summary: str) -> str:
        return fill(self._prompts.labels, {"labels": listed(self.space), "summary": summary})

    def _shown(self, number: int, item: Ugc | Pair) -> str:
        if isinstance(item, Ugc):
            template, texts = self._prompts.ugc, {"comment": item.comment}
        else:
            template, texts = self._prompts.pair, {"chosen": item.chosen, "rejected": item.rejected}
        short = {key: self._shorten(text) for key, text in {"prompt": item.prompt, **texts}.items()}
        return fill(template, {"number": str(number), **short})

    def _shorten(self, text: str) -> str:
        return shorten(text, self.config.max_chars)

    def _chunks(self, persona: Persona) -> list[list[Ugc | Pair]]:
        # A prompt says of each pair which response the user preferred, so ties have no place in it.
        order = [item for item in in_time(persona) if not (isinstance(item, Pair) and item.tie)]
        size = self.config.chunk
        return [order[i : i + size] for i in range(0, len(order), size)]


def in_time(persona: Persona) -> list[Ugc | Pair]:
    """Each item once, oldest first; one without a date is older than all that have one, as `retrieval` has it."""
    once: dict[str, Ugc | Pair] = {}
    for item in persona.items:
        once.setdefault(bare_item(item).id, item)
    return sorted(once.values(), key=_when)


def _when(item: Ugc | Pair) -> float:
    when = bare_item(item).when
    return float("-inf") if when is None else when


def _user(persona: Persona) -> str:
    return f"user {persona.user_id!r}"


def _row(direction: int, sure: float) -> tuple[float, float, float]:
    rest = (1 - sure) / 2
    low, middle, high = (sure if way == direction else rest for way in (-1, 0, 1))
    return low, middle, high
