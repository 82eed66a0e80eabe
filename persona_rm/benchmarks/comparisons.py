"""What the benchmarks of real per-person comparisons share: draws that see neither votes nor the order of a file."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from persona_rm.benchmarks.base import Case
from persona_rm.errors import DataError
from persona_rm.types import content_id

T = TypeVar("T")


def drawn(items: Iterable[T], key: Callable[[T], str], seed: int, *parts: str) -> list[T]:
    """The items in an order that only the seed, `parts` and each item's key decide (a hash of them)."""
    return sorted(items, key=lambda item: (content_id(str(seed), *parts, key(item)), key(item)))


def unordered(a: str, b: str) -> str:
    """One key for a pair, whichever side was preferred."""
    return "\x1f".join(sorted((a, b)))


def plain(text: str) -> str:
    """A text without case and spacing: two that differ in nothing else are the same text."""
    return " ".join(text.split()).casefold()


def columns_of(case: Case, benchmark: str, *keys: str) -> tuple[str, ...]:
    """What the benchmark noted of a case in `Example.extra`. Raises `DataError` for a case that is none of its own."""
    extra = case.example.extra
    for key in (key for key in keys if not isinstance(extra.get(key), str)):
        raise DataError(f"case {case.example.id!r} is none of benchmark {benchmark}: `extra` lacks it", key=key)
    return tuple(extra[key] for key in keys)
