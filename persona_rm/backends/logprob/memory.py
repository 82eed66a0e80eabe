"""Out of memory: a batch is retried in halves, until only a row that does not fit alone fails."""

from collections.abc import Callable, Sequence

from persona_rm.backends.tokens import Encoded
from persona_rm.errors import PersonaRMError

Sums = list[list[float]]
WORDS = ("DefaultCPUAllocator", "out of memory", "bad_alloc", "could not create a memory object")
"""Parts of messages of torch and oneDNN. On a CPU, running out of memory has no exception class of its own."""


class NoRoom(PersonaRMError):
    """A single row needs more memory than the device has."""

    def __init__(self, row: Encoded) -> None:
        what = f"out of memory on a row of {len(row[0])} tokens, alone and with empty caches"
        super().__init__(f"{what}: lower max_length, or give the actor more memory")
        self.row = row


def in_halves(work: Callable[[Sequence[Encoded]], Sums], rows: Sequence[Encoded], release: Callable[[], None]) -> Sums:
    """`work(rows)`. If that runs out of memory, `release()` is called and each half is tried in the same way.

    Raises `NoRoom` for a row that does not fit alone. Other errors pass.
    """
    if (sums := _tried(work, rows)) is not None:
        return sums
    release()
    if len(rows) == 1:
        # Once more with empty caches, before the row is given up.
        if (sums := _tried(work, rows)) is None:
            raise NoRoom(rows[0])
        return sums
    # Halves cost about log2(n) failed tries, and the length of the row that is too large need not be known.
    parts = [in_halves(work, part, release) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
    return [first + second for first, second in zip(*parts, strict=True)]


def _tried(work: Callable[[Sequence[Encoded]], Sums], rows: Sequence[Encoded]) -> Sums | None:
    """`work(rows)`, or None without memory. The exception ends here, because its traceback keeps the tensors alive."""
    try:
        return work(rows)
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
    return None


def _is_memory(error: BaseException) -> bool:
    import torch

    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(word in str(error) for word in WORDS)
