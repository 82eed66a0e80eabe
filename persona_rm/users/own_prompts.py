"""A team's own prompts: a table whose rows hold a prompt and perhaps the user who asks it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.text import is_blank
from persona_rm.io.user_ids import user_at
from persona_rm.prompts.chat_messages import in_turns, prompt_in_row
from persona_rm.types import Prompt, text_of
from persona_rm.users.raw_rows import open_table

PROMPT_COLUMNS = ("prompt", "input", "question", "instruction", "query", "post")
USER_COLUMNS = ("user", "user_id", "label")
"""The columns that are read, the first that a row has."""


class OwnPrompt(NamedTuple):
    """One row: the prompt, and the user who asks it, None if the row names none."""

    prompt: Prompt
    user: str | None


def read_table(path: Path) -> list[JsonRow]:
    """The rows of a table in any format (`open_table`). Raises `DataError` for a row that cannot be read, or none."""

    def refuse(error: DataError) -> None:
        raise error

    rows = list(open_table(path).rows(refuse))
    if not rows:
        raise DataError("the file has no rows", file=path)
    return rows


def column_of(rows: Sequence[JsonRow], names: Sequence[str]) -> str | None:
    """The first of these columns that the first row has; None if it has none of them."""
    return next((name for name in names if name in rows[0].data), None)


def require_column(rows: Sequence[JsonRow], column: str, why: str) -> None:
    """Raises `DataError` if the first row lacks the column, with the columns that there are."""
    have = rows[0].data
    if column not in have:
        hint = did_you_mean(column, have)
        raise rows[0].error(f"no such column, {why}; the row has: {', '.join(have)}{hint}", column)


class PromptsFile(NamedTuple):
    """A prompts file, and the columns that were read."""

    prompts: list[OwnPrompt]
    prompt_column: str
    user_column: str | None
    """None if no row names a user."""


def read_own_prompts(path: Path) -> list[OwnPrompt]:
    """Every prompt of a recipe's prompts file: all of them texts, or all of them messages if one has several turns.

    Raises `DataError` for a row without a prompt.
    """
    return read_prompts_file(path).prompts


def read_prompts_file(path: Path) -> PromptsFile:
    """As `read_own_prompts`, with the names of the columns."""
    rows = read_table(path)
    prompt, user = column_of(rows, PROMPT_COLUMNS), column_of(rows, USER_COLUMNS)
    if prompt is None:
        problem = f"no column holds prompts; name one of them {', '.join(PROMPT_COLUMNS)}"
        raise rows[0].error(f"{problem}; the row has: {', '.join(rows[0].data)}", PROMPT_COLUMNS[0])
    read = []
    for row in rows:
        asked = prompt_in_row(row, prompt)
        if is_blank(text_of(asked)):
            raise row.error("the prompt is empty", prompt)
        read.append(OwnPrompt(asked, _user(row, user) if user else None))
    if not all(isinstance(one.prompt, str) for one in read):
        # Data sets of a host hold one kind of value in a column.
        read = [one._replace(prompt=in_turns(one.prompt)) for one in read]
    return PromptsFile(read, prompt, user)


def _user(row: JsonRow, column: str) -> str | None:
    """The user of a row: an id, or an object with the key `user` or `user_id`; None if it names none."""
    value = row.data.get(column)
    if isinstance(value, dict):
        inside = JsonRow(value, row.file, row.number, f"{row.prefix}{column}.")
        return user_at(inside, next((key for key in USER_COLUMNS if key in value), USER_COLUMNS[0]))
    return user_at(row, column)
