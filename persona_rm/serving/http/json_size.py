"""How many values a JSON text has, without parsing it.

A body of 16 MB that is one long text is parsed in a tenth of a second. A body of the same size that is `[],[],[],...`
makes five million lists, which takes seconds and gigabytes, and neither a thread nor a timeout helps: the parser holds
Python's lock all the time. So values are counted first, by operations that run at the speed of copying memory.
"""

from persona_rm.serving.http.http_errors import RequestError

UNCOUNTED = 1 << 16
"""Bytes of a body that is parsed without counting: at worst it holds 20,000 values, which take milliseconds."""
MARKS = (b",", b":", b"[", b"{")
"""Each value, and each key, stands behind one of them, except the outermost value."""


def check_values(body: bytes | bytearray, most: int) -> None:
    """Raises `RequestError` for a body of more than `most` values and keys, or of another encoding than UTF-8."""
    if len(body) <= UNCOUNTED:
        return
    # No JSON in UTF-8 holds this byte. UTF-16 and UTF-32 do, and Python's parser reads them, but the marks below are
    # those of UTF-8.
    if b"\0" in body:
        raise RequestError("malformed", "the body is no JSON in UTF-8")
    if (values := json_values(body, most)) > most:
        raise RequestError(
            "too_large",
            f"the body has {values:,} JSON values or more, and the limit is {most:,}: send fewer rows at once",
        )


def json_values(body: bytes | bytearray, enough: int) -> int:
    """An upper bound on the values and keys of a JSON text in UTF-8; it may stop counting above `enough`."""
    if b"\\" in body:
        # Pairs of backslashes first, from the left, as a parser reads them: one that is left escapes a quote.
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = body.count(b'"') // 2
    if strings > enough:
        return strings
    # The parts at even positions are outside of strings. There are few, or the count above would have ended this.
    outside = b"".join(body.split(b'"')[::2])
    return 1 + sum(outside.count(mark) for mark in MARKS)
