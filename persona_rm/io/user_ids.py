"""One reading of user ids for users files, labels, preference data, prompts and HTTP calls.

An id is text, or a whole number, which is the same user as its digits: a table that has a missing value somewhere
holds whole numbers as 17.0. Text stays as it is, spaces and Unicode form included.
"""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from numbers import Integral
from typing import Any
from unicodedata import category, normalize
from uuid import UUID

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.text import UNSEEN, is_blank

LARGEST_ID = 1 << 128
"""Above any whole number that is an id; a UUID has 128 bits."""
LARGEST_FLOAT = 1 << 53
"""Up to here every whole number is a float of its own; above, two ids may be the same float."""
LONGEST_ID = 1024
"""Characters of the longest id. Ids are kept in caches, statistics and logs; a caller must not set their size."""
NEAR = 5000
"""Ids that are compared with an unknown one: more take seconds, and the message is a help only."""
NO_USER = re.compile(
    r"[\[(<{]?\s*(?:null|nan|nat|none|nil|n/?a|undefined)\s*[\])>}]?|#n/?a!?"
    r"|[\[(<{]\s*(?:deleted|removed|unavailable)(?:[\s_-]+(?:user|account))?\s*[\])>}]",
    re.IGNORECASE,
)
"""What other programs write for a missing user: "NaN", "<NA>", "[Deleted User]"."""


def read_user_id(value: Any) -> str | None:
    """The id that a value means; None for a missing user.

    Raises `DataError`, without the value, for anything that is no id: a fraction, a truth value, a list.
    """
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, str):
        # Before anything reads the text, which may have megabytes.
        if len(value) > LONGEST_ID:
            raise DataError(f"a user id has at most {LONGEST_ID:,} characters, found {len(value):,}")
        return None if is_blank(value) or NO_USER.fullmatch(value.strip()) else str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        if abs(value) > LARGEST_FLOAT:
            problem = "a whole number of this size is rounded in a column of fractions, so users may be mixed up"
            raise DataError(f"{problem}; write ids as text")
        value = int(value)
    # A truth value is an int in Python, and no id. Python refuses to write integers of thousands of digits.
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < LARGEST_ID:
        return str(int(value))
    raise DataError(f"a user is text or a whole number, found {type(value).__name__}")


def look_of(user: str) -> str:
    """What ids that look alike have in common: they differ in case, Unicode form, spaces or invisible characters."""
    look = user if user.isascii() else "".join(c for c in normalize("NFKC", user) if category(c) not in UNSEEN)
    return "".join(look.split()).casefold()


def near_user(user: str, ids: Iterable[str]) -> str:
    """The end of an error about an unknown user: "; did you mean 'u1'?", or "" if no id is close."""
    look, looked_at = look_of(user), list(islice(ids, NEAR))
    alike = next((one for one in looked_at if look_of(one) == look), None)
    return f"; did you mean {alike!r}?" if alike is not None else did_you_mean(user, looked_at)


def user_at(row: JsonRow, key: str) -> str | None:
    """The user at `key`, None if the row names none. Raises `DataError` with file, row and key for what is no id."""
    value = row.data.get(key)
    try:
        return read_user_id(value)
    except DataError as error:
        shown = f" {value!r}" if isinstance(value, bool | float) else ""
        raise row.error(f"{error.problem}{shown}", key) from error


def need_user(row: JsonRow, key: str) -> str:
    """Like `user_at`, where every row names its user."""
    user = user_at(row, key)
    if user is None:
        value = row.data.get(key)
        has = ", ".join(name for name, one in row.data.items() if one is not None)
        found = f"found {value!r}"[:60] if value else f"the row has: {has or 'nothing'}"
        raise row.error(f"the user is missing, {found}; every row names its user", key)
    return user
