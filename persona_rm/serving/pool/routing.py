"""Which reward actor a person belongs to, and which actors there are, as one client sees them.

Rendezvous hashing (Thaler and Ravishankar, 1998): every actor gets a weight for every person, and the heaviest one has
the person. When an actor goes only its people move, evenly to the others; when it comes back they return. So the
persona prefixes and states that actors keep stay warm through deaths and scaling. All samples of a prompt go one way,
which is what a group buffer needs; calls are therefore not moved by load: more actors are (`scaling`).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from threading import Lock


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The actors in this person's order: the first one's they are; the same on every machine and in every process."""
    return sorted(names, key=lambda name: (_weight(name, key), name), reverse=True)


def _weight(name: str, key: str) -> bytes:
    return blake2b(f"{name}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Roster:
    """Names of the living actors, looked up again every few seconds. Thread-safe; one thread looks, the others go on.

    An actor that did not answer comes last for `cooldown` seconds: a call to a dead one costs a second or two.
    """

    def __init__(
        self,
        look: Callable[[], list[str]],
        *,
        every: float = 5.0,
        least: float = 1.0,
        cooldown: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.look, self.every, self.least, self.cooldown, self.clock = look, every, least, cooldown, clock
        self._names: list[str] = []
        self._shunned: dict[str, float] = {}
        self._looked = float("-inf")
        self._troubled = False
        self._lock = Lock()

    def names(self) -> list[str]:
        """The actors that were found last; looked up now where that is due, or none is known."""
        due = self.least if self._troubled or not self._names else self.every
        if self.clock() - self._looked >= due and self._lock.acquire(blocking=not self._names):
            try:
                if self.clock() - self._looked >= due:
                    self._refresh()
            finally:
                self._lock.release()
        return self._names

    def order(self, key: str) -> list[str]:
        """Whom to ask for this person, first to last."""
        now, names = self.clock(), self.names()
        return sorted(ranked(key, names), key=lambda name: self._shunned.get(name, now) > now)

    def failed(self, name: str) -> None:
        """This one did not answer: ask others first for a while, and look soon who lives."""
        self._shunned[name] = self.clock() + self.cooldown
        self._troubled = True

    def answered(self, name: str) -> None:
        """This one did."""
        self._shunned.pop(name, None)

    def _refresh(self) -> None:
        """Where nobody is found, those known before stay: they may be starting again."""
        found: Sequence[str] = self.look()
        self._names = list(found) or self._names
        self._looked, self._troubled = self.clock(), False
