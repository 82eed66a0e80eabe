"""What all parts of the evaluation share: the cases, the inferrers, and how a figure is made."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.benchmarks.controls import truncate_history, without_golden
from persona_rm.benchmarks.metrics import Figure, accuracy, mean_figure
from persona_rm.benchmarks.run import Evaluation
from persona_rm.benchmarks.toy import ToyBenchmark, ToyConfig
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.pipeline.infer import backends_of, fitted, population
from persona_rm.pipeline.members import inferrer_of, space_of
from persona_rm.pipeline.stages import Run
from persona_rm.pipeline.train import world_of
from persona_rm.recipe import InferenceConfig, Member
from persona_rm.types import Directions, Persona
from persona_rm.world.people import Kind, Person
from persona_rm.world.world import Choice, World

Ints = npt.NDArray[np.int64]
Found = dict[str, Any]
OBSERVED = 16
"""Observed items that asking is held against."""


class Study:
    """One evaluation: figures in `sheet`, the data of the report's pictures in `found`."""

    def __init__(self, run: Run, config: InferenceConfig, inferrer: Member) -> None:
        self.run, self.config, self.inferrer = run, config, inferrer
        self.space, self.seed, self.found = space_of(run.recipe), run.recipe.seed, Found()
        self.sheet = Evaluation(config.batch, run.recipe.seed, config.resamples, run.console)
        self.world = World(world_of(run.recipe), self.space)
        most = max(config.items, OBSERVED, *config.history)
        toy = ToyConfig(
            world=self.world.config, per_person=config.per_person, n_ugc=most - most // 2, n_pairs=most // 2
        )
        self.cases = ToyBenchmark(toy, self.space).cases()
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
    def posterior(self) -> PosteriorInferrer:
        """The recipe's inferrer, fitted on the training side."""
        return _is_posterior(fitted(self.run, self.inferrer))

    def fit(self, world: World, given: Member) -> Inferrer:
        """An inferrer fitted on the training side of another world."""
        found = inferrer_of(given, self.space, backends_of(self.run.recipe))
        found.fit(population(self.run, world=world))
        return found

    def fit_posterior(self, world: World, **settings: Any) -> PosteriorInferrer:
        """The recipe's inferrer, with some settings changed, fitted on another world."""
        return _is_posterior(self.fit(world, {**self.inferrer, **settings}))

    def elsewhere(self, kind: Kind) -> tuple[World, list[Person], list[Choice]]:
        """A world of another kind with the same noise, its test people and their choices."""
        world = World(self.world.config.model_copy(update={"kind": kind}), self.space)
        return world, world.people("test"), list(world.choices(self.config.per_person))

    def personas(self, items: int) -> list[Persona]:
        """The cases' people with their first `items` items and without known directions."""
        return [without_golden(truncate_history(case, items)).example.persona for case in self.cases]

    def told(self, inferrer: Inferrer, items: int) -> list[Posterior]:
        """What an inferrer makes of `items` items of each case's person, for the case's prompt."""
        people = self.personas(items)
        if not inferrer.by_prompt:
            return inferrer.infer_many(people)
        return [inferrer.infer(p, case.example.prompt) for p, case in zip(people, self.cases, strict=True)]

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


def dot(figure: Figure, **about: Any) -> Found:
    """A row of a dot chart."""
    return {**about, "value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _texts(case: Any) -> tuple[str, str]:
    return case.example.chosen, case.example.rejected


def _is_posterior(found: Inferrer) -> PosteriorInferrer:
    if not isinstance(found, PosteriorInferrer):
        raise RecipeError(f"inference holds `posterior` against `vote`; infer.inferrer is {found.name!r}")
    return found
