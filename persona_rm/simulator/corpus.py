"""The pretraining corpus of the starting model: the language that a small model must know before it is aligned.

Llama knows English before AlignX aligns it; a model that is trained from scratch on preferences alone memorises them.
The starting model therefore first reads self-descriptions (names of poles, then what users at those poles write; or
the words alone) and answers under training posts, preceded by a user's description, a history, or nothing. The users
of the corpus are drawn for it alone. Like Llama, the model has seen every wording in every position; it has not seen
a test user, a test post or a test choice. Alignment (preference rows, PPO) also holds out the test wordings
(`simulator/simulator.py`).
"""

import sys
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from persona_rm.prompts import PromptFormat
from persona_rm.simulator.simulated_language import Language
from persona_rm.simulator.simulated_users import SimulatedUser, draw_users
from persona_rm.simulator.simulator import OWN, SimulatedPost, Simulator
from persona_rm.types import Pair, Persona, Ugc

Document = tuple[str, str]
"""(given, read): the model learns to continue `given` with `read`. Names of poles, posts and histories are drawn at
random, so there is little to learn from them."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the corpus: the number of documents, and the share of each kind of document.

    `named` and `nameless` are the largest numbers of views in a self-description with and without names, `views` the
    largest number of views of an answer's author. `items` is the largest number of comments and of choices in a
    history (the paper: 4 and 4, C.2). `own` is the share of an answer's clauses that express the author's own views.

    Two kinds of answer precede real ones, because every word of them is predictable: `described` is a self-description
    under a post and the names of its poles, `lean` one under a history in which everything is about the user.
    `gleaned` is a self-description under a realistic history.
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
"""The words of each pole come first, one pole at a time and then several; then what a description and a history say
about a user; then answers that follow them; finally answers that follow them seldom, and then only by chance. A model
must have followed descriptions in order to read them well, but alignment should be what raises that share: a log ratio
says little about what the starting model does already."""
ENDS = tuple(accumulate(phase.documents for phase in PHASES))
HISTORIES, FOLLOWING, SELDOM, CHANCE = ENDS[2], ENDS[5], ENDS[6], ENDS[7]
"""Numbers of the first documents of four phases: histories, answers, answers that follow seldom, and by chance."""


def documents(
    simulator: Simulator, prompts: PromptFormat, seed: int, count: int, start: int = 0
) -> Iterator[Document]:
    """Documents `start` to `start + count` of the endless corpus of this seed; each depends on (seed, number) only."""
    posts = simulator.posts("train")
    for number in range(start, start + count):
        rng = Random(f"{seed}/corpus/{number}")
        phase = PHASES[bisect_right(ENDS, number)]
        kind = rng.choices(tuple(phase.kinds), tuple(phase.kinds.values()))[0]
        user = draw_users(simulator.language, "independent", 1, seed, f"reader-{number}")[0]
        if kind == "named":
            yield named(simulator.language, _some(user, phase.named, rng), rng)
        elif kind == "nameless":
            yield nameless(simulator.language, _some(user, phase.nameless, rng), rng)
        else:
            yield under_posts(simulator, prompts, kind, phase, user, rng.sample(posts, 1 + sum(phase.items)), rng)


def named(language: Language, user: SimulatedUser, rng: Random) -> Document:
    """Names of poles, then usually one wording of each, shuffled.

    One wording, because a second one could be predicted from the first, without reading the name.
    """
    words = _words(language, user, lambda: 1 if rng.random() < 0.8 else 2, rng)
    return f"{language.space.describe(user.directions)}:", f" {words}"


def nameless(language: Language, user: SimulatedUser, rng: Random) -> Document:
    """Two to four wordings of each pole and no name, so that the wordings of a pole are learnt together."""
    return "", _words(language, user, lambda: rng.randint(2, 4), rng)


def under_posts(
    simulator: Simulator,
    prompts: PromptFormat,
    kind: str,
    phase: Phase,
    user: SimulatedUser,
    posts: list[SimulatedPost],
    rng: Random,
) -> Document:
    """A user's answer to the first post, preceded by nothing, by the user's directions or by the user's history; or
    only the wordings of the user's views."""
    post, others = posts[0], posts[1:]
    if kind == "plain":
        return prompts.plain(post.text), simulator.reply(user, post, "any", "corpus").text
    user = _some(user, phase.views, rng)
    if kind == "lean":
        persona, user = lean(simulator.language, user, others, phase.items, rng)
    elif kind in {"gleaned", "ica"}:
        persona = history(simulator, user, others, phase.items, rng)
    else:
        given = prompts.pba(simulator.space.describe(user.directions), post.text)
    if kind in {"lean", "gleaned", "ica"}:
        given = prompts.ica(persona, post.text)
    if kind in {"pba", "ica"}:
        return given, simulator.reply(user, post, "any", "corpus", own=phase.own).text
    return given, _words(simulator.language, user, lambda: 1, rng)


def lean(
    language: Language, user: SimulatedUser, posts: list[SimulatedPost], items: tuple[int, int], rng: Random
) -> tuple[Persona, SimulatedUser]:
    """A history that is only about a user's views (comments, and choices of such comments over the opposite ones), and
    the user reduced to the views that it shows."""
    shown: set[int] = set()

    def say(way: int = 1) -> str:
        dims = rng.sample(user.held, rng.randint(1, min(3, len(user.held))))
        # The document asks for no view that the history does not show.
        shown.update(dims)
        clauses = [rng.choice(language.wordings[dim, way * user.directions[dim]]) for dim in dims]
        clauses += rng.sample(language.fillers, rng.randint(0, 1))
        rng.shuffle(clauses)
        return f"{'. '.join(clauses)}."

    n_ugc, n_pairs = rng.choice([(n, m) for n in range(items[0] + 1) for m in range(items[1] + 1) if n + m])
    ugc = tuple(Ugc(post.text, say()) for post in posts[:n_ugc])
    pairs = tuple(Pair(post.text, say(), say(-1)) for post in posts[n_ugc : n_ugc + n_pairs])
    return Persona(user.id, ugc, pairs), _only(user, shown)


def history(
    simulator: Simulator, user: SimulatedUser, posts: list[SimulatedPost], most: tuple[int, int], rng: Random
) -> Persona:
    """A history of at least one comment and at most `most` (comments, choices) of a user; the paper: 4 and 4 (C.2)."""
    n_ugc, n_pairs = rng.randint(1, most[0]), rng.randint(0, most[1])
    ugc = [Ugc(post.text, simulator.reply(user, post, "any", "corpus").text) for post in posts[:n_ugc]]
    choices = [simulator.choose(user, post, "any", "corpus") for post in posts[n_ugc : n_ugc + n_pairs]]
    pairs = [Pair(c.post.text, c.chosen.text, c.rejected.text) for c in choices if c]
    return Persona(user.id, tuple(ugc), tuple(pairs))


def _words(language: Language, user: SimulatedUser, each: Callable[[], int], rng: Random) -> str:
    wordings = (language.wordings[dim, user.directions[dim]] for dim in user.held)
    clauses = [clause for every in wordings for clause in rng.sample(every, each())]
    rng.shuffle(clauses)
    return f"{'. '.join(clauses)}."


def _some(user: SimulatedUser, most: int, rng: Random) -> SimulatedUser:
    """The user reduced to one to `most` of the views held."""
    return _only(user, rng.sample(user.held, rng.randint(1, min(most, len(user.held)))))


def _only(user: SimulatedUser, kept: Collection[int]) -> SimulatedUser:
    return replace(user, directions=tuple(d if dim in kept else 0 for dim, d in enumerate(user.directions)))
