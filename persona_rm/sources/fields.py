"""Values that real dumps write in several ways: ids as numbers, counts as text, times in seconds since 1970."""

import re
from datetime import UTC, date, datetime

from persona_rm.io.json_rows import JsonRow

WHOLE = re.compile(r"[+-]?\d{1,18}")
SECONDS = re.compile(r"\d{9,14}(\.\d+)?")
MILLI = 1e11
"""Above so many seconds (the year 5138) a time is in milliseconds."""


def ident(row: JsonRow, key: str) -> str | None:
    """An id or an author: text, or a whole number as its digits. None if absent, null or empty."""
    value = row.data.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return row.nullable(key, str) or None


def need_ident(row: JsonRow, key: str) -> str:
    """Like `ident`, where there must be one."""
    value = ident(row, key)
    if value is None:
        raise row.error(f"missing or empty; the row has: {', '.join(row.data) or 'nothing'}", key)
    return value


def inside(row: JsonRow, key: str) -> JsonRow:
    """The object at `key`, as a row of its own."""
    return JsonRow(row.required(key, dict), row.file, row.number, f"{row.prefix}{key}.")


def whole(row: JsonRow, key: str) -> int | None:
    """A whole number, also one written as 3.0 or "3". None if absent or null."""
    value = row.data.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and WHOLE.fullmatch(value):
        return int(value)
    return row.nullable(key, int)


def need_whole(row: JsonRow, key: str) -> int:
    """Like `whole`, where there must be one."""
    value = whole(row, key)
    return row.required(key, int) if value is None else value


def moment(row: JsonRow, key: str) -> str | None:
    """A time as ISO text: (milli)seconds since 1970 become UTC, other text stays. None if absent, null or empty."""
    value = row.data.get(key)
    # Parquet and Arrow give times as Python's own dates.
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _utc(row, key, value)
    if isinstance(value, str) and SECONDS.fullmatch(value):
        return _utc(row, key, float(value))
    return row.nullable(key, str) or None


def _utc(row: JsonRow, key: str, seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds > MILLI else seconds, UTC).isoformat(
            timespec="seconds"
        )
    except (ValueError, OverflowError, OSError) as error:
        raise row.error("no time: seconds since 1970 are expected", key) from error
