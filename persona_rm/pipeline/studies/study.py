"""What all parts of the evaluation share: the cases, the inferrers, and how a figure is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.benchmarks.controls import truncate_history, without_golden
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.benchmarks.figures import Figure, accuracy, mean_figure
from persona_rm.benchmarks.simulator import SimulatorBenchmark, SimulatorBenchmarkConfig
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import Inferrer, ModelInferrer, Posterior
from persona_rm.pipeline.members import inferrer_of, simulator_of, space_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import backends_of, fitted, population
from persona_rm.recipe import InferConfig, InferenceConfig
from persona_rm.registry import Member
from persona_rm.simulator.simulated_users import PopulationKind, SimulatedUser
from persona_rm.simulator.simulator import Choice, Simulator
from persona_rm.types import Directions, Persona

Ints = npt.NDArray[np.int64]
StudyResults = dict[str, Any]
OBSERVED = 16
"""Observed items that asking is held against."""


@dataclass(frozen=True)
class OtherUserRewards:
    """People of another world and their held-out choices; `units`: whose each choice is."""

    world: Simulator
    people: list[SimulatedUser]
    choices: list[Choice]
    units: list[str]


class Study:
    """One evaluation: figures in `sheet`, the data of the report's pictures in `found`."""

    def __init__(self, run: RunFolder, config: InferenceConfig, inferrer: Member) -> None:
        self.run, self.config, self.inferrer = run, config, inferrer
        self.space, self.seed, self.found = space_of(run.recipe), run.recipe.seed, StudyResults()
        self.sheet = Evaluation(config.batch, run.recipe.seed, config.resamples, run.console)
        self.world = simulator_of(run.recipe)
        most = max(config.items, OBSERVED, *config.history)
        toy = SimulatorBenchmarkConfig(
            world=self.world.config, per_user=config.per_user, n_ugc=most - most // 2, n_pairs=most // 2
        )
        self.cases = SimulatorBenchmark(toy, self.space).cases()
        self._fitted: dict[tuple[PopulationKind, str], Inferrer] = {}
        self._populations: dict[PopulationKind, list[Persona]] = {}
        self._worlds: dict[PopulationKind, OtherUserRewards] = {}
        self._told: dict[tuple[str, int], list[Posterior]] = {}
        self.units = [case.unit for case in self.cases]
        self.golden = np.array([case.example.persona.directions for case in self.cases], np.int64)

    @cached_property
    def differences(self) -> Ints:
        """Levels of the chosen text minus levels of the rejected one, (cases, D), as the world means them."""
        read = self.world.language.read_levels
        sides = ([read(text) for text in texts] for texts in zip(*map(_texts, self.cases), strict=True))
        chosen, rejected = (np.array(side, np.int64) for side in sides)
        return np.asarray(chosen - rejected)

    @cached_property
    def vote(self) -> Inferrer:
        """The paper's rule."""
        return inferrer_of({"name": "vote"}, self.space)

    @cached_property
    def posterior(self) -> ModelInferrer:
        """The recipe's inferrer, fitted and calibrated on people of the training side with `infer.items` items each:
        more than the `inference.items` that it is judged with, so calibration has to carry over."""
        config = self.run.recipe.infer or InferConfig()
        return _modelled(fitted(self.run, self.inferrer, config.population, config.items))

    def fit(self, kind: PopulationKind, given: Member | None = None, **settings: Any) -> Inferrer:
        """An inferrer (default: the recipe's, with some settings changed), fitted on a world of another
        kind."""
        member = {**(given or self.inferrer), **settings}
        key = (kind, repr(sorted(member.items())))
        if key not in self._fitted:
            self._fitted[key] = inferrer_of(member, self.space, backends_of(self.run.recipe))
            self._fitted[key].fit(self._population(kind))
        return self._fitted[key]

    def fit_posterior(self, kind: PopulationKind, **settings: Any) -> ModelInferrer:
        """`fit` of the recipe's inferrer."""
        return _modelled(self.fit(kind, **settings))

    def _population(self, kind: PopulationKind) -> list[Persona]:
        if kind not in self._populations:
            world, config = self.elsewhere(kind).world, self.run.recipe.infer or InferConfig()
            self._populations[kind] = population(self.run, config.population, config.items, world)
        return self._populations[kind]

    def elsewhere(self, kind: PopulationKind) -> "OtherUserRewards":
        """A world of another kind with the same noise, its first test people and their choices."""
        if kind not in self._worlds:
            world = Simulator(self.world.config.model_copy(update={"kind": kind}), self.space)
            people = world.users("test")[: self.config.asked_users]
            ids = {person.id for person in people}
            choices = [choice for choice in world.choices(self.config.choices) if choice.user.id in ids]
            self._worlds[kind] = OtherUserRewards(world, people, choices, [choice.user.id for choice in choices])
        return self._worlds[kind]

    def personas(self, items: int) -> list[Persona]:
        """The cases' people with their first `items` items and without known directions."""
        return [without_golden(truncate_history(case, items)).example.persona for case in self.cases]

    def told(self, inferrer: Inferrer, items: int) -> list[Posterior]:
        """What an inferrer makes of `items` items of each case's person, for the case's prompt."""
        key = (f"{inferrer.name} {inferrer.config}", items)
        if key not in self._told:
            people = self.personas(items)
            prompts = [case.example.prompt for case in self.cases]
            each = (inferrer.infer(person, prompt) for person, prompt in zip(people, prompts, strict=True))
            self._told[key] = list(each) if inferrer.by_prompt else inferrer.infer_many(people)
        return self._told[key]

    def ordered(self, directions: Sequence[Directions] | Ints) -> npt.NDArray[np.float64]:
        """Per case 1, 0.5 or 0: does the sum of direction x level order the pair as the person did?"""
        scores = (np.asarray(directions, np.int64) * self.differences).sum(1)
        return accuracy(scores, np.zeros(len(scores)))

    def mean(self, name: str, values: npt.NDArray[np.float64], units: Sequence[str] | None = None) -> Figure:
        """The mean with its interval, kept as a figure."""
        figure = self.interval(name, values, units or self.units)
        self.sheet.add([figure])
        return figure

    def interval(self, name: str, values: npt.NDArray[np.float64], units: Sequence[str]) -> Figure:
        """The mean with its interval by unit."""
        return mean_figure(name, values, units, seed=self.seed, resamples=self.config.resamples)


def cell(figure: Figure | None) -> list[float] | None:
    """[value, low, high]."""
    return [figure.value, figure.low, figure.high] if figure else None


def dot(figure: Figure, **about: Any) -> StudyResults:
    """A row of a dot chart."""
    return {**about, "value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _texts(case: Any) -> tuple[str, str]:
    return case.example.chosen, case.example.rejected


def _modelled(inferrer: Inferrer) -> ModelInferrer:
    modelled = inferrer.modelled()
    if modelled is None:
        raise RecipeError(f"inference compares `posterior` with `vote`; infer.inferrer is {inferrer.name!r}")
    return modelled
