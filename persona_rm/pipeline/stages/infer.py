"""The infer stage: how evidence errs, learned from a population; then everybody's directions, as states in a store.

<run>/infer/model/           the fitted inferrer
<run>/infer/directions.jsonl one person per line: directions in words and numbers, probabilities, evidence ids
<run>/infer/profiles.arrow   their states, or the store that the recipe names
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.bundle import read_users
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.inferrers.tally import Tally
from persona_rm.io.json_rows import open_atomic
from persona_rm.io.progress_bar import progress_bar
from persona_rm.pipeline.members import inferrer_of, space_of, text_annotator_of
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.annotate_evidence import annotated
from persona_rm.pipeline.stages.train import examples_of, world_of
from persona_rm.profiles import open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.recipe import InferConfig, Recipe
from persona_rm.registry import Member
from persona_rm.simulator.simulator import Simulator
from persona_rm.types import Persona, UserState

FOLDER, FITTED, STATES = "infer", "model", "profiles.arrow"
PEOPLE, ITEMS = 400, 16
"""Of a population, where a recipe says nothing."""


def population(
    run: RunFolder, people: int = PEOPLE, items: int = ITEMS, world: Simulator | None = None
) -> list[Persona]:
    """People of the training side with their evidence. In the embedded world (the recipe's, or `world`) their
    directions are known; of real data those that the file gives are kept away: they are no truth, and items without
    any are read by the recipe's annotator."""
    recipe = run.recipe
    if world or recipe.source["name"] == "simulator":
        world = world or Simulator(world_of(recipe), space_of(recipe))
        half = items // 2
        return [world.persona(person, "train", items - half, half) for person in world.users("train")[:people]]
    found = (example.persona for example in examples_of(run))
    hidden = {persona.user_id: persona.with_directions(None) for persona in found}
    return annotated(list(hidden.values())[:people], backends_of(recipe))


def backends_of(recipe: Recipe) -> Backends:
    """Encoder and annotator of the recipe, for inferrers that read texts. Without an annotator the data bring the
    directions of every item."""
    encoder, given = MiniLM(MiniLMConfig()), text_annotator_of(recipe)
    if given is None:
        return Backends(encoder=encoder)
    cls, config = ANNOTATORS.member(given)
    return Backends(encoder=encoder, reader=cls(config, space_of(recipe), Backends(encoder=encoder)))


def fitted(run: RunFolder, given: Member, people: int = PEOPLE, items: int = ITEMS) -> Inferrer:
    """An inferrer that has learned from the population, where it learns."""
    inferrer = inferrer_of(given, space_of(run.recipe), backends_of(run.recipe))
    if inferrer.learns:
        inferrer.fit(population(run, people, items))
    return inferrer


def run_infer(run: RunFolder, config: InferConfig, upstream: str = "") -> str:
    """Fit, infer everybody's directions, write them. A store that knows a person already keeps their answers and the
    items that are not among these.

    Raises `RecipeError` for nobody to infer, a missing file, or a store where the inferrer has no states; `DataError`
    for somebody who comes twice with different evidence, and what stores raise.
    """
    if config.users and not Path(config.users).is_file():
        raise RecipeError(f"infer.users: there is no file {config.users}")

    def work(folder: Path) -> None:
        inferrer = fitted(run, config.inferrer, config.population, config.items)
        if config.store != STATES and not isinstance(inferrer, PosteriorInferrer):
            raise RecipeError(f"infer.store: {inferrer.name} keeps no states; leave it out, or infer by posterior")
        inferrer.save(folder / FITTED)
        people = _once(_people(run, config))
        if not people:
            raise RecipeError("infer: there is nobody to infer; name infer.users, or build examples first")
        read: Callable[[Persona], Posterior] = inferrer.infer
        if isinstance(inferrer, PosteriorInferrer):
            read = partial(_of, inferrer, _store(folder, config.store, inferrer, people))
        with progress_bar(run.console, "infer", len(people)) as update:
            found = list(_infer(read, people, update))
        _write(folder, run.recipe, found)
        cold = sum(posterior.cold for _, posterior in found)
        spoken = sum(sum(map(bool, posterior.directions)) for _, posterior in found) / len(found)
        run.console.print(f"{len(found):,} people ({cold} cold), {spoken:.1f} directions each, in {folder}")

    recipe, users = run.recipe, config.users and file_hash(Path(config.users))
    inputs = {"config": config, "users": users, "source": recipe.source, "seed": recipe.seed, "build": upstream}
    return run.stage(FOLDER, {**inputs, "annotator": recipe.annotator, "space": recipe.space}, work)


def _people(run: RunFolder, config: InferConfig) -> Iterator[Persona]:
    """Whose directions are asked for, without known ones."""
    recipe, half = run.recipe, config.items // 2
    if config.users:
        people: Iterator[Persona] = (user.persona for user in read_users(Path(config.users), space_of(recipe)))
    elif recipe.source["name"] == "simulator":
        world = Simulator(world_of(recipe), space_of(recipe))
        people = (world.persona(person, "test", config.items - half, half) for person in world.users("test"))
    else:
        people = (example.persona for example in examples_of(run, evaluation=True))
    yield from annotated([person.with_directions(None) for person in people], backends_of(recipe))


def _once(people: Iterable[Persona]) -> list[Persona]:
    """Everybody once. Raises `DataError` where two have one id and different evidence."""
    found: dict[str, Persona] = {}
    for person in people:
        if found.setdefault(person.user_id, person) != person:
            raise DataError(f"user {person.user_id!r} comes twice with different evidence: join their items first")
    return list(found.values())


def _of(inferrer: PosteriorInferrer, tallies: Mapping[str, Tally], person: Persona) -> Posterior:
    return inferrer.of(tallies[person.user_id], explain=True)


def _infer(
    read: Callable[[Persona], Posterior], people: Sequence[Persona], update: Callable[[int], None]
) -> Iterator[tuple[Persona, Posterior]]:
    """One by one, so that every direction comes with the items behind it."""
    for done, person in enumerate(people, 1):
        yield person, read(person)
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


def _store(folder: Path, url: str, inferrer: PosteriorInferrer, people: Sequence[Persona]) -> dict[str, Tally]:
    """Keep the states of these people, all or none, and return their tallies."""
    if url == STATES:
        tallies = {person.user_id: inferrer.tally(person) for person in people}
        write_snapshot(folder / STATES, [inferrer.state(user, tally) for user, tally in tallies.items()], {})
        return tallies
    with open_store(url) as store:
        known = store.get([person.user_id for person in people])
        tallies = {person.user_id: _joined(inferrer, person, known.get(person.user_id)) for person in people}
        versions = {user: known[user].version + 1 if user in known else 1 for user in tallies}
        store.put([inferrer.state(user, tally, versions[user]) for user, tally in tallies.items()])
    return tallies


def _joined(inferrer: PosteriorInferrer, person: Persona, before: UserState | None) -> Tally:
    """The person's items, with what the store knew beside them; an item of both is as it was read now."""
    now = inferrer.tally(person)
    if before is None:
        return now
    kept = inferrer.resume(before)
    return replace(now, entries={**kept.entries, **now.entries}, answers=kept.answers)
