"""Preference data as OpenRLHF 0.11.2 reads it (datasets/reward_dataset.py:9-45), and its `margin`.

A row holds texts (`prompt`, `chosen`, `rejected`), or chat messages in the same columns for
`--data.apply_chat_template`, or two whole conversations in `chosen` and `rejected` without a prompt.

`margin` is read for every trainer. The trainer of reward models subtracts it in its loss
(`--model.margin_loss_enable`, models/loss.py:310). The DPO trainer drops it: there the token count of the prompt takes
its place (datasets/reward_dataset.py:131). So a pair weighs more in DPO only if its row comes more often.
"""

from collections.abc import Mapping
from typing import Any

from persona_rm.hosts.base import Preference
from persona_rm.io.json_rows import JsonRow
from persona_rm.prompts import prompt_in_row
from persona_rm.prompts.chat_messages import Fault, bare_turn, check_turns, read_messages, split_response
from persona_rm.types import Messages, Pair

PROMPT, CHOSEN, REJECTED, MARGIN = "prompt", "chosen", "rejected", "margin"


def read_preference(row: JsonRow) -> Preference:
    """The prompt and both responses. Raises `DataError` for a row that the host cannot read."""
    if row.data.get(PROMPT) is not None:
        return Preference(prompt_in_row(row, PROMPT), _response(row, CHOSEN), _response(row, REJECTED))
    for key in (CHOSEN, REJECTED):
        if not isinstance(row.data.get(key), list):
            raise row.error(f"missing, and {key!r} is no conversation (a list of messages) that holds it", PROMPT)
    before, chosen = _split(row, CHOSEN)
    other, rejected = _split(row, REJECTED)
    if before != other:
        raise row.error("the conversations differ before their last message, so they answer different prompts", CHOSEN)
    if not before:
        raise row.error("the conversation holds no message before the response, and there is no prompt", CHOSEN)
    check_turns(before, _fault(row, CHOSEN))
    return Preference(bare_turn(before), chosen, rejected)


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


def _split(row: JsonRow, key: str) -> tuple[Messages, str]:
    """The turns before the response, and the response."""
    fault = _fault(row, key)
    return split_response(read_messages(row.data.get(key), fault), fault)


def _fault(row: JsonRow, key: str) -> Fault:
    return lambda problem: row.error(problem, key)
