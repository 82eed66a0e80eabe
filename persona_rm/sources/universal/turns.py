"""Prompts of several turns in the notation of HelpSteer2: a line `<extra_id_1>Assistant` or `<extra_id_1>User` before
each turn but the first."""

import re

from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Message, text_of

MARK = re.compile(r"\s*<extra_id_\d+>\s*(System|User|Assistant)[ \t]*(?:\r?\n|\Z)")
ANY_MARK = "<extra_id_"


def has_turns(text: str) -> bool:
    """True for a text with marks of turns."""
    return ANY_MARK in text


def rendered(row: JsonRow, key: str) -> str:
    """The prompt at `key`, its turns written as `types.text_of` writes them.

    Raises `DataError` for marks that are no turns of a conversation which ends with the user.
    """
    text = row.text(key)
    if not has_turns(text):
        return text
    first, *rest = MARK.split(text)
    turns = [Message("user", first.strip())] if first.strip() else []
    turns += [Message(role.lower(), said.strip()) for role, said in zip(rest[::2], rest[1::2], strict=True)]
    if not turns or turns[-1].role != "user" or any(not said or has_turns(said) for _, said in turns):
        raise row.error("its marks <extra_id_...> are no turns of a conversation that ends with the user", key)
    return text_of(tuple(turns))
