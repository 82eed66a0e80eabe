"""The embedded world: people with hidden directions, their posts, replies, choices and evidence, all known.

Truth. utility(person, response) = sum over dimensions of direction x (level - 2). A choice between two responses adds
Gumbel noise of temperature `temperature` to each, so P(i over j) = sigmoid((u_i - u_j) / temperature): the accuracy of
the Bayes-optimal scorer is known. Every draw is a function of (seed, what it is for), so a world of another size
agrees with this one wherever they overlap.

Held out. "train" and "test" differ in people, in posts (by their questions) and in wordings. The evidence about a
test person uses all wordings, the responses that a method must judge for them only wordings that training never
showed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from random import Random
from typing import Literal

from pydantic import Field, field_validator

from persona_rm.config import Config
from persona_rm.errors import RecipeError
from persona_rm.simulator.noise import (
    Confusion,
    NoiseRow,
    check_confusion,
    check_overclaim,
    confusions_of,
    cumulated,
    misread,
)
from persona_rm.simulator.simulated_language import N_TRAIN_QUESTIONS, Language, Split, Topic, load_language
from persona_rm.simulator.simulated_users import PopulationKind, SimulatedUser, draw_people
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Directions, Levels, Pair, Persona, Thread, Ugc, content_id

Side = Literal["train", "test"]
CLAUSES = (3, 5)
"""How many clauses a reply has, fewest and most; those that fall on the same dimension are one."""

OWN, TOPICAL = 0.8, 0.1
"""Shares of a reply's clauses about its author's own views and about the post's topic; the rest is about anything.
Whoever speaks about a view of theirs speaks for it."""

SHARED = 0.6
"""Share of a person's views that somebody else in the same thread speaks about too, for or against."""


class SimulatorConfig(Config):
    """Size and noise of a world. Defaults are the ones that the README's figures use."""

    kind: PopulationKind = "independent"
    seed: int = 0
    users: int = Field(400, gt=0)
    test_users: int = Field(120, gt=1)
    posts: int = Field(1500, gt=0)
    replies: int = Field(6, ge=2)
    temperature: float = Field(0.6, gt=0)
    non_attitudes: float = Field(0.05, ge=0, le=1)
    """Share of evidence items that say nothing about the person."""
    confusion: Confusion = ((0.95, 0.05, 0.0), (0.0025, 0.995, 0.0025), (0.0, 0.05, 0.95))
    """P(annotated level | true level), rows and columns in the order 1, 2, 3."""
    overclaim: tuple[float, float] = (0.0, 0.0)
    """Lowest and highest rate at which an annotator reads 1 or 3 (evenly) where a text is silent: drawn log-uniform
    for each dimension of the space, in place of the middle row of `confusion`. (0, 0): that row, everywhere."""
    evidence_clauses: tuple[int, int] = CLAUSES
    """How many clauses the texts of evidence have, fewest and most; threads and what is judged keep theirs."""

    _is_stochastic = field_validator("confusion")(check_confusion)
    _has_rates = field_validator("overclaim")(check_overclaim)

    @field_validator("evidence_clauses")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError(f"`evidence_clauses` is (fewest, most) with 1 <= fewest <= most, not {list(value)}")
        return value


@dataclass(frozen=True, slots=True)
class SimulatedPost:
    """A question about a noun of a topic."""

    id: str
    text: str
    topic: Topic


@dataclass(frozen=True, slots=True)
class Choice:
    """Two responses to a post and what the person chose; `p` is the probability that they would choose so again."""

    person: SimulatedUser
    post: SimulatedPost
    chosen: Comment
    rejected: Comment
    p: float
    utilities: tuple[float, float]


class Simulator:
    """A world over a space. Constructors store; everything is drawn when asked."""

    def __init__(self, config: SimulatorConfig, space: PreferenceSpace) -> None:
        self.config, self.space = config, space
        self._posts: dict[Side, tuple[SimulatedPost, ...]] = {}

    @cached_property
    def language(self) -> Language:
        """The lexicon of this world."""
        return load_language(self.space)

    def users(self, side: Side) -> list[SimulatedUser]:
        """Everybody on one side."""
        n = self.config.users if side == "train" else self.config.test_users
        return draw_people(self.language, self.config.kind, n, self.config.seed, side)

    def posts(self, side: Side, n: int | None = None) -> list[SimulatedPost]:
        """The first `n` posts of one side (all of them by default), each with its own text."""
        if side not in self._posts:
            self._posts[side] = self._draw_posts(side)
        every = self._posts[side]
        if n is not None and n > len(every):
            raise RecipeError(f"the embedded world has {len(every)} {side} posts, {n} were asked for")
        return list(every[:n])

    def _draw_posts(self, side: Side) -> tuple[SimulatedPost, ...]:
        language, rng = self.language, self._rng("posts", side)
        known = slice(N_TRAIN_QUESTIONS) if side == "train" else slice(N_TRAIN_QUESTIONS, None)
        tones = ("", *language.tones)
        every = [
            _post(topic, noun, question, tone)
            for topic in language.topics
            for noun, question, tone in product(topic.nouns, language.questions[known], tones)
        ]
        rng.shuffle(every)
        return tuple(every)

    def threads(self, side: Side = "train") -> Iterator[Thread]:
        """Posts with the replies of `replies` people each; every comment carries its true levels."""
        people = self.users(side)
        for post in self.posts(side, self.config.posts if side == "train" else None):
            authors = self._rng("authors", post.id).sample(people, min(self.config.replies, len(people)))
            replies = tuple(self.reply(author, post, side) for author in authors)
            yield Thread(id=post.id, source="simulator", prompt=post.text, comments=replies)

    def reply(
        self,
        author: SimulatedUser,
        post: SimulatedPost,
        split: Split,
        salt: str = "",
        own: float = OWN,
        clauses: tuple[int, int] = CLAUSES,
    ) -> Comment:
        """What this person writes under this post; `own` is the share of clauses about their own views.

        Who changes with time writes as they were when they wrote.
        """
        rng = self._rng("reply", post.id, author.id, salt)
        when = self._when(author, post, salt)
        intensities = self._intensities(author.at(post.topic.name, when), post.topic, own, clauses, rng)
        text = self.language.write(intensities, split, rng)
        created = when or _date(rng)
        levels = self.language.levels(intensities)
        return Comment(content_id(post.id, author.id, salt), text, author=author.id, created=created, levels=levels)

    def _when(self, person: SimulatedUser, post: SimulatedPost, salt: str) -> str:
        """The date of what somebody who changes with time does: it decides who they are. Empty for all others."""
        return _date(self._rng("when", person.id, post.id, salt)) if person.until else ""

    def _intensities(
        self, author: SimulatedUser, topic: Topic, own: float, clauses: tuple[int, int], rng: Random
    ) -> dict[int, int]:
        said: dict[int, int] = {}
        for _ in range(rng.randint(*clauses)):
            draw = rng.random()
            views = author.held if draw < own else ()
            dim = rng.choice(views or (topic.dims if draw < own + TOPICAL else self.language.active))
            said.setdefault(dim, author.directions[dim] or rng.choice((-1, 1)))
        return said

    def utility(self, person: SimulatedUser, levels: Levels, post: SimulatedPost | None = None) -> float:
        """How much this person likes a text of these levels: the truth that rewards are held against.

        People with two tastes like by the one that holds under `post`; without a post, by the main one.
        """
        here = person.at(post.topic.name) if post else person
        return float(sum(here.directions[dim] * (levels[dim] - 2) for dim in here.held))

    def choose(
        self,
        person: SimulatedUser,
        post: SimulatedPost,
        split: Split,
        salt: str,
        created: str = "",
        clauses: tuple[int, int] = CLAUSES,
    ) -> Choice | None:
        """A noisy choice between the two of six replies of others that this person likes most and least.

        People read threads about what they care about: the others speak about much of it too, for or against. None
        where they like all six alike. `created`: when (ISO; empty: now), for those who change with time.
        """
        here = person.at(post.topic.name, created)
        rng = self._rng("choice", person.id, post.id, salt)
        strangers = draw_people(self.language, "independent", 6, rng.randrange(2**30), "stranger")
        others = [_in_thread_with(here, stranger, rng) for stranger in strangers]
        replies = [self.reply(other, post, split, f"{person.id}/{salt}", clauses=clauses) for other in others]
        liked = [self.utility(here, reply.levels or ()) for reply in replies]
        best, worst = liked.index(max(liked)), liked.index(min(liked))
        if liked[best] == liked[worst]:
            return None
        p = 1 / (1 + math.exp((liked[worst] - liked[best]) / self.config.temperature))
        won = rng.random() < p
        first, second = (best, worst) if won else (worst, best)
        utilities = liked[first], liked[second]
        return Choice(person, post, replies[first], replies[second], p if won else 1 - p, utilities)

    def persona(
        self, person: SimulatedUser, side: Side, n_ugc: int = 16, n_pairs: int = 16, avoid: str = ""
    ) -> Persona:
        """The evidence about a person: what they wrote, what they chose, and a line about them.

        `avoid` is the post that they will be asked about: none of the evidence comes from it.
        """
        split: Split = "train" if side == "train" else "any"
        rng = self._rng("evidence", person.id, avoid)
        posts = [post for post in self.posts(side) if post.id != avoid]
        rng.shuffle(posts)
        ugc = [self._ugc(person, post, split, i) for i, post in enumerate(posts[:n_ugc])]
        pairs: list[Pair] = []
        for post in posts[n_ugc:]:
            if len(pairs) == n_pairs:
                break
            if pair := self._pair(person, post, split):
                pairs.append(pair)
        return Persona(person.id, tuple(ugc), tuple(pairs), self._demo(person, rng), person.directions)

    def _ugc(self, person: SimulatedUser, post: SimulatedPost, split: Split, i: int) -> Ugc:
        author = self._nobody(person, post) if self._non_attitude(person, post) else person
        comment = self.reply(author, post, split, f"ugc/{person.id}/{i}", clauses=self.config.evidence_clauses)
        return Ugc(post.text, comment.text, self._annotate(comment), comment.created)

    def _pair(self, person: SimulatedUser, post: SimulatedPost, split: Split) -> Pair | None:
        when = self._when(person, post, "evidence")
        choice = self.choose(person, post, split, "evidence", when, self.config.evidence_clauses)
        if choice is None:
            return None
        chosen, rejected = choice.chosen, choice.rejected
        coin = self._rng("coin", person.id, post.id)
        if self._non_attitude(person, post) and coin.random() < 0.5:
            chosen, rejected = rejected, chosen
        pairs = zip(self.noisy_levels(chosen), self.noisy_levels(rejected), strict=True)
        directions = tuple((a > b) - (a < b) for a, b in pairs)
        return Pair(post.text, chosen.text, rejected.text, directions, when or chosen.created)

    def _annotate(self, comment: Comment) -> Directions:
        return tuple((level > 2) - (level < 2) for level in self.noisy_levels(comment))

    def noisy_levels(self, comment: Comment) -> Levels:
        """The comment's levels as an annotator with this world's `confusions` reads them."""
        return misread(comment.levels, self._sums, self._rng("annotator", comment.id)) if comment.levels else ()

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """P(annotated level | true level) of each dimension: the truth about the annotator."""
        return confusions_of(self.config.confusion, self.config.overclaim, self.config.seed, self.space.ids)

    @cached_property
    def _sums(self) -> tuple[tuple[NoiseRow, ...], ...]:
        return tuple(map(cumulated, self.confusions))

    def _non_attitude(self, person: SimulatedUser, post: SimulatedPost) -> bool:
        return self._rng("attitude", person.id, post.id).random() < self.config.non_attitudes

    def _nobody(self, person: SimulatedUser, post: SimulatedPost) -> SimulatedUser:
        return draw_people(self.language, "independent", 1, self.config.seed, f"nobody-{person.id}-{post.id}")[0]

    def _demo(self, person: SimulatedUser, rng: Random) -> str:
        told = sorted(rng.sample(person.held, min(len(person.held), rng.randint(2, 4))))
        poles = (self.space.dimensions[dim] for dim in told)
        words = [
            (p.positive if person.directions[d] > 0 else p.negative).wording for d, p in zip(told, poles, strict=True)
        ]
        return f"A person who {', '.join(words[:-1])} and {words[-1]}."

    def choices(self, per_person: int) -> Iterator[Choice]:
        """The test: `per_person` choices of each test person under test posts, in test wordings."""
        posts = self.posts("test")
        for person in self.users("test"):
            made = 0
            for post in self._rng("asked", person.id).sample(posts, len(posts)):
                if made == per_person:
                    break
                if choice := self.choose(person, post, "test", "asked"):
                    made += 1
                    yield choice

    def _rng(self, *what: str) -> Random:
        return Random("/".join((str(self.config.seed), *what)))


def _in_thread_with(person: SimulatedUser, stranger: SimulatedUser, rng: Random) -> SimulatedUser:
    """The stranger with opinions on some of what the person cares about, and half as many on other things."""
    views = tuple(
        rng.choice((-1, 1)) if held and rng.random() < SHARED else other * (not held and rng.random() < 0.5)
        for held, other in zip(person.directions, stranger.directions, strict=True)
    )
    return replace(stranger, directions=views)


def _date(rng: Random) -> str:
    return f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T00:00:00"


def _post(topic: Topic, noun: str, question: str, tone: str) -> SimulatedPost:
    text = question.replace("<n>", noun) + (f". {tone}" if tone else "") + "?"
    return SimulatedPost(content_id("post", topic.name, text), text, topic)
