"""Shared by all parts of the evaluation: the cases, the inferrers, and the figures."""

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
from persona_rm.benchmarks.study_config import InferenceConfig
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import Inferrer, ModelInferrer, Posterior
from persona_rm.pipeline.members import backends_of, inferrer_of, simulator_of, space_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import fitted, population
from persona_rm.recipe import InferConfig
from persona_rm.registry import Member
from persona_rm.simulator.simulated_users import PopulationKind, SimulatedUser
from persona_rm.simulator.simulator import Choice, Simulator
from persona_rm.types import Directions, Persona

Ints = npt.NDArray[np.int64]
StudyResults = dict[str, Any]
OBSERVED = 16
"""The number of observed items that questions are compared with."""


@dataclass(frozen=True)
class OtherPopulation:
    """Users of another kind of population and their held-out choices; `units` has the user of each choice."""

    simulator: Simulator
    users: list[SimulatedUser]
    choices: list[Choice]
    units: list[str]


class Study:
    """One evaluation: figures in `sheet`, the data of the report's pictures in `results`."""

    def __init__(self, run: RunFolder, config: InferenceConfig, inferrer: Member) -> None:
        self.run, self.config, self.inferrer = run, config, inferrer
        self.space, self.seed, self.results = space_of(run.recipe), run.recipe.seed, StudyResults()
        self.sheet = Evaluation(config.batch, run.recipe.seed, config.resamples, run.console)
        self.simulator = simulator_of(run.recipe)
        # Cases are made once with the longest history that any part needs; each part cuts it.
        most = max(config.items, OBSERVED, *config.history)
        config_of_cases = SimulatorBenchmarkConfig(
            simulator=self.simulator.config, per_user=config.per_user, n_ugc=most - most // 2, n_pairs=most // 2
        )
        self.cases = SimulatorBenchmark(config_of_cases, self.space).cases()
        self._fitted: dict[tuple[PopulationKind, str], Inferrer] = {}
        self._populations: dict[PopulationKind, list[Persona]] = {}
        self._others: dict[PopulationKind, OtherPopulation] = {}
        self._inferred: dict[tuple[str, int], list[Posterior]] = {}
        self.units = [case.unit for case in self.cases]
        self.golden = np.array([case.example.persona.directions for case in self.cases], np.int64)

    @cached_property
    def differences(self) -> Ints:
        """Levels of the chosen text minus levels of the rejected one, (cases, D), as the simulator wrote them."""
        read = self.simulator.language.read_levels
        chosen = np.array([read(case.example.chosen) for case in self.cases], np.int64)
        rejected = np.array([read(case.example.rejected) for case in self.cases], np.int64)
        return np.asarray(chosen - rejected)

    @cached_property
    def vote(self) -> Inferrer:
        """The paper's rule: a vote of the items."""
        return inferrer_of({"name": "vote"}, self.space)

    @cached_property
    def posterior(self) -> ModelInferrer:
        """The recipe's inferrer, fitted and calibrated on users of the training side with `infer.items` items each.

        That is more than the `inference.items` items of the evaluation, so the calibration has to carry over.
        """
        config = self.run.recipe.infer or InferConfig()
        return _modelled(fitted(self.run, self.inferrer, config.population, config.items))

    def fit(self, kind: PopulationKind, given: Member | None = None, **settings: Any) -> Inferrer:
        """An inferrer that is fitted on another kind of population; the default is the recipe's, with `settings`."""
        member = {**(given or self.inferrer), **settings}
        key = (kind, repr(sorted(member.items())))
        if key not in self._fitted:
            self._fitted[key] = inferrer_of(member, self.space, backends_of(self.run.recipe))
            self._fitted[key].fit(self._population(kind))
        return self._fitted[key]

    def fit_posterior(self, kind: PopulationKind, **settings: Any) -> ModelInferrer:
        """`fit` of the recipe's inferrer, which has to learn error rates."""
        return _modelled(self.fit(kind, **settings))

    def _population(self, kind: PopulationKind) -> list[Persona]:
        if kind not in self._populations:
            simulator, config = self.other_population(kind).simulator, self.run.recipe.infer or InferConfig()
            self._populations[kind] = population(self.run, config.population, config.items, simulator)
        return self._populations[kind]

    def other_population(self, kind: PopulationKind) -> "OtherPopulation":
        """A simulator of another kind of population with the same noise, its first test users and their choices."""
        if kind not in self._others:
            simulator = Simulator(self.simulator.config.model_copy(update={"kind": kind}), self.space)
            users = simulator.users("test")[: self.config.asked_users]
            ids = {user.id for user in users}
            choices = [choice for choice in simulator.choices(self.config.choices) if choice.user.id in ids]
            self._others[kind] = OtherPopulation(simulator, users, choices, [choice.user.id for choice in choices])
        return self._others[kind]

    def personas(self, items: int) -> list[Persona]:
        """The evidence of each case, cut to its first `items` items and without known directions."""
        return [without_golden(truncate_history(case, items)).example.persona for case in self.cases]

    def inferred(self, inferrer: Inferrer, items: int) -> list[Posterior]:
        """What an inferrer reads in the first `items` items of each case, for the case's prompt."""
        # The key does not say what an inferrer was fitted on: two fits with one name and config must not both be asked
        # here.
        key = (f"{inferrer.name} {inferrer.config}", items)
        if key not in self._inferred:
            personas = self.personas(items)
            if inferrer.by_prompt:
                prompts = [case.example.prompt for case in self.cases]
                each = [inferrer.infer(persona, prompt) for persona, prompt in zip(personas, prompts, strict=True)]
            else:
                each = inferrer.infer_many(personas)
            self._inferred[key] = each
        return self._inferred[key]

    def ordered(self, directions: Sequence[Directions] | Ints) -> npt.NDArray[np.float64]:
        """Per case 1, 0.5 (a tie) or 0: whether the sum of direction x level orders the pair as the user did."""
        # The reward of `pba_linear` is linear in the levels, so the difference of levels gives the difference of both
        # rewards.
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


def _modelled(inferrer: Inferrer) -> ModelInferrer:
    modelled = inferrer.modelled()
    if modelled is None:
        raise RecipeError(f"inference compares `posterior` with `vote`; infer.inferrer is {inferrer.name!r}")
    return modelled
