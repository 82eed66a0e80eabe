"""Chat messages (a list of {role, content}): the one reader of users files, recipes, preference data and rewards.

A conversation of one user turn is the text of that turn, as a plain data set has it. Where only a text is read (users
files, methods and annotators without turns), several turns are a transcript without system turns (`types.text_of`).
Where a policy reads the prompt, the turns stay turns, and a system turn may only be the first one. The last turn of a
prompt is the user's, which the response answers. No error holds a text of a message.
"""

from collections.abc import Callable, Mapping
from typing import Any

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Message, Messages, Prompt, text_of

ROLES = ("system", "user", "assistant")
WORD = 20
"""Characters of the longest role or key that an error names: anything longer may be a text of a user."""
Fault = Callable[[str], DataError]
"""Makes the error of a problem, with file, row and key if there are such."""


def read_messages(value: Any, fault: Fault = DataError) -> Messages:
    """The messages of a chat, in any order of roles.

    Raises what `fault` makes if there is none, or if one has no role, an unknown role, or a content that is no text.
    """
    if not isinstance(value, list | tuple):
        raise fault(f"must be text or a list of chat messages, found {type(value).__name__}")
    if not value:
        raise fault("the list of chat messages is empty; it must have at least one")
    return tuple(_message(turn, number, fault) for number, turn in enumerate(value, start=1))


def read_prompt(value: Any, fault: Fault = DataError) -> Prompt:
    """A prompt from JSON, for a policy: a text, or messages that `check_turns` accepts. Raises what `fault` makes."""
    if isinstance(value, str):
        return value
    messages = read_messages(value, fault)
    check_turns(messages, fault)
    return messages


def check_turns(messages: Messages, fault: Fault = DataError) -> None:
    """Raises what `fault` makes if a role is unknown, a system turn is not the first, or the last turn is not the
    user's."""
    for number, message in enumerate(messages, start=1):
        _check_role(message.role, number, fault)
        if message.role == "system" and number > 1:
            raise fault(f"message {number} is a system turn; only the first message can be one")
    _check_last(messages, fault)


def prompt_text(messages: Messages, fault: Fault = DataError) -> str:
    """The prompt as one text, without system turns. Raises what `fault` makes if the last other turn is not the
    user's."""
    _check_last(tuple(message for message in messages if message.role != "system"), fault)
    return text_of(messages)


def prompt_in_row(row: JsonRow, key: str) -> Prompt:
    """The prompt in a column of a table: a text, also that of a single user turn, or the turns of a conversation.

    Raises `DataError`.
    """
    if not isinstance(row.data.get(key), list):
        return row.text(key)
    return bare_turn(read_prompt(row.data[key], lambda problem: row.error(problem, key)))


def bare_turn(prompt: Prompt) -> Prompt:
    """The text of a conversation that is one user turn; any other prompt as it is."""
    is_turn = not isinstance(prompt, str) and len(prompt) == 1 and prompt[0].role == "user"
    return text_of(prompt) if is_turn else prompt


def in_turns(prompt: Prompt) -> Messages:
    """A text as a user turn; messages as they are."""
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


def split_response(messages: Messages, fault: Fault = DataError) -> tuple[Messages, str]:
    """The turns before the response, and its text. Raises what `fault` makes unless the last turn is the
    assistant's."""
    if messages[-1].role != "assistant":
        raise fault("a response in chat messages ends with a message of the assistant")
    return messages[:-1], messages[-1].content


def as_json(messages: Messages) -> list[dict[str, str]]:
    """The messages as chat templates and JSON files take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def prompt_json(prompt: Prompt) -> str | list[dict[str, str]]:
    """The inverse of `read_prompt`."""
    return prompt if isinstance(prompt, str) else as_json(prompt)


def _message(turn: Any, number: int, fault: Fault) -> Message:
    if isinstance(turn, Message):
        turn = turn._asdict()
    if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
        given = f"the keys {', '.join(map(_named, turn))}" if isinstance(turn, Mapping) else type(turn).__name__
        raise fault(f"message {number} must be an object with role and content, found {given}"[:200])
    _check_role(turn["role"], number, fault)
    return Message(turn["role"], _content(turn["content"], number, fault))


def _check_role(role: Any, number: int, fault: Fault) -> None:
    if role in ROLES:
        return
    if not isinstance(role, str) or _named(role) != role:
        kind = "that is no word" if isinstance(role, str) else f"that is no text but {type(role).__name__}"
        raise fault(f"message {number} has a role {kind}; a role is one of: {', '.join(ROLES)}")
    hint = did_you_mean(role, ROLES)
    raise fault(f"message {number} has the unknown role {role!r}; a role is one of: {', '.join(ROLES)}{hint}")


def _check_last(spoken: Messages, fault: Fault) -> None:
    if not spoken or spoken[-1].role != "user":
        last = f"the last message is one of the {spoken[-1].role}" if spoken else "it has none"
        raise fault(f"a prompt in chat messages ends with a message of the user, and {last}")


def _content(content: Any, number: int, fault: Fault) -> str:
    """The text of a message, which may come in parts: [{"type": "text", "text": ...}]."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        problem = "must have text as its content; images and calls of tools cannot be read"
        raise fault(f"message {number} {problem}, found {type(content).__name__}")
    return "".join(map(str, texts))


def _named(key: object) -> str:
    """A key or a role as errors may name it."""
    word = str(key)
    return word if word.replace("_", "").isalnum() and len(word) <= WORD else "..."
