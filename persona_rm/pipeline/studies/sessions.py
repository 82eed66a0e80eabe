"""Question sessions with new simulated users: how many questions tell as much as 16 observed items?

The user's true utilities are known, so their answers are simulated: the difference of the two texts' utilities plus
logistic noise of the simulator's temperature, rounded to five grades. The inferrer gets only the grade.
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
    """Directions of n users after 0, 1, ... questions, (questions + 1, n, D), and how questions were chosen."""

    how: str
    directions: Ints


def ask_users(
    simulator: Simulator,
    users: Sequence[SimulatedUser],
    inferrer: ModelInferrer,
    examples: Sequence[Example],
    questions: int,
    bank: int,
    console: Console | None = None,
) -> list[AskingCurve]:
    """Ask every user `questions` questions of the bank, once by expected information and once at random."""
    seed = simulator.config.seed
    pairs = [*question_bank(examples, bank, seed), *portraits(simulator.space, bank, seed)]
    asker = QuestionChooser(pairs, inferrer.perception)
    out = []
    for how in ("expected information", "random"):
        with progress_bar(console, f"ask, {simulator.config.kind}, {how}", len(users)) as update:
            sessions = []
            for done, user in enumerate(users, 1):
                sessions.append(_session(simulator, user, inferrer, asker, questions, how))
                update(done)
        out.append(AskingCurve(how, np.stack(sessions, 1)))
    return out


def _session(
    simulator: Simulator,
    user: SimulatedUser,
    inferrer: ModelInferrer,
    asker: QuestionChooser,
    questions: int,
    how: str,
) -> Ints:
    """Directions after 0 .. `questions` answers, (questions + 1, D)."""
    rng = Random(f"{simulator.config.seed}/ask/{user.id}/{how}")
    belief, asked = start(inferrer), set[str]()
    said = [inferrer.decide(inferrer.calibration(belief.marginals))]
    for _ in range(questions):
        question = asker.next(belief, asked)[0] if how != "random" else _any(asker.questions, asked, rng)
        asked.add(question.id)
        belief = asker.hear(belief, question.id, _grade(simulator, user, question, asker, rng))
        said.append(inferrer.decide(inferrer.calibration(belief.marginals)))
    return np.stack(said)


def start(inferrer: ModelInferrer) -> Belief:
    """The belief about a user without evidence: the prior, by class."""
    return Belief(inferrer.model.shares, inferrer.model.classes)


def _any(questions: Sequence[Question], asked: set[str], rng: Random) -> Question:
    # Ends soon: the bank is far larger than the number of questions that one user is asked.
    while (question := rng.choice(questions)).id in asked:
        pass
    return question


def _grade(simulator: Simulator, user: SimulatedUser, question: Question, asker: QuestionChooser, rng: Random) -> int:
    if question.portrait:
        difference = float(np.dot(user.directions, question.difference))
    else:
        read = simulator.language.read_levels
        difference = simulator.utility(user, read(question.first)) - simulator.utility(user, read(question.second))
    # Logistic noise by inversion of a uniform draw, kept away from 0 and 1, where the logit is infinite.
    share = min(max(rng.random(), 1e-9), 1 - 1e-9)
    felt = difference + simulator.config.temperature * float(np.log(share / (1 - share)))
    # Four cuts make five intervals, 0 to 4: the grades -2 to 2.
    return int(np.searchsorted(asker.how.cuts, felt)) - 2


def observed(simulator: Simulator, users: Sequence[SimulatedUser], inferrer: ModelInferrer, items: int) -> Ints:
    """Directions of the same users from `items` observed items, (n, D)."""
    half = items // 2
    personas = [simulator.persona(user, "test", items - half, half).with_directions(None) for user in users]
    return np.array([posterior.directions for posterior in inferrer.infer_many(personas)], np.int64)


def first(fits: Sequence[bool]) -> int | None:
    """The first number of questions that fits, or None."""
    return next((n for n, fit in enumerate(fits) if fit), None)


def orders(directions: Ints, choices: Sequence[Choice], users: Sequence[SimulatedUser]) -> npt.NDArray[np.float64]:
    """`orders_of` with one row of directions per user, (n, D)."""
    place = {user.id: i for i, user in enumerate(users)}
    return orders_of(directions[[place[choice.user.id] for choice in choices]], choices)


def orders_of(directions: Ints, choices: Sequence[Choice]) -> npt.NDArray[np.float64]:
    """Per choice 1, 0.5 (a tie) or 0: whether the sum of direction x level orders the two texts as the user did.

    `directions` has one row per choice, (choices, D).
    """
    chosen = np.array([choice.chosen.levels for choice in choices], np.int64)
    rejected = np.array([choice.rejected.levels for choice in choices], np.int64)
    scores = (directions * (chosen - rejected)).sum(1)
    return accuracy(scores, np.zeros(len(scores)))
