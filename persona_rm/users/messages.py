"""Chat messages (a list of {role, content}) as the texts that users files, rewards and evaluations exchange.

A prompt of one user turn is the text of this turn, as a plain data set has it, so that the host's own chat template
wraps it once. A prompt of several turns is a transcript, its turns separated by an empty line:

    User: Which tea has most caffeine?

    Assistant: Black tea.

    User: And without milk?

A system message is no part of the prompt: the prompt format, or the host, brings its own. Those left out are counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError

ROLES = ("system", "user", "assistant")
Fault = Callable[[str], DataError]
"""Makes the error of a fault, with file, row and key."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    content: str


def read_turns(value: Any, fault: Fault) -> list[Turn]:
    """The messages of a chat. Raises what `fault` makes if one has no role, an unknown role or no text."""
    if not isinstance(value, list):
        raise fault(f"must be text or a list of chat messages, found {type(value).__name__}")
    if not value:
        raise fault("the list of chat messages is empty")
    return [_turn(message, number, fault) for number, message in enumerate(value, start=1)]


def _turn(message: Any, number: int, fault: Fault) -> Turn:
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        found = f"the keys {', '.join(map(str, message))}" if isinstance(message, dict) else type(message).__name__
        raise fault(f"message {number} must be an object with role and content, found {found}"[:200])
    role, content = message["role"], message["content"]
    if role not in ROLES:
        said = did_you_mean(role, ROLES) if isinstance(role, str) else ""
        raise fault(
            f"message {number} has the unknown role {role!r}; a role is one of: {', '.join(ROLES)}{said}"[:200]
        )
    return Turn(role, _content(content, number, fault))


def _content(content: Any, number: int, fault: Fault) -> str:
    """The text of a message, which may come in parts: [{"type": "text", "text": ...}]."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise fault(f"message {number} must have text as its content; images and calls of tools cannot be read")
    return "".join(map(str, texts))


def prompt_text(turns: Sequence[Turn], fault: Fault) -> str:
    """The prompt that these turns are. Raises what `fault` makes unless the last one is the user's."""
    spoken = [turn for turn in turns if turn.role != "system"]
    if not spoken or spoken[-1].role != "user":
        raise fault("a prompt in chat messages ends with a message of the user")
    if len(spoken) == 1:
        return spoken[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in spoken)


def split_response(turns: Sequence[Turn], fault: Fault) -> tuple[list[Turn], str]:
    """The turns before the response, and its text. Raises what `fault` makes unless the last turn is an
    assistant's."""
    if turns[-1].role != "assistant":
        raise fault("a response in chat messages ends with a message of the assistant")
    return list(turns[:-1]), turns[-1].content
