"""The verb serve: rewards over HTTP."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_rm.cli.app import Overrides, app, console, recipe_of, told
from persona_rm.errors import MissingExtra, RecipeError

if TYPE_CHECKING:
    from persona_rm.recipe import PpoConfig, Recipe
    from persona_rm.serving.http.service import Service
    from persona_rm.serving.http.settings import Settings

FOLDER = "serve"
"""Of bundles that were made for serving, in the run's folder."""


@app.command()
def serve(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe with a `ppo` section; not needed with --bundle.")
    ] = None,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="Where to listen. Other machines need a token: see below.")] = "127.0.0.1",
    section: Annotated[str, typer.Option(help="Which section of the recipe's `ppo`; default the first.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Serve this bundle folder.")] = None,
    actors: Annotated[int, typer.Option(min=0, help="Reward actors on Ray; 0 scores in this process.")] = 0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each actor; a share is fine.")] = 0,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token.")] = None,
    body_limit: Annotated[int, typer.Option(min=1, help="Bytes of one call, at most.")] = 16 << 20,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds that a call may take.")] = 150,
    log: Annotated[
        Path | None, typer.Option(help="Folder for one line per reward: who and how long, no texts.")
    ] = None,
) -> None:
    """Serve rewards over HTTP: OpenRLHF's `/get_reward`, a typed `/score`, `/health`, `/ready`, `/metrics`.

    The bundle is the one that the recipe's PPO run made (runs/NAME/ppo/SECTION/bundle). Where there is none yet it is
    made, if what it needs is trained.

    Once a reward can be had, one line says the address and a call to try; `/openapi.json` has the schema. SIGTERM ends
    it when calls under way are answered.

    A token is asked for where PERSONA_RM_TOKEN or --token-file has one, and must be there unless --host is this
    machine alone. OpenRLHF's client sends no headers: `--reward.remote_url http://any:TOKEN@HOST:PORT/get_reward`.
    PERSONA_RM_LABELS=strict refuses samples of strangers.

    If OpenRLHF runs on the same cluster, `persona-rm where openrlhf` is the safer door: it can stop the job.
    """
    with told():
        settings = _settings(host, port, token_file, body_limit, deadline)
        folder = bundle or _bundle_of(recipe, overrides, section)
        from persona_rm.serving.http.server import curl_example, run_server

        somebody, token = _somebody(folder), settings.token is not None

        def say(url: str) -> None:
            line = f"Serving {folder} at {url}   try: {curl_example(url, somebody, token=token)}"
            console.print(line, highlight=False, soft_wrap=True)

        with _service(folder, actors, gpus, deadline, log) as service:
            run_server(service, settings, say)


def _somebody(folder: Path) -> str:
    """The first person of a bundle; where they are all in a store, a word to replace."""
    from persona_rm.bundle.load import read_file, users_in

    first = next(users_in(folder, read_file(folder)), None)
    return first.persona.user_id if first else "USER"


def _settings(host: str, port: int, token_file: Path | None, body_limit: int, deadline: float) -> "Settings":
    try:
        import fastapi  # noqa: F401 - only whether they are there
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"serving over HTTP needs {error.name}: pip install persona_rm[serve]") from error
    from persona_rm.serving.http.settings import Settings, token_from

    strict = os.environ.get("PERSONA_RM_LABELS", "prior") == "strict"
    token = token_from(token_file)
    return Settings(host, port, token, body_limit=body_limit, deadline=deadline, strict=strict)


@contextmanager
def _service(folder: Path, actors: int, gpus: float, deadline: float, log: Path | None) -> "Iterator[Service]":
    """One actor in this process, or a pool that ends with this block."""
    from persona_rm.serving.http.service import ActorService, PoolService

    if not actors:
        from persona_rm.serving.actor.reward_actor import RewardActor

        yield ActorService(lambda: RewardActor(str(folder.resolve()), "http", str(log) if log else None))
        return
    from persona_rm.hosts.common import device
    from persona_rm.hosts.common.cluster import cluster
    from persona_rm.serving.client import RayTransport, RewardClient
    from persona_rm.serving.pool.pool import NAMESPACE, start_pool

    namespace = os.environ.get("PERSONA_RM_NAMESPACE", NAMESPACE)
    with cluster(dict(os.environ), device(), 0, actors):
        pool = start_pool(folder, actors, num_gpus=gpus, run_dir=log, namespace=namespace)
        try:
            client = RewardClient(RayTransport(namespace), deadline=deadline)
            client.check(str(folder), namespace)
            yield PoolService(client, pool)
        finally:
            pool.stop()


def _bundle_of(recipe: Path | None, overrides: list[str] | None, section: str) -> Path:
    """The bundle of the recipe's PPO run, or one that is made now."""
    if recipe is None:
        raise RecipeError("say what to serve: a recipe with a `ppo` section, or --bundle FOLDER")
    plan = recipe_of(recipe, overrides)
    if not plan.ppo:
        raise RecipeError(f"{recipe} has no `ppo` section, so it says of no bundle; name one with --bundle FOLDER")
    section = section or next(iter(plan.ppo))
    if section not in plan.ppo:
        raise RecipeError(f"the recipe has no ppo.{section}; its sections: {', '.join(plan.ppo)}")
    made = plan.folder / "ppo" / section
    fits = (made / "bundle").is_dir() and _made_for(plan, section, made)
    return made / "bundle" if fits else _make_bundle(recipe, plan, section, plan.ppo[section])


def _made_for(plan: "Recipe", section: str, made: Path) -> bool:
    """True where the PPO run wrote its bundle by this recipe: an override may ask for another. A folder that keeps no
    recipe is taken as it is."""
    from persona_rm.pipeline.stages.ppo import bundle_inputs
    from persona_rm.recipe import load_recipe

    kept = made / "recipe.yaml"
    return not kept.is_file() or bundle_inputs(load_recipe(kept), section) == bundle_inputs(plan, section)


def _make_bundle(recipe: Path, plan: "Recipe", section: str, config: "PpoConfig") -> Path:
    """A bundle without a PPO run. Raises `RecipeError`, with the command, where its policy is not trained yet."""
    from persona_rm.pipeline.run import RunFolder, file_hash
    from persona_rm.pipeline.stages.ppo import bundle_inputs, bundle_of, users_of
    from persona_rm.pipeline.stages.train import MODEL

    policy = plan.folder / "dpo" / config.reward / MODEL
    if config.reward in plan.dpo and not policy.is_dir():
        raise RecipeError(
            f"ppo.{section} rewards by the policy of dpo.{config.reward}, and {policy} is not there yet. Train it "
            f"first: persona-rm run {recipe} --only build --only dpo. Or serve what the starting model says of each "
            f"person: add ppo.{section}.reward=contrast"
        )
    run = RunFolder(plan, plan.folder, console)

    def work(folder: Path) -> None:
        users, _ = users_of(run, config)
        bundle_of(run, config, folder, users)

    trained = file_hash(policy) if policy.is_dir() else ""
    run.stage(f"{FOLDER}/{section}", {"policy": trained, **bundle_inputs(plan, section)}, work)
    return run.folder / FOLDER / section / "bundle"
