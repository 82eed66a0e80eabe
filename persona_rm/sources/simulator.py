"""The embedded world as a source: its training threads, with authors and true levels."""

from collections.abc import Iterator
from typing import ClassVar

from persona_rm.config import Config
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.sources.base import OnBad, Source
from persona_rm.types import Thread


class SimulatorSource(Source):
    """Threads of training people under training posts, in training wordings. Comments carry their levels."""

    name: ClassVar[str] = "simulator"
    Config: ClassVar[type[Config]] = SimulatorConfig
    default_annotator: ClassVar[str] = "given"

    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every training thread; none of them is bad."""
        yield from Simulator(self.config, self.space).threads("train")
