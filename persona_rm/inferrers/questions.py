"""A conversation with one user: a question, an answer, what is known now. Ends when little more can be learned.

interview = Interview(inferrer, Asker(question_bank(examples, 4000)), inferrer.resume(state))
while interview.open and len(interview.asked) < 10:
    question, nats = interview.question()
    interview.answer(question, grade)
state = inferrer.state(user_id, interview.tally, version)
"""

from dataclasses import dataclass, field

from persona_rm.backends.base import LevelReader
from persona_rm.inferrers.ask import Question, QuestionChooser
from persona_rm.inferrers.base import ModelInferrer, Posterior
from persona_rm.inferrers.critique import Critique, critique_items
from persona_rm.inferrers.tally import Tally

LEAST = 0.02
"""Nats: a question that is expected to tell less is not worth a user's time."""


@dataclass
class Interview:
    """`tally` holds what was known before, and takes the answers."""

    inferrer: ModelInferrer
    asker: QuestionChooser
    tally: Tally
    skipped: set[str] = field(default_factory=set)

    @property
    def asked(self) -> set[str]:
        """Questions of the bank that were answered or skipped, now or before."""
        return self.skipped | self.tally.answers.keys()

    @property
    def open(self) -> bool:
        """Is there a question left that would tell something?"""
        # Questions of another bank may have been answered before; only those of this one count.
        return len(self.asked & self.asker.places.keys()) < len(self.asker.places) and self.question()[1] > LEAST

    def question(self) -> tuple[Question, float]:
        """The next question, and what its answer is expected to tell, in nats."""
        return self.asker.next(self.inferrer.belief(self.tally), self.asked)

    def answer(self, question: Question, grade: int) -> None:
        """Take an answer: a grade from -2 (the second, clearly) to 2 (the first, clearly)."""
        self.tally.hear(question.id, question.difference, grade)

    def skip(self, question: Question) -> None:
        """Do not ask this again in this conversation."""
        self.skipped.add(question.id)

    def critique(self, text: str, about: str, reader: LevelReader) -> int:
        """Free text ("too long, not my humour") as evidence; returns how many dimensions it speaks about."""
        items = critique_items([Critique(text, about)], self.inferrer.space, reader)
        self.tally.add(items)
        return sum(sum(map(bool, item.votes)) for item in items)

    @property
    def posterior(self) -> Posterior:
        """What is known now, with the answers and items behind it."""
        return self.inferrer.of(self.tally, explain=True)
