"""A language to pretrain on: what a small model must have read before alignment can mean anything.

Llama knows English before AlignX aligns it; a model trained from nothing on preferences alone memorises them. So the
starting model of the embedded world first reads self-descriptions (names of poles, then words of people who are so),
and answers of people of its own under training posts, with the person's description, their history, or nothing in
front. As Llama has, it has met every wording everywhere; what it has not met is a test person, a test post or a test
choice. What is held out from alignment (rows of preferences, PPO) is more: the test wordings too (`world/world.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from persona_rm.prompts import PromptFormat
from persona_rm.types import Directions, Pair, Persona, Ugc
from persona_rm.world.language import Language
from persona_rm.world.people import Person, draw_people
from persona_rm.world.world import Post, World

Document = tuple[str, str]
"""(given, read): a reader learns to continue `given` with `read`. Names of poles and posts are drawn at random, so
there is
nothing to learn in them; of a history everything is read, since each comment in it is foretold by those before."""
KINDS = {"self": 0.45, "plain": 0.05, "pba": 0.44, "ica": 0.06}
FIRST = 30_000
"""So many documents at the start describe one to three poles: what words mean comes before what to do with them."""
NAMELESS = 0.15
"""Share of later self-descriptions that name no pole: whoever says one thing also says what goes with it."""

ANY_NOUN = 0.5
"""Share of documents whose posts are training questions about any noun: all words are known, test posts are not."""


def documents(world: World, prompts: PromptFormat, seed: int, count: int, start: int = 0) -> Iterator[Document]:
    """Documents `start` to `start + count` of the endless corpus of this seed: each a function of (seed, its
    number)."""
    posts = world.posts("train")
    nouns = [noun for topic in world.language.topics for noun in topic.nouns]
    for number in range(start, start + count):
        rng = Random(f"{seed}/corpus/{number}")
        here = (
            [_about(post, rng.choice(nouns)) for post in rng.sample(posts, 20)] if rng.random() < ANY_NOUN else posts
        )
        kind = "self" if number < FIRST else rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        person = draw_people(world.language, "independent", 1, seed, f"reader-{number}")[0]
        if kind == "self":
            yield self_description(world.language, prompts, person, rng.choice(here), rng, first=number < FIRST)
        else:
            yield answer(world, prompts, kind, person, here, rng)


def self_description(
    language: Language, prompts: PromptFormat, person: Person, post: Post, rng: Random, first: bool
) -> Document:
    """Some poles by their names, then most often one wording of each, shuffled; or no name, and two wordings of each.

    One, because a second wording can be told from the first: then nobody needs to read the name. Half of those with
    names stand under a post, laid out as PBA's prompt is.
    """
    nameless = not first and rng.random() < NAMELESS
    held = [dim for dim, direction in enumerate(person.directions) if direction]
    told = rng.sample(held, rng.randint(1, min(3 if first else 12, len(held))))
    wordings = (language.wordings[dim, person.directions[dim]] for dim in told)
    clauses = [c for every in wordings for c in rng.sample(every, 2 if nameless or rng.random() > 0.8 else 1)]
    rng.shuffle(clauses)
    words = f"{'. '.join(clauses)}."
    names = language.space.describe(_only(person.directions, told))
    if nameless:
        return "", words
    return (f"{names}:", f" {words}") if rng.random() < 0.5 else (prompts.pba(names, post.text), words)


def answer(world: World, prompts: PromptFormat, kind: str, person: Person, posts: list[Post], rng: Random) -> Document:
    """A training person's answer to a post, with nothing, their directions or their history in front."""
    post = rng.choice(posts)
    if kind == "pba":
        held = [dim for dim, direction in enumerate(person.directions) if direction]
        told = rng.sample(held, rng.randint(1, len(held)))
        person = replace(person, directions=_only(person.directions, told))
    response = world.reply(person, post, "any", "corpus").text
    if kind == "plain":
        return prompts.plain(post.text), response
    if kind == "pba":
        return prompts.pba(world.space.describe(person.directions), post.text), response
    return "", prompts.ica(history(world, person, posts, rng), post.text) + response


def history(world: World, person: Person, posts: list[Post], rng: Random) -> Persona:
    """Up to 8 comments and 8 choices of a person, most often up to 4 of each as in the paper (C.2)."""
    most = 4 if rng.random() < 0.9 else 8
    n_ugc, n_pairs = rng.randint(0, most), rng.randint(0, most)
    ugc = [Ugc(p.text, world.reply(person, p, "any", f"corpus/{i}").text) for i, p in _draw(posts, n_ugc or 1, rng)]
    choices = [world.choose(person, post, "any", f"corpus/{i}") for i, post in _draw(posts, n_pairs, rng)]
    pairs = [Pair(c.post.text, c.chosen.text, c.rejected.text) for c in choices if c]
    return Persona(person.id, tuple(ugc), tuple(pairs))


def _draw(posts: list[Post], n: int, rng: Random) -> list[tuple[int, Post]]:
    return list(enumerate(rng.sample(posts, n)))


def _only(directions: Directions, dims: list[int]) -> Directions:
    return tuple(direction if dim in dims else 0 for dim, direction in enumerate(directions))


def _about(post: Post, noun: str) -> Post:
    return replace(post, noun=noun, text=re.sub(rf"\b{post.noun}\b", noun, post.text))
