"""Shared by the benchmarks of real users' comparisons: draws that depend neither on votes nor on the file's order."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from persona_rm.benchmarks.base import Case
from persona_rm.errors import DataError
from persona_rm.types import content_id

T = TypeVar("T")


def drawn(items: Iterable[T], key: Callable[[T], str], seed: int, *parts: str) -> list[T]:
    """The items in an order that depends only on a hash of the seed, `parts` and each item's key."""
    # The key itself decides between equal hashes, so the order never depends on that of the input.
    return sorted(items, key=lambda item: (content_id(str(seed), *parts, key(item)), key(item)))


def unordered(a: str, b: str) -> str:
    """One key for a pair, independent of which side was preferred."""
    return "\x1f".join(sorted((a, b)))


def plain(text: str) -> str:
    """The text without case and spacing, by which equal texts are recognised."""
    return " ".join(text.split()).casefold()


def columns_of(case: Case, benchmark: str, *keys: str) -> tuple[str, ...]:
    """The values that the benchmark wrote into `Example.extra`. Raises `DataError` for a case of another benchmark."""
    extra = case.example.extra
    for key in (key for key in keys if not isinstance(extra.get(key), str)):
        raise DataError(f"case {case.example.id!r} is none of benchmark {benchmark}: `extra` lacks it", key=key)
    return tuple(extra[key] for key in keys)
