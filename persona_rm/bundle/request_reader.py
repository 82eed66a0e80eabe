"""Requests as methods read them: bare prompts, and responses without the model's thinking."""

import re
from collections.abc import Sequence
from dataclasses import replace

from persona_rm.bundle.text_limits import TextLimits
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.text import is_sound
from persona_rm.methods.base import Method
from persona_rm.prompts import ChatTemplate
from persona_rm.prompts.chat_template import END_THINK, THINK
from persona_rm.types import Prompt, RewardRequest

_THOUGHT = re.compile(rf"{THINK}.*?(?:{END_THINK}\s*|\Z)", re.DOTALL)
"""A thought to its end, or to the end of the response, with the white space behind it."""


class RequestReader:
    """Reads requests for one bundle. `chat`: the chat side of the policy's tokenizer, if it is known."""

    def __init__(self, chat: ChatTemplate | None, *, strip_think: bool, limits: TextLimits | None = None) -> None:
        self.chat, self.strip_think, self.limits = chat, strip_think, limits or TextLimits()

    def bare(self, prompt: Prompt) -> Prompt:
        """The messages of a prompt that arrives rendered, any other prompt as it is. Raises `DataError` as
        `ChatTemplate.unwrap` does."""
        return prompt if self.chat is None else self.chat.unwrap(prompt)

    def response(self, text: str) -> str:
        """What is scored of a response."""
        if not self.strip_think:
            return text
        # Some templates open the thinking themselves, so the response begins inside it.
        opened = self.chat is not None and self.chat.opens_thinking
        return without_thinking(text, opened=opened)

    def read(self, request: RewardRequest) -> RewardRequest:
        """The request with the bare prompt and what is scored of the response.

        Raises `DataError` as `bare` does, and for half of a surrogate pair, which JSON can spell and no model reads.
        """
        for what, text in (("prompt", request.prompt_text), ("response", request.response)):
            if not is_sound(text):
                raise DataError(f"the {what} holds half of a surrogate pair, which is no character")
        return replace(request, prompt=self.bare(request.prompt), response=self.response(request.response))

    def read_all(self, requests: Sequence[RewardRequest], method: Method) -> list[RewardRequest]:
        """The requests as this method reads them. Raises `ScoreError` with the row of a prompt that cannot be read, or
        of a text that is too long."""
        read = []
        for i, request in enumerate(requests):
            try:
                # First of all: what follows reads the texts, some of it several times.
                self.limits.check(request)
                read.append(for_method(self.read(request), method))
            except DataError as error:
                raise ScoreError(str(error), (i,), "prompt") from error
            except ScoreError as error:
                raise error.at(i) from error
        return read


def without_thinking(text: str, *, opened: bool = False) -> str:
    """The response without `<think>...</think>`. A thought that does not end takes the rest of the response with it.

    `opened`: the prompt ended with `<think>`, so the response begins inside a thought. A response with the end of a
    thought and no beginning before it is read in the same way.
    """
    before, end, _ = text.partition(END_THINK)
    if THINK not in before and (end or opened):
        text = THINK + text
    return _THOUGHT.sub("", text)


def for_method(request: RewardRequest, method: Method) -> RewardRequest:
    """The request with a prompt that this method takes: messages become one text for a method that reads no turns."""
    if method.takes_messages or isinstance(request.prompt, str):
        return request
    return replace(request, prompt=request.prompt_text)
