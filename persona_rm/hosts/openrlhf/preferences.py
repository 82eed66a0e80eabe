"""Preference data as OpenRLHF 0.11.2 reads it (datasets/reward_dataset.py:9-45), and its `margin`.

A row holds texts (`prompt`, `chosen`, `rejected`), or chat messages in the same columns for
`--data.apply_chat_template`, or two whole conversations in `chosen` and `rejected` without a prompt.

`margin` is read for every trainer. The trainer of reward models subtracts it in its loss
(`--model.margin_loss_enable`, models/loss.py:310). The DPO trainer drops it: there the token count of the prompt takes
its place (datasets/reward_dataset.py:131). So a pair weighs more in DPO only if its row comes more often.
"""

from collections.abc import Mapping
from typing import Any

from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Pair
from persona_rm.users.messages import Fault, Turn, prompt_text, read_turns, split_response

PROMPT, CHOSEN, REJECTED, MARGIN = "prompt", "chosen", "rejected", "margin"


def read_preference(row: JsonRow) -> Pair:
    """The prompt and both responses as texts. Raises `DataError` for a row that the host cannot read."""
    if row.data.get(PROMPT) is not None:
        return Pair(read_prompt(row), _response(row, CHOSEN), _response(row, REJECTED))
    for key in (CHOSEN, REJECTED):
        if not isinstance(row.data.get(key), list):
            raise row.error(f"missing, and {key!r} is no conversation (a list of messages) that holds it", PROMPT)
    before, chosen = _split(row, CHOSEN)
    other, rejected = _split(row, REJECTED)
    if before != other:
        raise row.error("the conversations differ before their last message, so they answer different prompts", CHOSEN)
    if not before:
        raise row.error("the conversation holds no message before the response, and there is no prompt", CHOSEN)
    return Pair(prompt_text(before, _fault(row, CHOSEN)), chosen, rejected)


def read_prompt(row: JsonRow) -> str:
    """The prompt as one text: itself, the message of the user, or the turns of a conversation with their roles."""
    value, fault = row.data.get(PROMPT), _fault(row, PROMPT)
    return prompt_text(read_turns(value, fault), fault) if isinstance(value, list) else row.text(PROMPT)


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
    return _split(row, key)[1] if isinstance(row.data.get(key), list) else row.text(key)


def _split(row: JsonRow, key: str) -> tuple[list[Turn], str]:
    """The turns before the response, and the response."""
    fault = _fault(row, key)
    return split_response(read_turns(row.data.get(key), fault), fault)


def _fault(row: JsonRow, key: str) -> Fault:
    return lambda problem: row.error(problem, key)
