"""The infer stage: learn from a population how evidence errs, then infer every user's directions into a store.

<run>/infer/model/           the fitted inferrer
<run>/infer/directions.jsonl one user per line: directions in words and numbers, probabilities, evidence ids
<run>/infer/profiles.arrow   the users' states, or the store that the recipe names
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.base import Evidence, Inferrer, Posterior, StatefulInferrer
from persona_rm.io.json_rows import open_atomic
from persona_rm.io.progress_bar import progress_bar
from persona_rm.pipeline.members import backends_of, inferrer_of, space_of, text_annotator_of, truth_of
from persona_rm.pipeline.own_files import own_only
from persona_rm.pipeline.own_users import read_own_users
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.train import examples_of
from persona_rm.profiles import open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.recipe import InferConfig, Recipe
from persona_rm.registry import Member
from persona_rm.simulator.simulator import Simulator
from persona_rm.types import Persona
from persona_rm.users.annotated_users import annotated

FOLDER, FITTED, STATES = "infer", "model", "profiles.arrow"
USERS, ITEMS = 400, 16
"""The size of a population if a recipe does not name it."""


def population(
    run: RunFolder, users: int = USERS, items: int = ITEMS, simulator: Simulator | None = None
) -> list[Persona]:
    """Users of the training side with their evidence.

    The users of a simulator (`simulator`, or the recipe's) come with their true directions. The directions that real
    data give are removed, because they are no truth, and the recipe's annotator reads items without directions.
    """
    recipe = run.recipe
    if simulator := simulator or truth_of(recipe):
        half = items // 2
        return [simulator.persona(user, "train", items - half, half) for user in simulator.users("train")[:users]]
    hidden: dict[str, Persona] = {}
    for example in examples_of(run):
        # A user has many examples. They are counted once, with the evidence of the last one.
        hidden[example.persona.user_id] = example.persona.with_directions(None)
    return annotated(list(hidden.values())[:users], backends_of(recipe))


def fitted(
    run: RunFolder,
    given: Member,
    users: int = USERS,
    items: int = ITEMS,
    personas: Sequence[Persona] | None = None,
) -> Inferrer:
    """The inferrer, fitted if it learns: on `personas`, or on the population of the source without them."""
    inferrer = inferrer_of(given, space_of(run.recipe), backends_of(run.recipe))
    if inferrer.learns:
        inferrer.fit(population(run, users, items) if personas is None else list(personas))
    return inferrer


def run_infer(run: RunFolder, config: InferConfig, upstream: str = "") -> str:
    """Fit the inferrer, infer every user's directions and write them.

    A store that knows a user already keeps their answers, and their items that are not among these.

    Raises `RecipeError` if there is no user to infer, a file is missing, or a store is named for an inferrer without
    states; `DataError` if a user comes twice with different evidence; and what stores raise.
    """
    if config.users and not Path(config.users).exists():
        raise RecipeError(f"infer.users: there is no file {config.users}")

    def work(folder: Path) -> None:
        # The users file comes first: it may have a fault, and without a source it is the population too.
        users = _distinct(_users(run, config))
        if not users:
            raise RecipeError("infer: there is no user to infer; name infer.users, or build examples first")
        own = users if own_only(run.recipe) else None
        inferrer = fitted(run, config.inferrer, config.population, config.items, own)
        stateful = inferrer.stateful()
        if config.store != STATES and stateful is None:
            raise RecipeError(f"infer.store: {inferrer.name} keeps no states; leave it out, or infer by posterior")
        inferrer.save(folder / FITTED)
        kept = _store(folder, config.store, stateful, users) if stateful else {}
        results: list[tuple[Persona, Posterior]] = []
        with progress_bar(run.console, "infer", len(users)) as update:
            # One by one, so that every direction comes with the items behind it.
            for done, user in enumerate(users, 1):
                posterior = stateful.of(kept[user.user_id], explain=True) if stateful else inferrer.infer(user)
                results.append((user, posterior))
                if done % 50 == 0 or done == len(users):
                    update(done)
        _write(folder, run.recipe, results)
        cold = sum(posterior.cold for _, posterior in results)
        spoken = sum(sum(map(bool, posterior.directions)) for _, posterior in results) / len(results)
        if not spoken:
            problem = _nothing(results, cold, text_annotator_of(run.recipe))
            # Items that say something may still be too few for a direction. Items that all say nothing are a mistake.
            if not any(any(item.directions or ()) for user, _ in results for item in user.items):
                raise DataError(problem, file=folder / "directions.jsonl")
            run.console.print(f"warning: {problem}", style="yellow")
        run.console.print(f"{len(results):,} users ({cold} cold), {spoken:.1f} directions each, in {folder}")

    recipe, users = run.recipe, config.users and file_hash(Path(config.users))
    inputs = {"config": config, "users": users, "source": recipe.source, "seed": recipe.seed, "build": upstream}
    return run.stage(FOLDER, {**inputs, "annotator": recipe.annotator, "space": recipe.space}, work)


def _nothing(results: Sequence[tuple[Persona, Posterior]], cold: int, annotator: Member | None) -> str:
    """Why no user has a direction, and what to do."""
    items = sum(user.n_items for user, _ in results)
    if cold == len(results):
        return f"nothing was inferred: none of {len(results):,} users has an item of evidence"
    name = annotator["name"] if annotator else "given"
    problem = f"nothing was inferred: 0 directions for {len(results):,} users from {items:,} items"
    do = "give more items of each user, another annotator, or use a method that learns from comparisons directly"
    return f"{problem}, as the annotator {name!r} read them: {do}"


def _users(run: RunFolder, config: InferConfig) -> Iterator[Persona]:
    """The users whose directions are asked for, without known directions."""
    recipe, half = run.recipe, config.items // 2
    if config.users:
        users: Iterator[Persona] = (user.persona for user in read_own_users(config.users, space_of(recipe)))
    elif simulator := truth_of(recipe):
        users = (simulator.persona(user, "test", config.items - half, half) for user in simulator.users("test"))
    else:
        users = (example.persona for example in examples_of(run, evaluation=True))
    yield from annotated([user.with_directions(None) for user in users], backends_of(recipe))


def _distinct(users: Iterable[Persona]) -> list[Persona]:
    """Every user once. Raises `DataError` if two have one id and different evidence."""
    by_id: dict[str, Persona] = {}
    for user in users:
        if by_id.setdefault(user.user_id, user) != user:
            raise DataError(f"user {user.user_id!r} comes twice with different evidence: join their items first")
    return list(by_id.values())


def _write(folder: Path, recipe: Recipe, results: Sequence[tuple[Persona, Posterior]]) -> None:
    space = space_of(recipe)
    with open_atomic(folder / "directions.jsonl") as stream:
        for user, posterior in results:
            row = {
                "user_id": user.user_id, "profile": space.describe(posterior.directions), "cold": posterior.cold,
                "items": posterior.n_items, "directions": list(posterior.directions),
                "probabilities": [[round(p, 6) for p in row] for row in posterior.probabilities],
                "intervals": posterior.intervals(),
                "evidence": {space.ids[dim]: ids for dim, ids in posterior.evidence.items()},
            }  # fmt: skip
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def _store(
    folder: Path, url: str, inferrer: StatefulInferrer[Any], users: Sequence[Persona]
) -> Mapping[str, Evidence]:
    """Store the states of these users, all or none, and return their evidence by user id."""
    new = {user.user_id: inferrer.tally(user) for user in users}
    if url == STATES:
        write_snapshot(folder / STATES, [inferrer.state(user, evidence) for user, evidence in new.items()], {})
        return new
    with open_store(url, create=True) as store:

        def update() -> Mapping[str, Evidence]:
            known = store.get(list(new))
            versions = {user: known[user].version if user in known else 0 for user in new}
            joined = {
                user: evidence.joined(inferrer.resume(known[user])) if user in known else evidence
                for user, evidence in new.items()
            }
            # One call, so that the store receives all states or none.
            states = [inferrer.state(user, evidence, versions[user] + 1) for user, evidence in joined.items()]
            store.put(states, read=versions)
            return joined

        return store.retry_stale(update)
