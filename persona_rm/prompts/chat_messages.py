"""A prompt as chat messages: the turns of a conversation, as files and hosts write them, and as one text.

A system turn may only be the first one, and the last turn is the user's: the response answers it.
"""

from collections.abc import Mapping
from typing import Any

from persona_rm.errors import DataError
from persona_rm.types import Message, Messages, Prompt

ROLES = ("system", "user", "assistant")


def read_prompt(value: Any) -> Prompt:
    """A prompt from JSON: a text, or a list of {"role": ..., "content": ...}.

    Raises `DataError`, without any text of the prompt, if it is something else, a role is unknown, or the turns are in
    an order that no response can follow.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"a prompt is a text or a list of messages with at least one, found {_kind(value)}")
    messages = tuple(_message(turn, number) for number, turn in enumerate(value, start=1))
    check_turns(messages)
    return messages


def check_turns(messages: Messages) -> None:
    """Raises `DataError` if a role is unknown, a system turn is not the first, or the last turn is not the user's."""
    for number, message in enumerate(messages, start=1):
        if message.role not in ROLES:
            # A role is one word; anything else may be a text of a user, which no error holds.
            named = repr(message.role) if message.role.isalpha() and len(message.role) <= 20 else "that is no word"
            raise DataError(f"message {number} has a role {named}; roles are: {', '.join(ROLES)}")
        if message.role == "system" and number > 1:
            raise DataError(f"message {number} is a system turn; only the first message can be one")
    if not messages or messages[-1].role != "user":
        raise DataError("the last message of a prompt is the user's, which the response answers; found another one")


def as_json(messages: Messages) -> list[dict[str, str]]:
    """The messages as chat templates and JSON files take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _message(turn: Any, number: int) -> Message:
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
        raise DataError(f"message {number} is an object with the keys role and content, found {_kind(turn)}")
    role, content = turn["role"], turn["content"]
    if isinstance(content, list):
        content = _text_parts(content, number)
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError(
            f"message {number} has a role and a content that are texts, found {_kind(role)}, {_kind(content)}"
        )
    return Message(role, content)


def _text_parts(parts: list[Any], number: int) -> str:
    """The text of a content in parts, [{"type": "text", "text": ...}]. Raises `DataError` for images and the like."""
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts):
        raise DataError(f"message {number} holds something other than text, and rewards here are for text only")
    return "".join(part["text"] for part in parts)


def _kind(value: Any) -> str:
    """What a value is, without its texts."""
    if isinstance(value, list | tuple) and not value:
        return "an empty list"
    return "an object" if isinstance(value, Mapping) else type(value).__name__
