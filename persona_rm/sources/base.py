"""The contract of a source: raw data -> `Thread` rows. Nothing is dropped in silence: bad rows go to `on_bad`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Thread

OnBad = Callable[[DataError], None]


class Source(ABC):
    """One raw data set. Constructors store; files are opened by `threads`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    default_annotator: ClassVar[str] = "encoder"

    def __init__(self, config: Any, space: PreferenceSpace) -> None:
        self.config, self.space = config, space

    @abstractmethod
    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every thread, in the order of the input. A row that cannot be read goes to `on_bad`, and reading goes on."""

    def files(self) -> list[Path]:
        """The files that `threads` reads, in its order; none where the source makes its threads itself."""
        return []

    def fingerprint(self) -> str:
        """A hash of what `threads` reads: a changed input re-runs what depends on it. Files: size and content."""
        return str(self.config.model_dump_json())
