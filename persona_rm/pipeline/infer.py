"""The infer stage: how evidence errs, learned from a population; then everybody's directions, as states in a store.

<run>/infer/model/           the fitted inferrer
<run>/infer/directions.jsonl one person per line: directions in words and numbers, probabilities, evidence ids
<run>/infer/profiles.arrow   their states, or the store that the recipe names
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Backends
from persona_rm.backends.encoder import MiniLM, MiniLMConfig
from persona_rm.bundle import read_users
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.pipeline.members import annotator_of, inferrer_of, space_of
from persona_rm.pipeline.reading import annotated
from persona_rm.pipeline.stages import Run
from persona_rm.pipeline.train import examples_of, world_of
from persona_rm.profiles import open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.progress import progress_bar
from persona_rm.recipe import InferConfig, Member, Recipe, member
from persona_rm.rows import open_atomic
from persona_rm.types import Persona, UserState
from persona_rm.world.world import World

FOLDER, FITTED, STATES = "infer", "model", "profiles.arrow"
PEOPLE, ITEMS = 400, 16
"""Of a population, where a recipe says nothing."""


def population(run: Run, people: int = PEOPLE, items: int = ITEMS, world: World | None = None) -> list[Persona]:
    """People of the training side with their evidence. In the embedded world (the recipe's, or `world`) their
    directions are known; of real data those that the file gives are kept away: they are no truth."""
    recipe = run.recipe
    if world or recipe.source["name"] == "toy":
        world = world or World(world_of(recipe), space_of(recipe))
        half = items // 2
        return [world.persona(person, "train", items - half, half) for person in world.people("train")[:people]]
    found = (example.persona for example in examples_of(run))
    hidden = {persona.user_id: persona.with_directions(None) for persona in found}
    return list(hidden.values())[:people]


def backends_of(recipe: Recipe) -> Backends:
    """Encoder and annotator of the recipe, for inferrers that read texts; the embedded world's texts are read by its
    own wordings."""
    encoder = MiniLM(MiniLMConfig())
    given = annotator_of(recipe)
    cls, config = member("annotator", {"name": "toy"} if given["name"] == "given" else given)
    reader: Annotator = cls(config, space_of(recipe), Backends(encoder=encoder))
    return Backends(encoder=encoder, reader=reader)


def fitted(run: Run, given: Member, people: int = PEOPLE, items: int = ITEMS) -> Inferrer:
    """An inferrer that has learned from the population, where it learns."""
    inferrer = inferrer_of(given, space_of(run.recipe), backends_of(run.recipe))
    if inferrer.learns:
        inferrer.fit(population(run, people, items))
    return inferrer


def run_infer(run: Run, config: InferConfig, upstream: str = "") -> str:
    """Fit, infer everybody's directions, write them."""

    def work(folder: Path) -> None:
        inferrer = fitted(run, config.inferrer, config.people, config.items)
        inferrer.save(folder / FITTED)
        people = list(_people(run, config))
        if not people:
            raise RecipeError("infer: there is nobody to infer; name infer.users, or build examples first")
        with progress_bar(run.console, "infer", len(people)) as update:
            found = list(_infer(inferrer, people, update))
        _write(folder, run.recipe, found)
        _store(folder, config.store, inferrer, people)
        cold = sum(posterior.cold for _, posterior in found)
        spoken = sum(sum(map(bool, posterior.directions)) for _, posterior in found) / len(found)
        run.console.print(f"{len(found):,} people ({cold} cold), {spoken:.1f} directions each, in {folder}")

    inputs = {"config": config, "source": run.recipe.source, "seed": run.recipe.seed, "build": upstream}
    return run.stage(FOLDER, {**inputs, "annotator": run.recipe.annotator}, work)


def _people(run: Run, config: InferConfig) -> Iterator[Persona]:
    """Whose directions are asked for, without known ones."""
    recipe, half = run.recipe, config.items // 2
    if config.users:
        people: Iterator[Persona] = (user.persona for user in read_users(Path(config.users), space_of(recipe)))
    elif recipe.source["name"] == "toy":
        world = World(world_of(recipe), space_of(recipe))
        people = (world.persona(person, "test", config.items - half, half) for person in world.people("test"))
    else:
        people = (example.persona for example in examples_of(run, evaluation=True))
    reader = backends_of(recipe).need_reader("infer")
    yield from annotated([person.with_directions(None) for person in people], reader)


def _infer(inferrer: Inferrer, people: Sequence[Persona], update: Any) -> Iterator[tuple[Persona, Posterior]]:
    """One by one, so that every direction comes with the items behind it."""
    for done, person in enumerate(people, 1):
        yield person, inferrer.infer(person)
        if done % 50 == 0 or done == len(people):
            update(done)


def _write(folder: Path, recipe: Recipe, found: Sequence[tuple[Persona, Posterior]]) -> None:
    space = space_of(recipe)
    with open_atomic(folder / "directions.jsonl") as stream:
        for person, posterior in found:
            row = {
                "user_id": person.user_id, "profile": space.describe(posterior.directions), "cold": posterior.cold,
                "items": posterior.n_items, "directions": list(posterior.directions),
                "probabilities": [[round(p, 6) for p in row] for row in posterior.probabilities],
                "intervals": posterior.intervals(),
                "evidence": {space.ids[dim]: ids for dim, ids in posterior.evidence.items()},
            }  # fmt: skip
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def _store(folder: Path, url: str, inferrer: Inferrer, people: Sequence[Persona]) -> None:
    """The states of these people, where the inferrer has states (posterior)."""
    if not isinstance(inferrer, PosteriorInferrer):
        return
    states = (inferrer.state(person.user_id, inferrer.tally(person)) for person in people)
    if url == STATES:
        write_snapshot(folder / STATES, _last(states), {})
        return
    with open_store(url) as store:
        known = store.get([person.user_id for person in people])
        for state in _last(states):
            before = known.get(str(state.user_id))
            store.put([replace(state, version=before.version + 1 if before else 1)])


def _last(states: Iterator[UserState]) -> list[UserState]:
    """One state per person. Raises `DataError` where two people have one id and different evidence."""
    found: dict[str | None, UserState] = {}
    for state in states:
        if (before := found.get(state.user_id)) is not None and before.payload != state.payload:
            raise DataError(f"user {state.user_id!r} comes twice with different evidence: join their items first")
        found[state.user_id] = state
    return list(found.values())
