"""The verb serve: rewards over HTTP."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persona_rm.cli.app import Overrides, app, console, recipe_of, told
from persona_rm.cli.complete import complete_bundle, complete_recipe
from persona_rm.errors import MissingExtra, RecipeError

if TYPE_CHECKING:
    from persona_rm.bundle import Bundle
    from persona_rm.recipe import PpoConfig, Recipe
    from persona_rm.serving.http.service import Service
    from persona_rm.serving.http.settings import Settings

FOLDER = "serve"
"""The subfolder of a run for bundles that were made for serving."""


@app.command()
def serve(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe with a `ppo` section; not with --bundle.", autocompletion=complete_recipe),
    ] = None,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Other than loopback it needs a token, see above.")
    ] = "127.0.0.1",
    section: Annotated[str, typer.Option(help="The section of the recipe's `ppo`. The default is the first.")] = "",
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle folder to serve.", autocompletion=complete_bundle)
    ] = None,
    actors: Annotated[
        int, typer.Option(min=0, help="The number of reward actors on Ray; 0 scores in this process.")
    ] = 0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each actor. Fractions such as 0.5 are allowed.")] = 0,
    token_file: Annotated[Path | None, typer.Option(help="A file with the bearer token.")] = None,
    body_limit: Annotated[int, typer.Option(min=1, help="The largest request body, in bytes.")] = 16 << 20,
    connections: Annotated[int, typer.Option(min=1, help="The largest number of open connections.")] = 1000,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A name in the `Host` header beside those of this machine. Repeatable.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="The timeout of a call, in seconds.")] = 150,
    log: Annotated[
        Path | None, typer.Option(help="A folder for the reward log: one line per reward, without texts.")
    ] = None,
) -> None:
    """Serve rewards over HTTP: OpenRLHF's `/get_reward`, a typed `/score`, `/health`, `/ready`, `/metrics`.

    The bundle is the one that the recipe's PPO run wrote (runs/NAME/ppo/SECTION/bundle). If there is none yet, it is
    made, provided that what it needs is trained.

    As soon as the service is ready it prints its address and a call to try; `/openapi.json` has the schema. SIGTERM
    stops it after the calls in progress are answered.

    PERSONA_RM_TOKEN or --token-file sets a bearer token. A token is required unless --host is loopback. OpenRLHF's
    client sends no headers: use `--reward.remote_url http://any:TOKEN@HOST:PORT/get_reward`.
    PERSONA_RM_LABELS=strict rejects samples of unknown users.

    `limits` in bundle.yaml are the longest prompt and response, in characters; `engine_options.max_length` is the
    limit in tokens. A longer text is refused before it is tokenised, with its row.

    If OpenRLHF runs on the same cluster, prefer the plugin of `persona-rm where openrlhf`: it can stop the job.

    Example: `persona-rm serve contrast --port 8000`
    """
    with told():
        given = {"body_limit": body_limit, "deadline": deadline, "connections": connections}
        settings = _settings(host, port, token_file, allowed_hosts=tuple(allowed_host or ()), **given)
        folder = bundle or _bundle_of(recipe, overrides, section)
        served = _served(folder)
        from persona_rm.serving.labels import LabelPolicy

        labels = LabelPolicy.from_env(known=lambda: list(_first_users(folder)))
        settings = replace(settings, chat=served.chat, limits=served.file.limits, labels=labels)
        with _service(folder, actors, gpus, deadline, log) as service:
            _run(service, settings, folder)


def _run(service: "Service", settings: "Settings", folder: Path) -> None:
    """Serve until a signal, with the routes of all hosts; print the address and an example."""
    from persona_rm.hosts import HOSTS, load_host
    from persona_rm.serving.http.server import curl_example, run_server

    user, token = next(_first_users(folder), "USER"), settings.token is not None
    routes = [route for name in HOSTS.names() for route in load_host(name).routes()]

    def say(url: str) -> None:
        example = curl_example(url, user, token=token, route=next(iter(routes), None))
        lines = f"Serving {folder} at {url}   try: {example}", str(settings.labels)
        console.print(*lines, sep="\n", highlight=False, soft_wrap=True)

    run_server(service, settings, say, routes)


def _first_users(folder: Path) -> Iterator[str]:
    """A few users of a bundle's users file, for examples. None if all users are in a store."""
    from persona_rm.bundle.load import read_file, users_in
    from persona_rm.serving.label_monitor import EXAMPLES

    for user in islice(users_in(folder, read_file(folder)), EXAMPLES):
        yield user.persona.user_id


def _served(folder: Path) -> "Bundle":
    """The bundle without its users: its settings, and the chat side of the tokenizer that it names."""
    from persona_rm.bundle import Bundle, read_file

    return Bundle(folder.resolve(), read_file(folder), {})


def _settings(host: str, port: int, token_file: Path | None, **limits: Any) -> "Settings":
    try:
        import fastapi  # noqa: F401 - the imports only check that the packages are installed
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"serving over HTTP needs {error.name}: pip install persona_rm[serve]") from error
    from persona_rm.serving.http.settings import Settings, token_from

    return Settings(host, port, token_from(token_file), **limits)


@contextmanager
def _service(folder: Path, actors: int, gpus: float, deadline: float, log: Path | None) -> "Iterator[Service]":
    """One actor in this process, or a pool of actors that ends with this block."""
    from persona_rm.serving.http.service import ActorService, PoolService

    if not actors:
        from persona_rm.serving.actor.reward_actor import RewardActor

        yield ActorService(lambda: RewardActor(str(folder.resolve()), "http", str(log) if log else None))
        return
    from persona_rm.hosts.common import device
    from persona_rm.hosts.common.ray_cluster import cluster
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
        raise RecipeError("there is nothing to serve: name a recipe with a `ppo` section, or --bundle FOLDER")
    plan = recipe_of(recipe, overrides)
    if not plan.ppo:
        raise RecipeError(f"{recipe} has no `ppo` section, so it names no bundle; name one with --bundle FOLDER")
    section = section or next(iter(plan.ppo))
    if section not in plan.ppo:
        raise RecipeError(f"the recipe has no ppo.{section}; its sections: {', '.join(plan.ppo)}")
    made = plan.folder / "ppo" / section
    fits = (made / "bundle").is_dir() and _made_for(plan, section, made)
    return made / "bundle" if fits else _make_bundle(recipe, plan, section, plan.ppo[section])


def _made_for(plan: "Recipe", section: str, made: Path) -> bool:
    """True if the PPO run wrote its bundle from the same settings: an override may ask for others. A folder without a
    recipe is taken as it is."""
    from persona_rm.pipeline.stages.ppo import bundle_inputs
    from persona_rm.recipe import load_recipe

    kept = made / "recipe.yaml"
    return not kept.is_file() or bundle_inputs(load_recipe(kept), section) == bundle_inputs(plan, section)


def _make_bundle(recipe: Path, plan: "Recipe", section: str, config: "PpoConfig") -> Path:
    """Make a bundle without a PPO run. Raises `RecipeError` with the command to run if its policy is not trained."""
    from persona_rm.pipeline.run import RunFolder, file_hash
    from persona_rm.pipeline.stages.ppo import bundle_inputs, bundle_of, users_of
    from persona_rm.pipeline.stages.train import MODEL

    policy = plan.folder / "dpo" / config.reward / MODEL
    if config.reward in plan.dpo and not policy.is_dir():
        raise RecipeError(
            f"ppo.{section} rewards by the policy of dpo.{config.reward}, and {policy} is not there yet. Train it "
            f"first: persona-rm run {recipe} --only build --only dpo. Or serve the rewards of the untrained starting "
            f"model: add ppo.{section}.reward=contrast"
        )
    run = RunFolder(plan, plan.folder, console)

    def work(folder: Path) -> None:
        users, _ = users_of(run, config)
        bundle_of(run, config, folder, users)

    trained = file_hash(policy) if policy.is_dir() else ""
    run.stage(f"{FOLDER}/{section}", {"policy": trained, **bundle_inputs(plan, section)}, work)
    return run.folder / FOLDER / section / "bundle"
