"""The embedded world as a benchmark: test people, posts and wordings, with the truth beside every case."""

from typing import ClassVar

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.config import Config
from persona_rm.simulator.simulator import Choice, Simulator, SimulatorConfig
from persona_rm.types import Directions, Example, content_id


class SimulatorBenchmarkConfig(Config):
    """Which world, and how many choices of each test person."""

    world: SimulatorConfig = SimulatorConfig()
    per_user: int = Field(5, gt=0)
    n_ugc: int = Field(8, ge=0)
    n_pairs: int = Field(8, ge=0)


class SimulatorBenchmark(Benchmark):
    """Choices of test people, each with the person's evidence from other posts; golden directions are the hidden
    ones."""

    name: ClassVar[str] = "simulator"
    Config: ClassVar[type[Config]] = SimulatorBenchmarkConfig

    def cases(self) -> list[Case]:
        """`per_user` cases of each test person."""
        world = Simulator(self.config.world, self.space)
        return [self._case(world, choice) for choice in world.choices(self.config.per_user)]

    def _case(self, world: Simulator, choice: Choice) -> Case:
        evidence = world.persona(choice.user, "test", self.config.n_ugc, self.config.n_pairs, avoid=choice.post.id)
        chosen, rejected = choice.chosen, choice.rejected
        example = Example(
            id=content_id(choice.user.id, choice.post.id),
            prompt=choice.post.text,
            chosen=chosen.text,
            rejected=rejected.text,
            directions=_between(chosen.levels or (), rejected.levels or ()),
            persona=evidence,
            source=self.name,
            group=choice.post.id,
        )
        return Case(example, choice.user.group, choice.p, choice.utilities)


def _between(chosen: tuple[int, ...], rejected: tuple[int, ...]) -> Directions:
    return tuple((a > b) - (a < b) for a, b in zip(chosen, rejected, strict=True))
