"""Preference data as OpenRLHF 0.11.2 reads it (datasets/reward_dataset.py:9-45), and its `margin`.

A row holds texts (`prompt`, `chosen`, `rejected`), or chat messages in the same columns for
`--data.apply_chat_template`, or two whole conversations in `chosen` and `rejected` without a prompt.

`margin` is read for every trainer. The trainer of reward models subtracts it in its loss
(`--model.margin_loss_enable`, models/loss.py:310). The DPO trainer drops it: there the token count of the prompt takes
its place (datasets/reward_dataset.py:131). So a pair weighs more in DPO only if its row comes more often.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Pair

PROMPT, CHOSEN, REJECTED, MARGIN = "prompt", "chosen", "rejected", "margin"
ROLES = ("system", "user", "assistant")
ASSISTANT = "assistant"


def read_preference(row: JsonRow) -> Pair:
    """The prompt and both responses as texts. Raises `DataError` for a row that the host cannot read."""
    if row.data.get(PROMPT) is not None:
        return Pair(prompt_text(row, PROMPT), _response(row, CHOSEN), _response(row, REJECTED))
    for key in (CHOSEN, REJECTED):
        if not isinstance(row.data.get(key), list):
            raise row.error(f"missing, and {key!r} is no conversation (a list of messages) that holds it", PROMPT)
    chosen, rejected = _messages(row, CHOSEN), _messages(row, REJECTED)
    if chosen[:-1] != rejected[:-1]:
        raise row.error("the conversations differ before their last message, so they answer different prompts", CHOSEN)
    if len(chosen) < 2:
        raise row.error("the conversation holds no message before the response, and there is no prompt", CHOSEN)
    return Pair(_prompt_of(chosen[:-1], row, CHOSEN), _last(chosen, row, CHOSEN), _last(rejected, row, REJECTED))


def prompt_text(row: JsonRow, key: str) -> str:
    """The prompt as one text: itself, the message of the user, or the turns of a conversation with their roles."""
    if not isinstance(row.data.get(key), list):
        return row.text(key)
    return _prompt_of(_messages(row, key), row, key)


def preference_row(
    given: Mapping[str, Any], pair: Pair | None, margin: float, *, turned: bool = False
) -> dict[str, Any]:
    """The row with its margin; `pair` replaces the texts, or `turned` exchanges the responses as they came."""
    row = dict(given)
    if pair is not None:
        row |= {PROMPT: pair.prompt, CHOSEN: pair.chosen, REJECTED: pair.rejected}
    elif turned:
        row |= {CHOSEN: given[REJECTED], REJECTED: given[CHOSEN]}
    return {**row, MARGIN: margin}


def _response(row: JsonRow, key: str) -> str:
    if not isinstance(row.data.get(key), list):
        return row.text(key)
    return _last(_messages(row, key), row, key)


def _last(messages: Sequence[tuple[str, str]], row: JsonRow, key: str) -> str:
    role, text = messages[-1]
    if role != ASSISTANT:
        raise row.error(f"the last message is the response and has the role {ASSISTANT!r}, found {role!r}", key)
    return text


def _messages(row: JsonRow, key: str) -> list[tuple[str, str]]:
    """(role, content) of each message. Raises `DataError` for an empty list and an unknown role."""
    messages = []
    for message in row.children(key):
        role = message.text("role")
        if role not in ROLES:
            raise message.error(f"a role is one of: {', '.join(ROLES)}; found {role!r}"[:200], "role")
        messages.append((role, message.text("content")))
    if not messages:
        raise row.error("the list of messages is empty", key)
    return messages


def _prompt_of(messages: Sequence[tuple[str, str]], row: JsonRow, key: str) -> str:
    """The text of the last turn if it is the only one of the user, else all turns with their roles."""
    if messages[-1][0] != "user":
        raise row.error(f"the prompt ends with a message of the user, found {messages[-1][0]!r}", key)
    if len(messages) == 1:
        return messages[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in messages)
