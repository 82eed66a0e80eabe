"""Writes beside the rewards: log lines and saved statistics. A full disk must not cost a reward."""

import logging
from collections import Counter
from collections.abc import Callable

logger = logging.getLogger(__name__)
LOG_LINES, SAVED_STATISTICS = "log lines", "statistics"
WRITES = (LOG_LINES, SAVED_STATISTICS)


class OptionalWrites:
    """Tries writes that no reward depends on. `failed` counts those that failed, by what was to be written."""

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, Counter[str]()
        self._failing: dict[str, int] = {}

    def attempt(self, what: str, write: Callable[[], None]) -> None:
        """Call `write`. An `OSError` is counted, and reported at the first failure and when writing works again.

        Not at each failure: under load that would be thousands of equal lines, on the disk that is full.
        """
        try:
            write()
        except OSError as error:
            self.failed[what] += 1
            self._failing[what] = self._failing.get(what, 0) + 1
            if self._failing[what] == 1:
                told = "persona_rm: %s cannot write its %s (%s); rewards go on, and what is not written is counted"
                logger.warning(told, self.name, what, error)
        else:
            if lost := self._failing.pop(what, 0):
                logger.warning("persona_rm: %s writes its %s again; %d were not written", self.name, what, lost)
