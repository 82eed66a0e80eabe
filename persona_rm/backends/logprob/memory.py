"""Out of memory: the rows of a batch in halves, down to the one that does not fit alone."""

from collections.abc import Callable, Sequence

from persona_rm.backends.tokens import Encoded
from persona_rm.errors import PersonaRMError

Sums = list[list[float]]
WORDS = ("DefaultCPUAllocator", "out of memory", "bad_alloc", "could not create a memory object")
"""How torch and oneDNN say it on a CPU, where it has no class of its own."""


class NoRoom(PersonaRMError):
    """This row alone needs more memory than there is."""

    def __init__(self, row: Encoded) -> None:
        what = f"out of memory on a row of {len(row[0])} tokens, alone and with empty caches"
        super().__init__(f"{what}: lower max_length, or give the actor more memory")
        self.row = row


def in_halves(work: Callable[[Sequence[Encoded]], Sums], rows: Sequence[Encoded], release: Callable[[], None]) -> Sums:
    """`work(rows)`; where that runs out of memory, `release()` and both halves. Other errors pass. Raises `NoRoom`."""
    if (found := _tried(work, rows)) is not None:
        return found
    release()
    if len(rows) == 1:
        if (found := _tried(work, rows)) is None:
            raise NoRoom(rows[0])
        return found
    parts = [in_halves(work, part, release) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
    return [first + second for first, second in zip(*parts, strict=True)]


def _tried(work: Callable[[Sequence[Encoded]], Sums], rows: Sequence[Encoded]) -> Sums | None:
    """None without memory. The error ends here, and with its traceback the tensors in it."""
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
