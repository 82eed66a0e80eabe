"""A language to pretrain on: what a small model must have read before alignment can mean anything.

Llama knows English before AlignX aligns it; a model trained from nothing on preferences alone memorises them. So the
starting model of the embedded world first reads self-descriptions (names of poles, then words of people who are so; or
words alone), and answers of people of its own under training posts, with the person's description, their history, or
nothing in front. As Llama has, it has met every wording everywhere; what it has not met is a test person, a test post
or a test choice. What is held out from alignment (rows of preferences, PPO) is more: the test wordings too
(`world/world.py`).
"""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from persona_rm.prompts import PromptFormat
from persona_rm.types import Pair, Persona, Ugc
from persona_rm.world.language import Language
from persona_rm.world.people import Person, draw_people
from persona_rm.world.world import OWN, Post, World

Document = tuple[str, str]
"""(given, read): a reader learns to continue `given` with `read`. Names of poles and posts are drawn at random, so
there is nothing to learn in them; of a history everything is read, since each comment in it is foretold by those
before."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the corpus: how many documents, of which kinds in which shares.

    `named` and `nameless` are the most views that a self-description with and without names has, `own` the share of an
    answer's clauses that are there because of who answers. `described` is self-description laid out as PBA's prompt
    and answer are.
    """

    documents: int
    kinds: Mapping[str, float]
    named: int = 12
    nameless: int = 5
    own: float = OWN


PHASES = (
    Phase(22_000, {"named": 1.0}, named=1),
    Phase(24_000, {"named": 0.6, "nameless": 0.4}, named=3, nameless=1),
    Phase(130_000, {"named": 0.6, "nameless": 0.3, "plain": 0.1}, named=6, nameless=3),
    Phase(120_000, {"named": 0.22, "described": 0.06, "nameless": 0.12, "plain": 0.06, "pba": 0.44, "ica": 0.1}),
    Phase(sys.maxsize, {"named": 0.17, "plain": 0.08, "pba": 0.7, "ica": 0.05}, own=0.12),
)
"""What each pole's words are comes first, one pole at a time, then several; then answers that follow their author's
description or history; at last answers that follow them seldom: a model must have followed descriptions to read them
well, but alignment is to raise that share, and a log ratio tells little of what the starting model does already."""
ENDS = tuple(accumulate(phase.documents for phase in PHASES))
FOLLOWING, LOOSE = ENDS[2], ENDS[3]
"""The first document of the phase of answers, and of the last phase."""


def documents(world: World, prompts: PromptFormat, seed: int, count: int, start: int = 0) -> Iterator[Document]:
    """Documents `start` to `start + count` of the endless corpus of this seed: each a function of (seed, its
    number)."""
    posts = world.posts("train")
    for number in range(start, start + count):
        rng = Random(f"{seed}/corpus/{number}")
        phase = PHASES[bisect_right(ENDS, number)]
        kind = rng.choices(tuple(phase.kinds), tuple(phase.kinds.values()))[0]
        person = draw_people(world.language, "independent", 1, seed, f"reader-{number}")[0]
        if kind == "named":
            yield named(world.language, _some(person, phase.named, rng), rng)
        elif kind == "nameless":
            yield nameless(world.language, _some(person, phase.nameless, rng), rng)
        else:
            under = rng.sample(posts, 9 if kind == "ica" else 1)
            yield under_post(world, prompts, kind, person, under, phase.own, rng)


def named(language: Language, person: Person, rng: Random) -> Document:
    """Names of poles, then most often one wording of each, shuffled.

    One, because a second wording can be told from the first: then nobody needs to read the name.
    """
    words = _words(language, person, lambda: 1 if rng.random() < 0.8 else 2, rng)
    return f"{language.space.describe(person.directions)}:", f" {words}"


def nameless(language: Language, person: Person, rng: Random) -> Document:
    """Two to four wordings of each pole and no name: whoever says one thing also says what goes with it."""
    return "", _words(language, person, lambda: rng.randint(2, 4), rng)


def under_post(
    world: World, prompts: PromptFormat, kind: str, person: Person, posts: list[Post], own: float, rng: Random
) -> Document:
    """A person's answer to the first post, with nothing, their directions or their history in front; or only words
    that go with their directions (`described`)."""
    post = posts[0]
    if kind == "plain":
        return prompts.plain(post.text), world.reply(person, post, "any", "corpus").text
    if kind == "ica":
        short = rng.random() < 0.85  # few items by somebody with few views: easier to learn from
        person = _some(person, 3, rng) if short else person
        given = prompts.ica(history(world, person, posts[1:], (2, 1) if short else (4, 4), rng), post.text)
        return "", given + world.reply(person, post, "any", "corpus", own=own).text
    person = _some(person, 12, rng)
    given = prompts.pba(world.space.describe(person.directions), post.text)
    if kind == "described":
        return given, _words(world.language, person, lambda: 1, rng)
    return given, world.reply(person, post, "any", "corpus", own=own).text


def history(world: World, person: Person, posts: list[Post], most: tuple[int, int], rng: Random) -> Persona:
    """Up to so many comments and choices of a person, at least one comment; the paper has 4 and 4 (C.2)."""
    n_ugc, n_pairs = rng.randint(1, most[0]), rng.randint(0, most[1])
    ugc = [Ugc(post.text, world.reply(person, post, "any", "corpus").text) for post in posts[:n_ugc]]
    choices = [world.choose(person, post, "any", "corpus") for post in posts[n_ugc : n_ugc + n_pairs]]
    pairs = [Pair(c.post.text, c.chosen.text, c.rejected.text) for c in choices if c]
    return Persona(person.id, tuple(ugc), tuple(pairs))


def _words(language: Language, person: Person, each: Callable[[], int], rng: Random) -> str:
    wordings = (language.wordings[dim, person.directions[dim]] for dim in person.held)
    clauses = [clause for every in wordings for clause in rng.sample(every, each())]
    rng.shuffle(clauses)
    return f"{'. '.join(clauses)}."


def _some(person: Person, most: int, rng: Random) -> Person:
    """The person with one to `most` of their views."""
    kept = rng.sample(person.held, rng.randint(1, min(most, len(person.held))))
    return replace(person, directions=tuple(d if dim in kept else 0 for dim, d in enumerate(person.directions)))
