"""Which question to ask next, so that few answers of a new user are enough.

Of a bank of pairs (built examples, and portraits made of the space's own descriptions) the next is the one whose
answer is expected to say most about the user's directions: the mutual information between answer and directions,
H(answer) - E[H(answer | directions)] (Lindley 1956; Houlsby et al. 2011, "BALD"), under the posterior that all earlier
items and answers left. The difference of a pair is normal within a latent class, so both entropies are one-dimensional
integrals, taken by Gauss-Hermite quadrature. A first cut by the variance of the difference leaves `shortlist` pairs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError
from persona_rm.inferrers.model import Floats
from persona_rm.inferrers.stored_answers import Belief, Perception, hear
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Example, content_id

# The nodes of the weight function exp(-x^2 / 2). With weights that add up to 1, a weighted sum is the mean under a
# standard normal distribution.
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, slots=True)
class Question:
    """Two texts under one prompt; `difference`: levels of the first minus levels of the second, by dimension."""

    id: str
    prompt: str
    first: str
    second: str
    difference: tuple[int, ...]
    portrait: bool = False
    """Made of the space's own descriptions, so that the difference is exact."""


PORTRAIT = "Which of the two sounds more like you?"


def portraits(space: PreferenceSpace, size: int, seed: int = 0) -> list[Question]:
    """Questions that need no corpus: two short portraits of opposite poles, of one dimension or of two or three.

    One for each dimension first, then drawn combinations, `size` in all.
    """
    rng, n = Random(f"{seed}/portraits"), len(space)
    drawn: list[tuple[tuple[int, int], ...]] = [((dim, 1),) for dim in range(n)]
    while len(drawn) < size and n > 1:
        dims = sorted(rng.sample(range(n), min(rng.choice((2, 3)), n)))
        drawn.append(tuple((dim, rng.choice((-1, 1))) for dim in dims))
    # Drawn combinations can repeat. Equal questions are kept once, so the result may be shorter than `size`.
    return list({one.id: one for one in (_portrait(space, signs) for signs in drawn[:size])}.values())


def _portrait(space: PreferenceSpace, signs: Sequence[tuple[int, int]]) -> Question:
    sides: tuple[list[str], list[str]] = [], []
    difference = [0] * len(space)
    for dim, sign in signs:
        positive = space.dimensions[dim].positive.descriptions[0]
        negative = space.dimensions[dim].negative.descriptions[0]
        sides[0].append(positive if sign > 0 else negative)
        sides[1].append(negative if sign > 0 else positive)
        # Opposite poles are the levels 1 and 3.
        difference[dim] = 2 * sign
    first, second = map(" ".join, sides)
    return Question(content_id("portrait", first, second), PORTRAIT, first, second, tuple(difference), True)


def question_bank(examples: Sequence[Example], size: int, seed: int = 0) -> list[Question]:
    """At most `size` questions from built examples, in a seeded order; which text comes first is drawn.

    A pair is one question, whichever of its texts a user chose.
    Raises `DataError` if no example says on which dimensions its texts differ.
    """
    pairs = dict(_pair(example) for example in examples if any(example.directions))
    if not pairs:
        raise DataError("no example has directions of its pair: a question bank needs annotated pairs (build one)")
    # Sorted, so that the draw does not depend on the order of the examples.
    chosen = Random(f"{seed}/bank").sample(sorted(pairs), min(size, len(pairs)))
    return [_question(pair, pairs[pair], Random(f"{seed}/side/{i}").random() < 0.5) for i, pair in enumerate(chosen)]


def _pair(example: Example) -> tuple[tuple[str, str, str], Directions]:
    """The prompt and the two texts in alphabetical order, and the levels of the first minus those of the second."""
    if example.chosen <= example.rejected:
        return (example.prompt, example.chosen, example.rejected), tuple(example.directions)
    return (example.prompt, example.rejected, example.chosen), _negated(example.directions)


def _question(pair: tuple[str, str, str], difference: Directions, turned: bool) -> Question:
    prompt, *texts = pair
    first, second = reversed(texts) if turned else texts
    asked = _negated(difference) if turned else difference
    return Question(content_id("question", *pair), prompt, first, second, asked)


def _negated(directions: Directions) -> Directions:
    return tuple(-d for d in directions)


class QuestionChooser:
    """Questions, and what an answer to each would tell. Keeps nothing about anybody."""

    def __init__(self, questions: Sequence[Question], how: Perception | None = None, shortlist: int = 256) -> None:
        if not questions:
            raise DataError("an empty question bank: nothing can be asked")
        self.questions, self.how, self.shortlist = list(questions), how or Perception(), shortlist
        self.places = {question.id: i for i, question in enumerate(self.questions)}
        self.differences = np.array([question.difference for question in self.questions], np.int64)

    def next(self, belief: Belief, asked: Collection[str] = ()) -> tuple[Question, float]:
        """The question that tells most, and how much in nats. Raises `DataError` if all have been asked."""
        open_ = np.array([i for i, question in enumerate(self.questions) if question.id not in asked], np.int64)
        if not len(open_):
            raise DataError(f"all {len(self.questions)} questions of the bank have been asked")
        spread = self._spread(belief, open_)
        # A stable sort, so that of equal questions the earlier one in the bank is taken.
        few = open_[np.argsort(-spread, kind="stable")[: self.shortlist]]
        told = self.information(belief, few)
        best = int(told.argmax())
        return self.questions[int(few[best])], float(told[best])

    def information(self, belief: Belief, rows: npt.NDArray[np.int64]) -> Floats:
        """Expected information of the answers to these questions about the directions, in nats, (len(rows),)."""
        x = self.differences[rows].astype(float)
        mean, variance = belief.moments()
        # center, width (questions, classes): mean and standard deviation of the difference. points (questions,
        # classes, nodes). Given a point the difference is certain, so its variance is 0.
        center, width = x @ mean.T, np.sqrt((x**2) @ variance.T)
        points = center[..., None] + width[..., None] * NODES
        grades = self.how.grades(points, np.zeros_like(points))
        known = np.einsum("qkg,g,k->q", _entropy(grades), WEIGHTS, belief.weights)
        return np.asarray(_entropy(np.einsum("qkga,g,k->qa", grades, WEIGHTS, belief.weights)) - known)

    def _spread(self, belief: Belief, rows: npt.NDArray[np.int64]) -> Floats:
        """Variance of the difference, within classes and between them."""
        x = self.differences[rows].astype(float)
        mean, variance = belief.moments()
        center = x @ mean.T
        # The law of total variance: the mean of the variances within classes, and the variance of their means.
        between = center**2 @ belief.weights - (center @ belief.weights) ** 2
        return np.asarray((x**2) @ (belief.weights @ variance) + between)

    def hear(self, belief: Belief, question_id: str, grade: int) -> Belief:
        """The belief after an answer. Raises `DataError` for a question that is not in the bank."""
        if question_id not in self.places:
            raise DataError(f"no question {question_id!r} in a bank of {len(self.questions)}")
        return hear(belief, self.differences[self.places[question_id]], grade, self.how)


def _entropy(p: Floats) -> Floats:
    return np.asarray(-(p * np.log(p)).sum(-1))
