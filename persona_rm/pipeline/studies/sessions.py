"""New people of an embedded world, asked: how many questions until they are known as well as by 16 observed items?

The person's true utilities are known, so their answers are simulated: the difference of the two texts' utilities with
logistic noise of the world's temperature, said in five grades. The inferrer hears the grade alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from rich.console import Console

from persona_rm.benchmarks.figures import accuracy
from persona_rm.inferrers.ask import Question, QuestionChooser, portraits, question_bank
from persona_rm.inferrers.base import ModelInferrer
from persona_rm.inferrers.stored_answers import Belief
from persona_rm.io.progress_bar import progress_bar
from persona_rm.simulator.simulated_users import SimulatedUser
from persona_rm.simulator.simulator import Choice, Simulator
from persona_rm.types import Example

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AskingCurve:
    """Directions of `n` people after 0, 1, ... questions, (questions + 1, n, D), by how questions were chosen."""

    how: str
    directions: Ints


def ask_people(
    world: Simulator,
    people: Sequence[SimulatedUser],
    inferrer: ModelInferrer,
    examples: Sequence[Example],
    questions: int,
    bank: int,
    console: Console | None = None,
) -> list[AskingCurve]:
    """Every person is asked `questions` of the bank, once by expected information and once at random."""
    seed = world.config.seed
    pairs = [*question_bank(examples, bank, seed), *portraits(world.space, bank, seed)]
    asker = QuestionChooser(pairs, inferrer.perception)
    out = []
    for how in ("expected information", "random"):
        with progress_bar(console, f"ask, {world.config.kind}, {how}", len(people)) as update:
            found = []
            for done, person in enumerate(people, 1):
                found.append(_session(world, person, inferrer, asker, questions, how))
                update(done)
        out.append(AskingCurve(how, np.stack(found, 1)))
    return out


def _session(
    world: Simulator,
    person: SimulatedUser,
    inferrer: ModelInferrer,
    asker: QuestionChooser,
    questions: int,
    how: str,
) -> Ints:
    """Directions after 0 .. `questions` answers, (questions + 1, D)."""
    rng = Random(f"{world.config.seed}/ask/{person.id}/{how}")
    belief, asked = start(inferrer), set[str]()
    said = [inferrer.decide(inferrer.calibration(belief.marginals))]
    for _ in range(questions):
        question = asker.next(belief, asked)[0] if how != "random" else _any(asker.questions, asked, rng)
        asked.add(question.id)
        belief = asker.hear(belief, question.id, _grade(world, person, question, asker, rng))
        said.append(inferrer.decide(inferrer.calibration(belief.marginals)))
    return np.stack(said)


def start(inferrer: ModelInferrer) -> Belief:
    """What is known of a person who has done nothing yet: the prior, by class."""
    return Belief(inferrer.model.shares, inferrer.model.classes)


def _any(questions: Sequence[Question], asked: set[str], rng: Random) -> Question:
    while (question := rng.choice(questions)).id in asked:
        pass
    return question


def _grade(world: Simulator, person: SimulatedUser, question: Question, asker: QuestionChooser, rng: Random) -> int:
    if question.portrait:
        difference = float(np.dot(person.directions, question.difference))
    else:
        read = world.language.read_levels
        difference = world.utility(person, read(question.first)) - world.utility(person, read(question.second))
    share = min(max(rng.random(), 1e-9), 1 - 1e-9)
    felt = difference + world.config.temperature * float(np.log(share / (1 - share)))
    return int(np.searchsorted(asker.how.cuts, felt)) - 2


def observed(world: Simulator, people: Sequence[SimulatedUser], inferrer: ModelInferrer, items: int) -> Ints:
    """Directions of the same people from `items` observed items, (n, D)."""
    half = items // 2
    personas = [world.persona(person, "test", items - half, half).with_directions(None) for person in people]
    return np.array([posterior.directions for posterior in inferrer.infer_many(personas)], np.int64)


def first(fits: Sequence[bool]) -> int | None:
    """The first number of questions that fits; None where none does."""
    return next((n for n, fit in enumerate(fits) if fit), None)


def orders(directions: Ints, choices: Sequence[Choice], people: Sequence[SimulatedUser]) -> npt.NDArray[np.float64]:
    """`orders_of` with one row of directions per person, (n, D)."""
    place = {person.id: i for i, person in enumerate(people)}
    return orders_of(directions[[place[choice.user.id] for choice in choices]], choices)


def orders_of(directions: Ints, choices: Sequence[Choice]) -> npt.NDArray[np.float64]:
    """Per choice 1, 0.5 or 0: does the sum of direction x level, directions (choices, D), order its two texts as the
    person did?"""
    chosen = np.array([choice.chosen.levels for choice in choices], np.int64)
    rejected = np.array([choice.rejected.levels for choice in choices], np.int64)
    scores = (directions * (chosen - rejected)).sum(1)
    return accuracy(scores, np.zeros(len(scores)))
