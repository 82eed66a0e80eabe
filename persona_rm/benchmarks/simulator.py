"""The simulator as a benchmark: test users, posts and wordings, with the truth beside every case."""

from typing import ClassVar

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.config import Config
from persona_rm.simulator.simulator import Choice, Simulator, SimulatorConfig
from persona_rm.types import Comparison, Directions, Example, content_id


class SimulatorBenchmarkConfig(Config):
    """The simulator, the number of choices of each test user, and the number of items in the evidence."""

    simulator: SimulatorConfig = SimulatorConfig()
    per_user: int = Field(5, gt=0)
    n_ugc: int = Field(8, ge=0)
    n_pairs: int = Field(8, ge=0)
    judged: int = Field(40, ge=1)
    """Comparisons of each user in `persona-rm bench`."""


class SimulatorBenchmark(Benchmark):
    """Choices of test users, each with the user's evidence from other posts; golden directions are the hidden ones."""

    name: ClassVar[str] = "simulator"
    Config: ClassVar[type[Config]] = SimulatorBenchmarkConfig

    def cases(self) -> list[Case]:
        """`per_user` cases of each test user."""
        simulator = Simulator(self.config.simulator, self.space)
        return [self._case(simulator, choice) for choice in simulator.choices(self.config.per_user)]

    def comparisons(self) -> list[Comparison]:
        """`judged` choices of each user of the training side under other posts; the post is the group."""
        simulator = Simulator(self.config.simulator, self.space)
        return [
            Comparison(user.id, pair.prompt, pair.chosen, pair.rejected, pair.prompt)
            for user in simulator.users("train")
            for pair in simulator.persona(user, "train", 0, self.config.judged).pairs
        ]

    def _case(self, simulator: Simulator, choice: Choice) -> Case:
        # The evidence is about other posts: a reply under this one could give the choice away.
        n_ugc, n_pairs = self.config.n_ugc, self.config.n_pairs
        evidence = simulator.persona(choice.user, "test", n_ugc, n_pairs, avoid=choice.post.id)
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
