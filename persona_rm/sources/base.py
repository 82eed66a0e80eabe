"""The contract of a source: raw data -> `Thread` rows. Nothing is dropped silently: bad rows go to `on_bad`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Thread

if TYPE_CHECKING:  # an edit of the simulator must not change the keys of builds from other sources
    from persona_rm.simulator.simulator import Simulator

OnBad = Callable[[DataError], None]


class Source(ABC):
    """One raw data set. Constructors store; files are opened by `threads`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    default_annotator: ClassVar[str] = "encoder"
    """The annotator of a construction whose recipe names none."""
    text_annotator: ClassVar[str | None] = None
    """The annotator of texts without levels, if `default_annotator` only passes on the levels that texts carry. None:
    the recipe has to name one."""

    def __init__(self, config: Any, space: PreferenceSpace) -> None:
        self.config, self.space = config, space

    @abstractmethod
    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every thread, in the order of the input. A row that cannot be read goes to `on_bad`, and reading goes on."""

    def truth(self) -> Simulator | None:
        """The simulator that knows every user's true preferences, or None for real data, where no one does."""
        return None

    def small(self) -> Mapping[str, Any]:
        """Settings that make this source small enough for a rehearsal; empty if its size cannot be set."""
        return {}

    def files(self) -> list[Path]:
        """The files that `threads` reads, in its order; none if the source makes its threads itself."""
        return []

    def fingerprint(self) -> str:
        """A hash of what `threads` reads, so that a changed input runs the dependent stages again.

        For files it covers size and content.
        """
        return str(self.config.model_dump_json())
