"""One reading of the values that real dumps write in several ways: ids, authors, whole numbers, times, and nulls.

Every source reads through these functions, so that no value is tolerated by one and refused by another. Null, NaN and
an empty text are an absent value everywhere; "null", "N/A" and the like are one for authors, numbers and times, which
are never written so, and not for ids (Reddit has a post "nan").
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.marks import is_removed
from persona_rm.io.text import is_blank
from persona_rm.io.user_ids import NO_USER, read_user_id

WHOLE = re.compile(r"[+-]?\d{1,18}(?:\.0{1,18})?")
SECONDS = re.compile(r"\d{9,14}(\.\d{1,18})?")
LARGEST = 1 << 63
"""Above any whole number that a column of a table holds."""
MILLI = 1e11
"""Above so many seconds (the year 5138) a time is in milliseconds."""


def is_null(value: Any) -> bool:
    """True for what stands for an absent value, whatever the field: null, NaN, a text without a character to see."""
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and is_blank(value))


def ident(row: JsonRow, key: str) -> str | None:
    """An id: text, or a whole number as its digits (17 and 17.0 are "17"). None if absent."""
    value = row.data.get(key)
    if is_null(value):
        return None
    if isinstance(value, str):
        return row.text(key)
    try:
        return read_user_id(value)
    except DataError as error:
        raise row.error(f"must be text or a whole number, found {value!r}"[:200], key) from error


def need_ident(row: JsonRow, key: str) -> str:
    """Like `ident`, where there must be one."""
    value = ident(row, key)
    if value is None:
        raise row.error(f"missing or empty; the row has: {', '.join(row.data) or 'nothing'}", key)
    return value


def author(row: JsonRow, key: str) -> str | None:
    """The author; None if absent, and for what programs and sites write in its place: "N/A", "[Deleted User]"."""
    name = ident(row, key)
    if name is None or NO_USER.fullmatch(name.strip()) or is_removed(name):
        return None
    return name


def inside(row: JsonRow, key: str) -> JsonRow:
    """The object at `key`, as a row of its own."""
    return JsonRow(row.required(key, dict), row.file, row.number, f"{row.prefix}{key}.")


def whole(row: JsonRow, key: str) -> int | None:
    """A whole number, also one written as 3.0 or "3". None if absent."""
    value = row.data.get(key)
    if _is_absent(value):
        return None
    number: int | None = None
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        number = int(value)
    elif isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        number = int(value.strip().partition(".")[0])
    if number is None:
        number = row.required(key, int)
    if abs(number) >= LARGEST:
        raise row.error("a whole number of at most 63 bits is expected, found a larger one", key)
    return number


def need_whole(row: JsonRow, key: str) -> int:
    """Like `whole`, where there must be one."""
    value = whole(row, key)
    return row.required(key, int) if value is None else value


def moment(row: JsonRow, key: str) -> str | None:
    """A time as ISO text: (milli)seconds since 1970 become UTC, other text stays. None if absent."""
    value = row.data.get(key)
    if _is_absent(value):
        return None
    # Parquet and Arrow give times as Python's own dates.
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _utc(row, key, value)
    text = row.text(key)
    return _utc(row, key, float(text)) if SECONDS.fullmatch(text.strip()) else text


def _is_absent(value: Any) -> bool:
    """Also true for the words that programs write for null, which no number and no time is."""
    return is_null(value) or (isinstance(value, str) and NO_USER.fullmatch(value.strip()) is not None)


def _utc(row: JsonRow, key: str, seconds: float | Decimal) -> str:
    try:
        number = float(seconds)
        return datetime.fromtimestamp(number / 1000 if number > MILLI else number, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise row.error("no time: seconds since 1970 are expected", key) from error
