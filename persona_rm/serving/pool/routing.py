"""Which reward actor serves a user, and which actors exist, from the view of one client.

This is rendezvous hashing (Thaler and Ravishankar, 1998): every actor gets a weight for every user, and the user is
served by the actor with the largest weight. If an actor disappears, only its users move, evenly to the other actors,
and they return when it comes back. The prefix caches and user states of the actors therefore stay warm through
restarts and scaling. All samples of a prompt go to one actor, as a group buffer needs it. So calls are never moved to
another actor because of load; under load the pool grows instead (`scaling`).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from threading import Lock


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The actors in the order of this user; the first one serves the user. The order is the same in every process."""
    return sorted(names, key=lambda name: (_weight(name, key), name), reverse=True)


def _weight(name: str, key: str) -> bytes:
    # The separator keeps pairs apart whose concatenations are equal. Ids may hold lone surrogates, which UTF-8
    # refuses.
    return blake2b(f"{name}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Roster:
    """The names of the living actors, refreshed every few seconds. Thread-safe: one thread refreshes while the others
    use the names so far.

    An actor that did not answer comes last for `cooldown` seconds, because a call to a dead actor takes a second or
    two.
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
        """`look` returns the names of the living actors. `every`: seconds between two refreshes. `least`: the same
        after a failure or while no actor is known."""
        self.look, self.every, self.least, self.cooldown, self.clock = look, every, least, cooldown, clock
        self._names: list[str] = []
        self._cooldown_until: dict[str, float] = {}
        self._refreshed_at = float("-inf")
        self._failure_noted = False
        self._lock, self._failing = Lock(), Lock()

    def names(self) -> list[str]:
        """The names as of the last refresh; refreshed now if that is due or no actor is known."""
        due = self.least if self._failure_noted or not self._names else self.every
        # Without any name a caller has to wait for the refresh. With names it goes on with those while another thread
        # refreshes.
        if self.clock() - self._refreshed_at >= due and self._lock.acquire(blocking=not self._names):
            try:
                # Another thread may have refreshed while this one waited for the lock.
                if self.clock() - self._refreshed_at >= due:
                    self._refresh()
            finally:
                self._lock.release()
        return self._names

    def order(self, key: str) -> list[str]:
        """The actors to call for this user, in order of preference."""
        now, names = self.clock(), self.names()
        # The sort is stable, so both parts, with and without a cooldown, keep the order of this user.
        return sorted(ranked(key, names), key=lambda name: self._cooldown_until.get(name, now) > now)

    def failed(self, name: str) -> bool:
        """Note that an actor did not answer. Others come first during its cooldown, and names are refreshed soon.

        True if this is new: many callers meet the same death.
        """
        now, self._failure_noted = self.clock(), True
        with self._failing:
            new = self._cooldown_until.get(name, now) <= now
            self._cooldown_until[name] = now + self.cooldown
        return new

    def answered(self, name: str) -> None:
        """Note that an actor answered, which ends its cooldown."""
        self._cooldown_until.pop(name, None)

    def _refresh(self) -> None:
        """Look the names up. If there are none, the earlier names stay, because those actors may be restarting."""
        names: Sequence[str] = self.look()
        self._names = list(names) or self._names
        self._refreshed_at, self._failure_noted = self.clock(), False
