"""The simulator: users with hidden directions, and their posts, replies, choices and evidence, all with known truth.

Truth. utility(user, response) = sum over dimensions of direction x (level - 2). A choice between two responses adds
Gumbel noise of temperature `temperature` to each, so P(i over j) = sigmoid((u_i - u_j) / temperature), and the
accuracy of the Bayes-optimal scorer is known. Every draw depends on (seed, its purpose) only, so simulators of
different sizes agree wherever they overlap.

Held out. "train" and "test" differ in users, in posts (by their questions) and in wordings. The evidence about a
test user uses all wordings; the responses that a method must judge use only wordings that training never showed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from random import Random
from typing import Literal

from pydantic import Field, field_validator

from persona_rm.config import Config
from persona_rm.errors import RecipeError
from persona_rm.maths import sigmoid
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
from persona_rm.simulator.simulated_users import PopulationKind, SimulatedUser, draw_users
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Comment, Levels, Pair, Persona, Thread, Ugc, content_id

Side = Literal["train", "test"]
CLAUSES = (3, 5)
"""Smallest and largest number of clauses of a reply; clauses on the same dimension are merged into one."""

OWN, TOPICAL = 0.8, 0.1
"""Shares of a reply's clauses about its author's own views and about the post's topic; the rest is about anything.
Authors always speak in favour of their own views."""

SHARED = 0.6
"""Share of a user's views on which another author in the same thread has a view too, for or against."""


class SimulatorConfig(Config):
    """Size and noise of the simulation. The figures in the README use the defaults."""

    kind: PopulationKind = "independent"
    seed: int = 0
    users: int = Field(400, gt=0)
    test_users: int = Field(120, gt=1)
    posts: int = Field(1500, gt=0)
    replies: int = Field(6, ge=2)
    temperature: float = Field(0.6, gt=0)
    non_attitudes: float = Field(0.05, ge=0, le=1)
    """Share of evidence items that carry no information about the user."""
    confusion: Confusion = ((0.95, 0.05, 0.0), (0.0025, 0.995, 0.0025), (0.0, 0.05, 0.95))
    """P(annotated level | true level), rows and columns in the order 1, 2, 3."""
    overclaim: tuple[float, float] = (0.0, 0.0)
    """Lowest and highest rate at which an annotator reads 1 or 3 (evenly) although a text is silent: drawn log-uniform
    for each dimension of the space, in place of the middle row of `confusion`. (0, 0) keeps that row everywhere."""
    evidence_clauses: tuple[int, int] = CLAUSES
    """Smallest and largest number of clauses of an evidence text; threads and judged responses are not affected."""

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
    """A post: a question about a noun of a topic."""

    id: str
    text: str
    topic: Topic


@dataclass(frozen=True, slots=True)
class Choice:
    """Two responses to a post and the user's choice; `p` is the probability that the user would choose so again."""

    user: SimulatedUser
    post: SimulatedPost
    chosen: Comment
    rejected: Comment
    p: float
    utilities: tuple[float, float]


class Simulator:
    """Simulated users and a forum over a space. The constructor draws nothing; everything is drawn on demand."""

    def __init__(self, config: SimulatorConfig, space: PreferenceSpace) -> None:
        self.config, self.space = config, space
        self._posts: dict[Side, tuple[SimulatedPost, ...]] = {}

    @cached_property
    def language(self) -> Language:
        """The lexicon over this simulator's space."""
        return load_language(self.space)

    def users(self, side: Side) -> list[SimulatedUser]:
        """All users of one side."""
        n = self.config.users if side == "train" else self.config.test_users
        return draw_users(self.language, self.config.kind, n, self.config.seed, side)

    def posts(self, side: Side, n: int | None = None) -> list[SimulatedPost]:
        """The first `n` posts of one side (all of them by default), each with its own text.

        Raises RecipeError if the side has fewer posts.
        """
        if side not in self._posts:
            self._posts[side] = self._draw_posts(side)
        every = self._posts[side]
        if n is not None and n > len(every):
            raise RecipeError(f"the simulator has {len(every)} {side} posts, {n} were asked for")
        return list(every[:n])

    def _draw_posts(self, side: Side) -> tuple[SimulatedPost, ...]:
        language, rng = self.language, self._rng("posts", side)
        # No question is on both sides, so no text of a post is.
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
        """Posts with replies of `replies` users each; every comment carries its true levels."""
        users = self.users(side)
        for post in self.posts(side, self.config.posts if side == "train" else None):
            authors = self._rng("authors", post.id).sample(users, min(self.config.replies, len(users)))
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
        """What this user writes under this post; `own` is the share of clauses about the author's own views.

        A user whose views change with time writes with the views of the comment's date.
        """
        rng = self._rng("reply", post.id, author.id, salt)
        when = self._when(author, post, salt)
        intensities = self._intensities(author.at(post.topic.name, when), post.topic, own, clauses, rng)
        text = self.language.write(intensities, split, rng)
        created = when or _date(rng)
        levels = self.language.levels(intensities)
        return Comment(content_id(post.id, author.id, salt), text, author=author.id, created=created, levels=levels)

    def _when(self, user: SimulatedUser, post: SimulatedPost, salt: str) -> str:
        """The date of an action of a user whose views change with time: it decides which views hold. Else empty."""
        return _date(self._rng("when", user.id, post.id, salt)) if user.until else ""

    def _intensities(
        self, author: SimulatedUser, topic: Topic, own: float, clauses: tuple[int, int], rng: Random
    ) -> dict[int, int]:
        said: dict[int, int] = {}
        for _ in range(rng.randint(*clauses)):
            draw = rng.random()
            views = author.held if draw < own else ()
            dim = rng.choice(views or (topic.dims if draw < own + TOPICAL else self.language.active))
            # The first clause about a dimension decides: a text never speaks for both poles.
            said.setdefault(dim, author.directions[dim] or rng.choice((-1, 1)))
        return said

    def utility(self, user: SimulatedUser, levels: Levels, post: SimulatedPost | None = None) -> float:
        """How much this user likes a text of these levels: the truth to which rewards are compared.

        For users with two sets of directions the one that holds under `post` counts; without a post, the main one.
        """
        here = user.at(post.topic.name) if post else user
        return float(sum(here.directions[dim] * (levels[dim] - 2) for dim in here.held))

    def choose(
        self,
        user: SimulatedUser,
        post: SimulatedPost,
        split: Split,
        salt: str,
        created: str = "",
        clauses: tuple[int, int] = CLAUSES,
    ) -> Choice | None:
        """A noisy choice between two of six replies of other authors: those that this user likes most and least.

        Users read threads about what they care about, so the other authors have views on much of it too, for or
        against. Returns None if the user likes all six equally. `created` is the date (ISO; empty: now) for users
        whose views change with time.
        """
        here = user.at(post.topic.name, created)
        rng = self._rng("choice", user.id, post.id, salt)
        # A seed from the choice's own generator: every choice has authors of its own.
        drawn = draw_users(self.language, "independent", 6, rng.randrange(2**30), "stranger")
        others = [_in_thread_with(here, author, rng) for author in drawn]
        replies = [self.reply(other, post, split, f"{user.id}/{salt}", clauses=clauses) for other in others]
        liked = [self.utility(here, reply.levels or ()) for reply in replies]
        best, worst = liked.index(max(liked)), liked.index(min(liked))
        if liked[best] == liked[worst]:
            return None
        # The difference of two Gumbel draws is logistic, hence the sigmoid.
        p = sigmoid((liked[best] - liked[worst]) / self.config.temperature)
        won = rng.random() < p
        first, second = (best, worst) if won else (worst, best)
        utilities = liked[first], liked[second]
        return Choice(user, post, replies[first], replies[second], p if won else 1 - p, utilities)

    def persona(self, user: SimulatedUser, side: Side, n_ugc: int = 16, n_pairs: int = 16, avoid: str = "") -> Persona:
        """The evidence about a user: comments, choices, and a one-line description.

        `avoid` is the post on which the user will be judged: no evidence comes from it.
        """
        split: Split = "train" if side == "train" else "any"
        # `avoid` is part of the seed, so that each judged choice has evidence of its own.
        rng = self._rng("evidence", user.id, avoid)
        posts = [post for post in self.posts(side) if post.id != avoid]
        rng.shuffle(posts)
        ugc = [self._ugc(user, post, split, i) for i, post in enumerate(posts[:n_ugc])]
        pairs: list[Pair] = []
        # Choices are made under other posts than the comments. A post whose replies the user likes equally gives none,
        # so as many posts are tried as it takes.
        for post in posts[n_ugc:]:
            if len(pairs) == n_pairs:
                break
            if pair := self._pair(user, post, split):
                pairs.append(pair)
        return Persona(user.id, tuple(ugc), tuple(pairs), self._demo(user, rng), user.directions)

    def _ugc(self, user: SimulatedUser, post: SimulatedPost, split: Split, i: int) -> Ugc:
        author = self._unrelated(user, post) if self._non_attitude(user, post) else user
        comment = self.reply(author, post, split, f"ugc/{user.id}/{i}", clauses=self.config.evidence_clauses)
        directions = tuple((level > MIDDLE) - (level < MIDDLE) for level in self.noisy_levels(comment))
        return Ugc(post.text, comment.text, directions, comment.created)

    def _pair(self, user: SimulatedUser, post: SimulatedPost, split: Split) -> Pair | None:
        when = self._when(user, post, "evidence")
        choice = self.choose(user, post, split, "evidence", when, self.config.evidence_clauses)
        if choice is None:
            return None
        chosen, rejected = choice.chosen, choice.rejected
        # Half of the choices without an attitude turn out as the user's own would: a choice that carries no
        # information is a fair coin.
        coin = self._rng("coin", user.id, post.id)
        if self._non_attitude(user, post) and coin.random() < 0.5:
            chosen, rejected = rejected, chosen
        pairs = zip(self.noisy_levels(chosen), self.noisy_levels(rejected), strict=True)
        directions = tuple((a > b) - (a < b) for a, b in pairs)
        return Pair(post.text, chosen.text, rejected.text, directions, when or chosen.created)

    def noisy_levels(self, comment: Comment) -> Levels:
        """The comment's levels as an annotator with the confusion matrices `confusions` reads them."""
        return misread(comment.levels, self._sums, self._rng("annotator", comment.id)) if comment.levels else ()

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """P(annotated level | true level) of each dimension: the truth about the annotator."""
        return confusions_of(self.config.confusion, self.config.overclaim, self.config.seed, self.space.ids)

    @cached_property
    def _sums(self) -> tuple[tuple[NoiseRow, ...], ...]:
        return tuple(map(cumulated, self.confusions))

    def _non_attitude(self, user: SimulatedUser, post: SimulatedPost) -> bool:
        return self._rng("attitude", user.id, post.id).random() < self.config.non_attitudes

    def _unrelated(self, user: SimulatedUser, post: SimulatedPost) -> SimulatedUser:
        """An author with other views: what this author writes says nothing about the user."""
        return draw_users(self.language, "independent", 1, self.config.seed, f"nobody-{user.id}-{post.id}")[0]

    def _demo(self, user: SimulatedUser, rng: Random) -> str:
        # Some of the views only: a description tells less than the truth.
        told = sorted(rng.sample(user.held, min(len(user.held), rng.randint(2, 4))))
        poles = (self.space.dimensions[dim] for dim in told)
        words = [
            (p.positive if user.directions[d] > 0 else p.negative).wording for d, p in zip(told, poles, strict=True)
        ]
        return f"A person who {', '.join(words[:-1])} and {words[-1]}."

    def choices(self, per_user: int) -> Iterator[Choice]:
        """The test set: `per_user` choices of each test user under test posts, in test wordings."""
        posts = self.posts("test")
        for user in self.users("test"):
            made = 0
            # All posts in drawn order, because some give no choice and are passed over.
            for post in self._rng("asked", user.id).sample(posts, len(posts)):
                if made == per_user:
                    break
                if choice := self.choose(user, post, "test", "asked"):
                    made += 1
                    yield choice

    def _rng(self, *what: str) -> Random:
        # Python's generator is seeded by the text itself, not by its hash, so it is the same in every process.
        return Random("/".join((str(self.config.seed), *what)))


def _in_thread_with(user: SimulatedUser, author: SimulatedUser, rng: Random) -> SimulatedUser:
    """The author with views on some of what the user cares about, and on half as many other things as before."""
    views = tuple(
        rng.choice((-1, 1)) if held and rng.random() < SHARED else other * (not held and rng.random() < 0.5)
        for held, other in zip(user.directions, author.directions, strict=True)
    )
    return replace(author, directions=views)


def _date(rng: Random) -> str:
    return f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T00:00:00"


def _post(topic: Topic, noun: str, question: str, tone: str) -> SimulatedPost:
    text = question.replace("<n>", noun) + (f". {tone}" if tone else "") + "?"
    return SimulatedPost(content_id("post", topic.name, text), text, topic)
