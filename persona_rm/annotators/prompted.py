"""What `llm` and `http` share: comments x dimensions -> prompts to a `Generator` -> readings.

Three forms. `questions` is the paper's (appendix A.3): one prompt per comment and dimension, answered by one option;
the prompts of a comment differ in their last lines only, so a prefix cache reads post and comment once. `json` and
`compact` are one prompt per comment: the list of dimensions stands first and is the same for all comments, the answer
names only what the comment reflects, as an object or as a list of signed numbers.
"""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from persona_rm.annotators.base import WARM, Annotator, Reading
from persona_rm.annotators.cost import Cost
from persona_rm.annotators.parse_levels import read_listed, read_questions
from persona_rm.annotators.wording import PACKAGED, PromptForm, PromptWriter, asker, read_wording, schema
from persona_rm.backends.base import Generation, Generator
from persona_rm.config import Config, PathText
from persona_rm.io.text import GAP, shorten
from persona_rm.types import Comment

AT_ONCE = 8192
"""Prompts in one call of the generator: 90 of each comment would fill the memory with copies of its text."""


class AskingConfig(Config):
    """How to ask."""

    form: PromptForm = "questions"
    examples: bool = True
    """Worked examples before the question."""
    wording: PathText | None = None
    """Another file of prompts; None is the packaged `prompted.yaml`."""
    max_chars: int = Field(default=6000, ge=100)
    """Of the post and of the comment, each: the middle of a longer one is left out, which `Reading.cut` counts."""
    max_answer_tokens: int = Field(default=384, ge=1)
    """Of `json` and `compact`; an answer that is longer is cut, and an error."""


class AskingAnnotator(Annotator):
    """Reads intensities by asking a language model; a comment one of whose answers is bad has an error."""

    Config: ClassVar[type[Config]] = AskingConfig
    option_tokens: ClassVar[int]
    """Of an answer of `questions`: 1 where the backend imposes the options, more where a model may lead in."""

    @cached_property
    @abstractmethod
    def generator(self) -> Generator:
        """What is asked. Raises RecipeError if there is none."""

    @cached_property
    def _askers(self) -> tuple[PromptWriter, PromptWriter]:
        file = read_wording(Path(self.config.wording) if self.config.wording else PACKAGED)
        form, examples = self.config.form, self.config.examples
        return asker(file, form, self.space, 0, examples), asker(file, form, self.space, 1, examples)

    def read(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int = 0) -> list[Reading]:
        """All prompts of all comments, comment by comment. One without text is neutral, and the model is not asked."""
        return self._ask(prompts, comments, variant)[0]

    def cost(self, prompts: Sequence[str], comments: Sequence[Comment]) -> Cost:
        """Tokens and seconds of `read`; another text is asked beforehand, so that what all share is in the cache."""
        self._ask([""], [WARM], 0)
        return self._ask(prompts, comments, 0)[1]

    def _ask(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int) -> tuple[list[Reading], Cost]:
        self.check(prompts, comments, variant)
        way = self._askers[variant]
        asked, cuts = [], []
        for post, comment in zip(prompts, comments, strict=True):
            if comment.text.strip():
                cut, short = 0, []
                for text in (post, comment.text):
                    short.append(shorten(text, self.config.max_chars))
                    # What stands for the left-out middle is no part of the text.
                    cut += len(text) - len(short[-1]) + len(GAP) if short[-1] != text else 0
                asked += way.prompts(*short)
                cuts.append(cut)
        started = time.perf_counter()
        answers = self._generate(asked, way) if asked else []
        spent = sum((cost_of(answer) for answer in answers), Cost(seconds=time.perf_counter() - started))
        # Answers come in the order of the prompts, `per` of them for each comment.
        per = len(way.tasks)
        groups = [answers[i : i + per] for i in range(0, len(answers), per)]
        readings = iter([_with_cut(self._reading(group, way), cut) for group, cut in zip(groups, cuts, strict=True)])
        return [next(readings) if comment.text.strip() else self.neutral for comment in comments], spent

    def _generate(self, asked: Sequence[str], way: PromptWriter) -> list[Generation]:
        codes = list(way.wording.codes)
        given: dict[str, Any] = {"max_tokens": self.option_tokens, "choices": codes}
        if way.form != "questions":
            form = schema(way.form, codes, len(self.space))
            given = {"max_tokens": self.config.max_answer_tokens, "schema": form}
        calls = [asked[i : i + AT_ONCE] for i in range(0, len(asked), AT_ONCE)]
        return [answer for call in calls for answer in self.generator.generate(call, **given)]

    def _reading(self, answers: Sequence[Generation], way: PromptWriter) -> Reading:
        if way.form == "questions":
            return read_questions(answers, way.wording.codes)
        return read_listed(answers[0], way.form, way.wording.codes, len(self.space))


def _with_cut(reading: Reading, cut: int) -> Reading:
    return replace(reading, cut=cut) if cut and not reading.error else reading


def cost_of(answer: Generation) -> Cost:
    """The tokens of one answer."""
    return Cost(answer.prompt_tokens, answer.cached_tokens, answer.output_tokens)
