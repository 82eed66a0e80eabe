"""Tells a systematic mistake in the labels from a few unknown users.

A wrong label column looks like a data set of unknown users: every sample gets the population prior, and the job runs
to its end. If nearly all of the last samples name no user of the bundle, one ERROR says so, with the form of what came
and of what the bundle has. It shows forms ("aaa-99" for "ann-17"), because ids do not belong into logs.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Lock

from persona_rm.errors import PersonaRMError
from persona_rm.io.text import shorten

logger = logging.getLogger(__name__)
WINDOW = 100
"""Samples that are looked at together."""
ALARM = 0.95
"""The share of them without a known user from which the labels are reported."""
EXAMPLES = 3
LONGEST = 40
"""Characters of a user id that a message shows."""


class LabelMonitor:
    """Counts samples whose label names no user of the bundle. Thread-safe; it reports once."""

    def __init__(self, known: Callable[[], Sequence[str]] = tuple, window: int = WINDOW) -> None:
        """`known` gives some user ids of the bundle; it is called for the report only."""
        self.known = known
        self.reported = False
        self._recent: deque[bool] = deque(maxlen=window)
        self._examples: dict[str, None] = {}
        self._lock = Lock()

    def bad_label(self, reason: str) -> None:
        """Keep what is wrong with a label, which holds no word of it, as an example."""
        with self._lock:
            self._keep(f"a bad label ({reason})")

    def sample(self, user: str | None, known: bool) -> None:
        """Count a sample, and report if nearly all of the last ones are of no known user."""
        with self._lock:
            self._recent.append(known)
            if not known:
                self._keep("no user" if user is None else _form(user))
            unknown = len(self._recent) - sum(self._recent)
            due = not self.reported and len(self._recent) == self._recent.maxlen
            if not due or unknown < ALARM * len(self._recent):
                return
            self.reported = True
            of, examples = len(self._recent), list(self._examples)
        # Outside of the lock: the ids may be asked of an actor, which takes a moment.
        try:
            users = list(islice(self.known(), EXAMPLES))
            there = ", ".join(dict.fromkeys(map(_form, users)))
        except PersonaRMError as error:
            # The report matters more than its examples, and the sample was scored.
            there = f"not known here ({type(error).__name__})"
        logger.error(
            "persona_rm: %d of the last %d labels name no user of the bundle, so the population prior rewards them. "
            "Labels were of the form: %s. Users of the bundle are of the form: %s (letters as a, digits as 9). Is the "
            "label column the right one?",
            unknown, of, ", ".join(examples), there or "not listed here",
        )  # fmt: skip

    def _keep(self, example: str) -> None:
        # "no user" is the weakest example: a bad label counts as no user a moment later.
        if example == "no user" and self._examples:
            return
        self._examples.pop("no user", None)
        if len(self._examples) < EXAMPLES:
            self._examples[example] = None


def _form(user: str) -> str:
    """The id with all letters and digits made the same."""
    cut = shorten(user, LONGEST, keep_end=False)
    return repr("".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in cut))
