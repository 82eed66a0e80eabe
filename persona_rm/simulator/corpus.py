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
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from persona_rm.prompts import PromptFormat
from persona_rm.simulator.simulated_language import Language
from persona_rm.simulator.simulated_users import SimulatedUser, draw_people
from persona_rm.simulator.simulator import OWN, SimulatedPost, Simulator
from persona_rm.types import Pair, Persona, Ugc

Document = tuple[str, str]
"""(given, read): a reader learns to continue `given` with `read`. Names of poles, posts and histories are drawn at
random, so there is little to learn in them."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the corpus: how many documents, of which kinds in which shares.

    `named` and `nameless` are the most views that a self-description with and without names has, `views` the most that
    the author of an answer has; `items` is how many comments and choices a history has at most (the paper: 4 and 4,
    C.2); `own` is the share of an answer's clauses that are there because of who answers.

    Two kinds of answer come before real ones, since every word of them can be foretold: `described` is
    self-description under a post and the names of its poles, `lean` under a history in which everything is about the
    person. `gleaned` is self-description under a history as it is.
    """

    documents: int
    kinds: Mapping[str, float]
    named: int = 12
    nameless: int = 5
    views: int = 12
    items: tuple[int, int] = (4, 4)
    own: float = OWN


PHASES = (
    Phase(22_000, {"named": 1.0}, named=1),
    Phase(24_000, {"named": 0.6, "nameless": 0.4}, named=3, nameless=1),
    Phase(130_000, {"named": 0.6, "nameless": 0.3, "plain": 0.1}, named=6, nameless=3),
    Phase(14_000, {"named": 0.3, "nameless": 0.1, "described": 0.2, "lean": 0.4}, views=3, items=(1, 1)),
    Phase(8_000, {"named": 0.3, "nameless": 0.1, "described": 0.2, "lean": 0.4}, views=6, items=(2, 2)),
    Phase(16_000, {"named": 0.25, "nameless": 0.1, "described": 0.15, "lean": 0.3, "gleaned": 0.2}),
    Phase(80_000, {"named": 0.25, "described": 0.1, "nameless": 0.06, "plain": 0.04, "pba": 0.42, "lean": 0.04,
                   "gleaned": 0.05, "ica": 0.04}),
    Phase(30_000, {"named": 0.2, "plain": 0.08, "pba": 0.64, "ica": 0.08}, own=0.12),
    Phase(sys.maxsize, {"named": 0.2, "nameless": 0.1, "plain": 0.08, "pba": 0.62}, own=0),
)  # fmt: skip
"""What each pole's words are comes first, one pole at a time, then several; then what a description and a history say
about somebody; then answers that follow them; at last answers that follow them seldom, then by chance alone: a model
must have followed them to read them well, but alignment is to raise that share, and a log ratio tells little of what
the starting model does already."""
ENDS = tuple(accumulate(phase.documents for phase in PHASES))
HISTORIES, FOLLOWING, SELDOM, CHANCE = ENDS[2], ENDS[5], ENDS[6], ENDS[7]
"""The first documents of the phases of histories, of answers, of answers that follow seldom, and by chance."""


def documents(world: Simulator, prompts: PromptFormat, seed: int, count: int, start: int = 0) -> Iterator[Document]:
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
            yield under_posts(world, prompts, kind, phase, person, rng.sample(posts, 1 + sum(phase.items)), rng)


def named(language: Language, person: SimulatedUser, rng: Random) -> Document:
    """Names of poles, then most often one wording of each, shuffled.

    One, because a second wording can be told from the first: then nobody needs to read the name.
    """
    words = _words(language, person, lambda: 1 if rng.random() < 0.8 else 2, rng)
    return f"{language.space.describe(person.directions)}:", f" {words}"


def nameless(language: Language, person: SimulatedUser, rng: Random) -> Document:
    """Two to four wordings of each pole and no name: whoever says one thing also says what goes with it."""
    return "", _words(language, person, lambda: rng.randint(2, 4), rng)


def under_posts(
    world: Simulator,
    prompts: PromptFormat,
    kind: str,
    phase: Phase,
    person: SimulatedUser,
    posts: list[SimulatedPost],
    rng: Random,
) -> Document:
    """A person's answer to the first post, with nothing, their directions or their history in front; or only words
    that go with their views."""
    post, others = posts[0], posts[1:]
    if kind == "plain":
        return prompts.plain(post.text), world.reply(person, post, "any", "corpus").text
    person = _some(person, phase.views, rng)
    if kind == "lean":
        persona, person = lean(world.language, person, others, phase.items, rng)
    elif kind in {"gleaned", "ica"}:
        persona = history(world, person, others, phase.items, rng)
    else:
        given = prompts.pba(world.space.describe(person.directions), post.text)
    if kind in {"lean", "gleaned", "ica"}:
        given = prompts.ica(persona, post.text)
    if kind in {"pba", "ica"}:
        return given, world.reply(person, post, "any", "corpus", own=phase.own).text
    return given, _words(world.language, person, lambda: 1, rng)


def lean(
    language: Language, person: SimulatedUser, posts: list[SimulatedPost], items: tuple[int, int], rng: Random
) -> tuple[Persona, SimulatedUser]:
    """Comments about a person's views alone, and choices of such comments over the opposite; and the person with the
    views that show in them."""
    shown: set[int] = set()

    def say(turn: int = 1) -> str:
        dims = rng.sample(person.held, rng.randint(1, min(3, len(person.held))))
        shown.update(dims)
        clauses = [rng.choice(language.wordings[dim, turn * person.directions[dim]]) for dim in dims]
        clauses += rng.sample(language.fillers, rng.randint(0, 1))
        rng.shuffle(clauses)
        return f"{'. '.join(clauses)}."

    n_ugc, n_pairs = rng.choice([(n, m) for n in range(items[0] + 1) for m in range(items[1] + 1) if n + m])
    ugc = tuple(Ugc(post.text, say()) for post in posts[:n_ugc])
    pairs = tuple(Pair(post.text, say(), say(-1)) for post in posts[n_ugc : n_ugc + n_pairs])
    return Persona(person.id, ugc, pairs), _only(person, shown)


def history(
    world: Simulator, person: SimulatedUser, posts: list[SimulatedPost], most: tuple[int, int], rng: Random
) -> Persona:
    """Up to so many comments and choices of a person, at least one comment; the paper has 4 and 4 (C.2)."""
    n_ugc, n_pairs = rng.randint(1, most[0]), rng.randint(0, most[1])
    ugc = [Ugc(post.text, world.reply(person, post, "any", "corpus").text) for post in posts[:n_ugc]]
    choices = [world.choose(person, post, "any", "corpus") for post in posts[n_ugc : n_ugc + n_pairs]]
    pairs = [Pair(c.post.text, c.chosen.text, c.rejected.text) for c in choices if c]
    return Persona(person.id, tuple(ugc), tuple(pairs))


def _words(language: Language, person: SimulatedUser, each: Callable[[], int], rng: Random) -> str:
    wordings = (language.wordings[dim, person.directions[dim]] for dim in person.held)
    clauses = [clause for every in wordings for clause in rng.sample(every, each())]
    rng.shuffle(clauses)
    return f"{'. '.join(clauses)}."


def _some(person: SimulatedUser, most: int, rng: Random) -> SimulatedUser:
    """The person with one to `most` of their views."""
    return _only(person, rng.sample(person.held, rng.randint(1, min(most, len(person.held)))))


def _only(person: SimulatedUser, kept: Collection[int]) -> SimulatedUser:
    return replace(person, directions=tuple(d if dim in kept else 0 for dim, d in enumerate(person.directions)))
