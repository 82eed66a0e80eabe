"""Which reward actor serves a user, and which actors exist, as one client sees them.

Rendezvous hashing (Thaler and Ravishankar, 1998): every actor gets a weight for every user, and the actor with the
largest weight serves the user. When an actor ends only its users move, evenly to the others; when it comes back they
return. So the prefixes and states that actors cache stay warm through deaths and scaling. All samples of a prompt go
to one actor, as a group buffer needs; calls are therefore not moved by load. Load adds actors (`scaling`).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from threading import Lock


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The actors in this user's order, the one that serves the user first; the same in every process."""
    return sorted(names, key=lambda name: (_weight(name, key), name), reverse=True)


def _weight(name: str, key: str) -> bytes:
    return blake2b(f"{name}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Roster:
    """Names of the living actors, looked up again every few seconds. Thread-safe: one thread looks, the others go on.

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
        self._cooling: dict[str, float] = {}
        self._looked = float("-inf")
        self._troubled = False
        self._lock = Lock()

    def names(self) -> list[str]:
        """The actors of the last look-up, which is repeated if it is due or if none is known."""
        due = self.least if self._troubled or not self._names else self.every
        if self.clock() - self._looked >= due and self._lock.acquire(blocking=not self._names):
            try:
                if self.clock() - self._looked >= due:
                    self._refresh()
            finally:
                self._lock.release()
        return self._names

    def order(self, key: str) -> list[str]:
        """The actors to ask for this user, first to last."""
        now, names = self.clock(), self.names()
        return sorted(ranked(key, names), key=lambda name: self._cooling.get(name, now) > now)

    def failed(self, name: str) -> None:
        """The actor did not answer: ask others first during the cooldown, and look up the living ones soon."""
        self._cooling[name] = self.clock() + self.cooldown
        self._troubled = True

    def answered(self, name: str) -> None:
        """The actor answered, which ends its cooldown."""
        self._cooling.pop(name, None)

    def _refresh(self) -> None:
        """If no actor is found, those known before stay: they may be restarting."""
        living: Sequence[str] = self.look()
        self._names = list(living) or self._names
        self._looked, self._troubled = self.clock(), False
