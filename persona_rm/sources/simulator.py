"""The simulator as a source: its training threads, with authors and true levels."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from persona_rm.config import Config
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.sources.base import OnBad, Source
from persona_rm.types import Thread


class SimulatorSource(Source):
    """Threads of training users under training posts, in training wordings. Comments carry their levels."""

    name: ClassVar[str] = "simulator"
    Config: ClassVar[type[Config]] = SimulatorConfig
    default_annotator: ClassVar[str] = "given"
    text_annotator: ClassVar[str | None] = "simulator"

    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every training thread; none of them is bad."""
        yield from self.truth().threads("train")

    def truth(self) -> Simulator:
        """The simulator itself."""
        return Simulator(self.config, self.space)

    def small(self) -> Mapping[str, Any]:
        """A few users and posts."""
        return {"users": 40, "test_users": 8, "posts": 80, "replies": 4}
