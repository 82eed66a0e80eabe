"""A language to pretrain on: what a small model must have read before alignment can mean anything.

Llama knows English before AlignX aligns it; a model trained from nothing on preferences alone memorises them. So the
starting model of the embedded world first reads self-descriptions (names of poles, then words of people who are so; or
words alone), and answers of people of its own under training posts, with the person's description, their history, or
nothing in front. As Llama has, it has met every wording everywhere; what it has not met is a test person, a test post
or a test choice. What is held out from alignment (rows of preferences, PPO) is more: the test wordings too
(`world/world.py`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from persona_rm.prompts import PromptFormat
from persona_rm.types import Pair, Persona, Ugc
from persona_rm.world.language import Language
from persona_rm.world.people import Person, draw_people
from persona_rm.world.world import Post, World

Document = tuple[str, str]
"""(given, read): a reader learns to continue `given` with `read`. Names of poles and posts are drawn at random, so
there is nothing to learn in them; of a history everything is read, since each comment in it is foretold by those
before."""
KINDS = {"named": 0.2, "nameless": 0.3, "plain": 0.05, "pba": 0.3, "ica": 0.15}
FIRST = 50_000
"""So many documents at the start are self-descriptions of few poles: what words mean comes before what to do with
them."""
FOLLOWED = 0.15
"""Share of an answer's clauses that follow the description in front of it. Low, because alignment is to raise it: a
log ratio cannot tell much of what the starting model does already (0.8 instead of 0.15 costs PBA 10 points)."""
ANY_NOUN = 0.5
"""Share of documents whose posts are training questions about any noun: all words are known, test posts are not."""


def documents(world: World, prompts: PromptFormat, seed: int, count: int, start: int = 0) -> Iterator[Document]:
    """Documents `start` to `start + count` of the endless corpus of this seed: each a function of (seed, its
    number)."""
    posts = world.posts("train")
    for number in range(start, start + count):
        rng = Random(f"{seed}/corpus/{number}")
        person = draw_people(world.language, "independent", 1, seed, f"reader-{number}")[0]
        first = number < FIRST
        kind = rng.choice(("named", "nameless")) if first else rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        if kind == "named":
            yield named(world.language, _some(person, 3 if first else 12, rng), rng)
        elif kind == "nameless":
            yield nameless(world.language, _some(person, 2 if first else 5, rng), rng)
        else:
            yield answer(world, prompts, kind, person, posts, rng)


def named(language: Language, person: Person, rng: Random) -> Document:
    """Names of poles, then most often one wording of each, shuffled.

    One, because a second wording can be told from the first: then nobody needs to read the name.
    """
    words = _words(language, person, lambda: 1 if rng.random() < 0.8 else 2, rng)
    return f"{language.space.describe(person.directions)}:", f" {words}"


def nameless(language: Language, person: Person, rng: Random) -> Document:
    """Two to four wordings of each pole and no name: whoever says one thing also says what goes with it."""
    return "", _words(language, person, lambda: rng.randint(2, 4), rng)


def answer(world: World, prompts: PromptFormat, kind: str, person: Person, posts: list[Post], rng: Random) -> Document:
    """A person's answer to a post, with nothing, their directions or their history in front."""
    asked = _ask(world.language, posts, 17 if kind == "ica" else 1, rng)
    post = asked[0]
    if kind == "plain":
        return prompts.plain(post.text), world.reply(person, post, "any", "corpus").text
    if kind == "pba":
        person = _some(person, 12, rng)
        response = world.reply(person, post, "any", "corpus", own=FOLLOWED).text
        return prompts.pba(world.space.describe(person.directions), post.text), response
    if rng.random() < 0.5:  # somebody with few views is easier to read
        person = _some(person, 4, rng)
    response = world.reply(person, post, "any", "corpus").text
    return "", prompts.ica(history(world, person, asked[1:], rng), post.text) + response


def history(world: World, person: Person, posts: list[Post], rng: Random) -> Persona:
    """Up to 8 comments and 8 choices of a person, most often up to 4 of each as in the paper (C.2)."""
    most = 4 if rng.random() < 0.9 else 8
    n_ugc, n_pairs = rng.randint(0, most), rng.randint(0, most)
    commented, chosen = posts[: n_ugc or 1], posts[8 : 8 + n_pairs]
    ugc = [Ugc(post.text, world.reply(person, post, "any", "corpus").text) for post in commented]
    choices = [world.choose(person, post, "any", "corpus") for post in chosen]
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


def _ask(language: Language, posts: list[Post], n: int, rng: Random) -> list[Post]:
    """`n` posts; in half of the documents the training questions are about any noun."""
    drawn = rng.sample(posts, n)
    if rng.random() < ANY_NOUN:
        nouns = [noun for topic in language.topics for noun in topic.nouns]
        drawn = [_about(post, rng.choice(nouns)) for post in drawn]
    return drawn


def _about(post: Post, noun: str) -> Post:
    return replace(post, noun=noun, text=re.sub(rf"\b{post.noun}\b", noun, post.text))
