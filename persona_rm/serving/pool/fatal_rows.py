"""Rows that end or stall the actor that scores them.

A row whose actor dies is asked again at another actor, and a row that kills its actor would so go from actor to actor.
Which row of a batch did it cannot be told, and most of the rows that were lost with an actor are innocent. So a row
that was lost once is a suspect: it is scored alone, and the actor tells the supervisor so before and after. If the
actor ends or stalls in between, this row was the only one. It may still be innocent, as the machine kills processes
too; a second time is taken as proof, and the row is refused. A row therefore costs three actors at most.
"""

from collections import Counter
from collections.abc import Sequence
from threading import Lock

from persona_rm.types import RewardRequest, content_id, text_of

PROOF = 2
"""Actors that ended or stalled while they scored only this row."""
KEPT = 10_000
"""Suspected rows that are remembered, each by a hash."""


def fingerprint(request: RewardRequest) -> str:
    """Rows with one fingerprint are one computation. It is a hash and holds no text."""
    parts = request.user or "", text_of(request.prompt), request.response, str(request.finished)
    return content_id(*[part.encode("utf-8", "backslashreplace").decode() for part in parts])


class FatalRows:
    """What the supervisor knows about suspects. Thread-safe."""

    def __init__(self) -> None:
        self._scoring: dict[str, tuple[str, ...]] = {}
        self._lost: Counter[str] = Counter()
        self._lock = Lock()

    def begin(self, actor: str, rows: Sequence[str]) -> None:
        """This actor scores these suspects now. If it began before and never ended, those rows ended its process."""
        with self._lock:
            self._blame(actor)
            self._scoring[actor] = tuple(rows)

    def done(self, actor: str) -> None:
        """The actor lives: its suspects are innocent, unless others are begun."""
        with self._lock:
            for row in self._scoring.pop(actor, ()):
                self._lost.pop(row, None)

    def lost(self, actor: str, rows: Sequence[str]) -> list[int]:
        """A call with these rows was lost with this actor. Gives the positions of those that are fatal by now."""
        with self._lock:
            if set(rows) & set(self._scoring.get(actor, ())):
                self._blame(actor)
            return [i for i, row in enumerate(rows) if self._lost[row] >= PROOF]

    def _blame(self, actor: str) -> None:
        for row in self._scoring.pop(actor, ()):
            self._lost[row] += 1
        while len(self._lost) > KEPT:
            self._lost.pop(next(iter(self._lost)))
