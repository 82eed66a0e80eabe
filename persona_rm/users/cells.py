"""The values of a users file: users, texts and chat messages, times, strengths, directions.

Equal texts are one object in memory, because a file of millions of comparisons holds few distinct texts. A fault is a
`DataError` with file, row and key; it never holds a user's text.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.user_ids import need_user
from persona_rm.prompts.chat_messages import prompt_text, read_messages, split_response
from persona_rm.sources.fields import moment
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Messages
from persona_rm.users.findings import Findings

LONG = 20_000
"""Characters above which a text is named as a long one."""
WHOLE_FLOAT = re.compile(r"\d+\.0")
FOREIGN = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as the readers decode them."""
MESSAGES = re.compile(r"\s*\[\s*\{(?=.*?[\"']role[\"']\s*:)", re.DOTALL)
"""The beginning of a cell with chat messages, in the quotes of JSON or of Python."""
CACHED = 100_000
"""Number of distinct times that are kept, so that a file of one time per row does not fill the memory with them."""
TIMES = "ISO 8601 (2024-05-01 or 2024-05-01T12:30:00Z) or seconds since 1970"


class CellReader:
    """Reads the values of one file. `cells_are_text`: as in CSV, where lists and messages are written as JSON."""

    def __init__(self, space: PreferenceSpace, findings: Findings, *, cells_are_text: bool = False) -> None:
        self.space, self.findings, self.cells_are_text = space, findings, cells_are_text
        self._texts: dict[str, str] = {}
        self._users: dict[str, str] = {}
        self._times: dict[Any, str] = {}
        self._latest = (datetime.now(UTC) + timedelta(days=1)).timestamp()
        self.foreign: DataError | None = None
        """The error of the first text with bytes that are not UTF-8."""
        self.beyond_ascii = False
        """True if a text in UTF-8 has characters beyond ASCII, so that the file as a whole is UTF-8."""

    def user(self, row: JsonRow, key: str) -> str:
        """The id of the user: text, or a whole number, which is the same user as its digits."""
        value = row.data.get(key)
        if type(value) is str and value in self._users:
            return self._users[value]
        user = self._new_user(row, key, need_user(row, key))
        if isinstance(value, str):
            self._users[value] = user
        return user

    def _new_user(self, row: JsonRow, key: str, value: str) -> str:
        self._check_encoding(row, key, value)
        if self.cells_are_text and WHOLE_FLOAT.fullmatch(value):
            problem = "users are written as decimal numbers (1.0) and are read as whole ones (1)"
            self.findings.add("decimal_users", "note", problem, f"row {row.number}")
            value = value[:-2]
        return self._users.setdefault(value, value)

    def text(self, row: JsonRow, key: str) -> str:
        """The text at `key`, which may be empty. A missing one is an error."""
        value = row.data.get(key)
        if type(value) is str:
            return self._texts.get(value) or self.share(row, key, value)
        raise self._no_text(row, key, value)

    def share(self, row: JsonRow, key: str, value: str) -> str:
        """The one object of this text. Raises `DataError` if it is not UTF-8. Long texts are counted."""
        known = self._texts.get(value)
        if known is not None:
            return known
        self._check_encoding(row, key, value)
        if len(value) > LONG:
            example = str(row.error(f"{len(value):,} characters", key))
            problem = f"texts have more than {LONG:,} characters; models cut or refuse long texts"
            self.findings.add("long_text", "note", problem, example)
        return self._texts.setdefault(value, value)

    def _no_text(self, row: JsonRow, key: str, value: Any) -> DataError:
        if value is None:
            return row.error(f"missing; the row has: {_filled(row)}", key)
        return row.error(f"must be text or a list of chat messages, found {type(value).__name__}", key)

    def _check_encoding(self, row: JsonRow, key: str, value: str) -> None:
        if value.isascii():
            return
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = row.error("not UTF-8: it holds bytes or half a character that no text can hold", key)
            if FOREIGN.search(value):
                self.foreign = self.foreign or problem
            raise problem from error
        self.beyond_ascii = True

    def prompt(self, row: JsonRow, key: str) -> str:
        """The prompt at `key`: text, or chat messages (`prompts.chat_messages.prompt_text`)."""
        turns = self._turns(row, key)
        return self.text(row, key) if turns is None else self._rendered(row, key, turns)

    def _rendered(self, row: JsonRow, key: str, turns: Messages) -> str:
        if any(turn.role == "system" for turn in turns):
            problem = "prompts have a system message, which is left out: the prompt format or the host brings its own"
            self.findings.add("system_message", "note", problem, f"row {row.number}")
        return self.share(row, key, prompt_text(turns, lambda problem: row.error(problem, key)))

    def _turns(self, row: JsonRow, key: str) -> Messages | None:
        """The chat messages at `key`; None if it holds no list."""
        value = row.data.get(key)
        if self.cells_are_text and isinstance(value, str) and MESSAGES.match(value):
            value = self.parsed(row, key)
        if not isinstance(value, list):
            return None
        return read_messages(value, lambda problem: row.error(problem, key))

    def comparison(self, row: JsonRow, prompt: str | None, *keys: str) -> tuple[str, ...]:
        """The prompt and the responses at `keys`, each text or chat messages that end with the response.

        Messages before the response are the prompt. If there is a column `prompt` too, both must say the same.
        """
        data = row.data
        values = [data.get(key) for key in keys]
        plain = all(type(value) is str for value in values) and not self.cells_are_text
        if plain and prompt is not None and type(data.get(prompt)) is str:
            return (self.text(row, prompt), *(self.text(row, key) for key in keys))
        given = self.prompt(row, prompt) if prompt is not None and data.get(prompt) is not None else None
        responses = [self._response(row, key, given) for key in keys]
        before = {text for text, _ in responses if text is not None}
        if given is not None:
            before = {given}
        if len(before) != 1:
            wrong = "have different prompts in their messages; give one" if before else "come without a prompt"
            has = "" if before else f"; the row has: {_filled(row)}. --map prompt=COLUMN names the column"
            raise row.error(f"{' and '.join(keys)} {wrong}{has}", prompt or "prompt")
        return (before.pop(), *(text for _, text in responses))

    def _response(self, row: JsonRow, key: str, given: str | None) -> tuple[str | None, str]:
        """The prompt in front of a response in chat messages, None if there is none, and the response."""
        turns = self._turns(row, key)
        if turns is None:
            return None, self.text(row, key)
        before, response = split_response(turns, lambda problem: row.error(problem, key))
        text = self.share(row, key, response)
        if not any(turn.role != "system" for turn in before):
            return None, text
        prompt = self._rendered(row, key, before)
        # A data set with a column of the last question beside the whole chat says the same in both.
        if given is not None and given not in (prompt, before[-1].content):
            raise row.error("its messages have another prompt than the row", key)
        return prompt, text

    def time(self, row: JsonRow, key: str | None, user: str) -> str | None:
        """The time as ISO text; None without one.

        Raises `DataError`, naming the user, for another format and for a time to come.
        """
        value = None if key is None else row.data.get(key)
        if key is None or value is None or value == "":
            return None
        try:
            if value in self._times:
                return self._times[value]
        except TypeError:
            raise row.error(f"user {user!r}: a time is {TIMES}, found {type(value).__name__}", key) from None
        text = self._time(row, key, user)
        if len(self._times) < CACHED:
            self._times[value] = text
        return text

    def _time(self, row: JsonRow, key: str, user: str) -> str:
        value = row.data[key]
        shown = repr(value)[:40] if isinstance(value, str | int | float | date) else type(value).__name__
        try:
            text = moment(row, key) or ""
            when = datetime.fromisoformat(text)
        except (DataError, ValueError, OverflowError) as error:
            raise row.error(f"user {user!r}: a time is {TIMES}, found {shown}", key) from error
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        if when.timestamp() > self._latest:
            raise row.error(f"user {user!r}: the time {shown} has not come yet; a time is {TIMES}", key)
        return text

    def number(self, row: JsonRow, key: str) -> float:
        """A finite number, which CSV writes as text."""
        value = row.data.get(key)
        try:
            number = math.nan if isinstance(value, bool) or value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            shown = repr(value)[:40] if isinstance(value, str | float | bool) else type(value).__name__
            raise row.error(f"must be a finite number, found {shown}", key)
        return number

    def strength(self, row: JsonRow, key: str | None) -> float | None:
        """How much better the chosen response is: 0 (a tie) or more; None without one."""
        if key is None or row.data.get(key) in (None, ""):
            return None
        number = self.number(row, key)
        if number < 0:
            raise row.error(f"{number:g} is below 0 (a tie); swap the two responses instead", key)
        return number

    def directions(self, row: JsonRow, key: str) -> Directions | None:
        """Preference directions: -1, 0 or 1 for each dimension, or in words ("Likes Science, Dislikes Gaming")."""
        value = row.data.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str) and not value.lstrip().startswith("["):
            try:
                return self.space.parse(value)
            except DataError as error:
                raise row.error(error.problem, key) from error
        values = self.parsed(row, key) if isinstance(value, str) else value
        if not isinstance(values, list) or len(values) != len(self.space):
            given = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
            raise row.error(
                f"directions are {len(self.space)} values of -1, 0 and 1, or labels in words, found {given}", key
            )
        for number in values:
            if isinstance(number, bool) or number not in (-1, 0, 1):
                raise row.error(f"a direction is -1, 0 or 1, found {number!r}"[:120], key)
        return tuple(int(number) for number in values)

    def items(self, row: JsonRow, key: str | None) -> list[Any]:
        """The list at `key`; empty without one. CSV writes it as JSON."""
        value = None if key is None else row.data.get(key)
        if key is None or value is None or value == "":
            return []
        values = self.parsed(row, key) if isinstance(value, str) else value
        if not isinstance(values, list):
            raise row.error(f"must be a list, found {type(values).__name__}", key)
        return values

    def parsed(self, row: JsonRow, key: str) -> Any:
        """The JSON in a cell of text."""
        try:
            return json.loads(row.data[key])
        except (ValueError, RecursionError) as error:
            raise row.error(
                f"must be JSON: {type(error).__name__} (json.dumps writes it; str writes the quotes of Python)", key
            ) from error

    def group(self, row: JsonRow, key: str | None) -> str:
        """The name of the user's group, which may be a whole number; "" without one."""
        value = None if key is None else row.data.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.optional_text(row, key)

    def optional_text(self, row: JsonRow, key: str | None) -> str:
        """The text at `key`; "" without one."""
        return "" if key is None or row.data.get(key) is None else self.text(row, key)


def _filled(row: JsonRow) -> str:
    """The keys of a row that hold something, in words."""
    return ", ".join(name for name, one in row.data.items() if one is not None) or "nothing"


def child(row: JsonRow, item: Mapping[str, Any], place: str) -> JsonRow:
    """An object inside a row, whose errors name its place: `pairs[3].chosen`."""
    return JsonRow(item, row.file, row.number, f"{row.prefix}{place}.")
