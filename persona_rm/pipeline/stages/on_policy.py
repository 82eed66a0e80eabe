"""Rounds of DPO on a policy's own answers, after a section's training on built examples.

Each round samples with the newest policy, makes pairs by the users' rewards and trains the host's DPO on them, from
that policy and with it as the reference. Every round is a stage of its own, so an interrupted run goes on in the round
that it was in. `<run>/dpo/<section>/model` is the newest policy.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.bundle import Bundle, load_bundle
from persona_rm.errors import RecipeError
from persona_rm.hosts import load_host
from persona_rm.io.json_rows import read_rows
from persona_rm.methods.base import PromptedMethod
from persona_rm.pipeline.members import method_of, space_of
from persona_rm.pipeline.own_users import asked_in_items, read_own_users
from persona_rm.pipeline.run import RECORD, RunFolder, file_hash
from persona_rm.pipeline.stages.dpo_rows import write_rows
from persona_rm.pipeline.stages.ppo import UserPost, bundle_of, reward_inputs, users_of
from persona_rm.pipeline.stages.sampled_pairs import PairsConfig, engine_of, make_pairs
from persona_rm.pipeline.stages.train import MODEL, OFFLINE, device_of, train_dpo
from persona_rm.prompts import prompt_json
from persona_rm.recipe import DpoConfig, PpoConfig
from persona_rm.recipe_sections import OnPolicyConfig
from persona_rm.types import Prompt, text_of

PAIRS, ROWS = "pairs.jsonl", "rows.jsonl"
POLICY_PROMPTS = ("pba", "ica")
"""Methods whose prompt a bundle can render for another method's reward."""


@dataclass(frozen=True, slots=True)
class RoundRewards:
    """What ranks the answers of all rounds: a bundle, and the key that says what it depends on."""

    key: str
    bundle: Path


def run_rounds(run: RunFolder, name: str, config: DpoConfig, upstream: str, rewards: RoundRewards | None) -> str:
    """All rounds of a section. `upstream` is the key of its training on built examples. Returns the key of the last
    round, or `upstream` for a section without rounds."""
    settings = config.on_policy
    if settings is None or rewards is None:
        return upstream
    key, newest = upstream, run.folder / "dpo" / name / OFFLINE / MODEL
    for number in range(1, settings.rounds + 1):
        work = partial(_round, run, name, rewards.bundle, newest, number)
        # Without the number of rounds: one round more begins after those that are done.
        given = settings.model_dump(mode="json", exclude={"rounds"})
        inputs = {"before": key, "rewards": rewards.key, "on_policy": given, "args": config.args}
        key = run.stage(f"dpo/{name}/round-{number}", {**inputs, "device": device_of(run.recipe)}, work)
        newest = run.folder / "dpo" / name / f"round-{number}" / MODEL
    _publish(run.folder / "dpo" / name, newest)
    return key


def rewards_of(run: RunFolder, name: str, config: DpoConfig, keys: Mapping[str, str]) -> RoundRewards | None:
    """The rewards of a section's rounds, None for one without rounds. `keys` are those of the sections before it.

    A bundle that the recipe does not name is written by a stage of its own, because fitting takes a while and all
    rounds share it. This comes before the section's training, so that a bundle that cannot be had costs none. Raises
    `RecipeError` if a round could not use the bundle.
    """
    settings = config.on_policy
    if settings is None:
        return None
    rewards = _rewards(run, name, settings, keys)
    with closing(load_bundle(rewards.bundle)) as bundle:
        _check_renderer(run, name, bundle, *_prompts(run, name, settings, _users_in(name, bundle), 1)[0])
    return rewards


def _rewards(run: RunFolder, name: str, settings: OnPolicyConfig, keys: Mapping[str, str]) -> RoundRewards:
    if settings.bundle is not None:
        return RoundRewards(file_hash(Path(settings.bundle)), Path(settings.bundle))
    as_ppo = _as_ppo(run, name, settings)

    def work(folder: Path) -> None:
        users, _ = users_of(run, as_ppo)
        bundle_of(run, as_ppo, folder, users)

    stage = f"dpo/{name}/rewards"
    inputs = {"reward": reward_inputs(run.recipe, as_ppo), "trained": keys.get(as_ppo.reward, "")}
    return RoundRewards(run.stage(stage, inputs, work), run.folder / stage / "bundle")


def _round(run: RunFolder, name: str, bundle: Path, start: Path, number: int, folder: Path) -> None:
    """Sample, make pairs, and train on those that the host keeps whole."""
    pairs, rows, args = folder / PAIRS, folder / ROWS, run.recipe.dpo[name].args
    if not pairs.is_file():
        _sample(run, name, load_bundle(bundle), start, number, folder)
    made = [dict(row.data) for row in read_rows(pairs)]
    fit, too_long = load_host().dpo_rows(made, args, start)
    count = write_rows(rows, iter(fit))
    run.console.print(
        f"{name}: {count} pairs for the host in {rows}; {len(too_long)} longer than data.max_len left out"
    )
    train_dpo(run, start, rows, folder, args)


def _sample(run: RunFolder, name: str, bundle: Bundle, start: Path, number: int, folder: Path) -> None:
    """The pairs of a round: <folder>/pairs.jsonl and its report."""
    settings = run.recipe.dpo[name].on_policy
    assert settings is not None
    asked = _prompts(run, name, settings, _users_in(name, bundle), number)
    prompts = folder / "prompts.jsonl"
    write_rows(prompts, ({"user": user, "prompt": prompt_json(post)} for user, post in asked))
    taken = settings.model_dump(include={"max_tokens", "temperature", "min_margin", "cut_answers"})
    config = PairsConfig(n=settings.samples, seed=run.recipe.seed + number, strict=True, **taken)
    engine = engine_of(start, device_of(run.recipe))
    try:
        report = make_pairs(str(prompts), bundle, engine, folder / PAIRS, config, run.console, model=start)
    finally:
        # Before the trainer starts: it needs the memory that the engine holds.
        engine.close()
        bundle.close()
    run.console.print(report.table(f"{name}: round {number}"))
    for warning in report.warnings():
        run.console.print(f"Warning: {warning}", style="yellow")


def _users_in(name: str, bundle: Bundle) -> list[str]:
    """The users whose rewards the bundle can give. Raises `RecipeError` if there is none."""
    users = {*bundle.users, *(bundle.fitted.ids() if bundle.fitted is not None else ())}
    if not users:
        problem = f"there is no user in {bundle.folder}, so no answer can be ranked"
        raise RecipeError(f"dpo.{name}.on_policy.bundle: {problem}")
    return sorted(users)


def _as_ppo(run: RunFolder, name: str, settings: OnPolicyConfig) -> PpoConfig:
    """The section of `ppo` that would have the same users and rewards. Raises `RecipeError` if there is none."""
    method, reward = str(run.recipe.dpo[name].method["name"]), str(settings.reward)
    trained = run.recipe.dpo.get(reward)
    if method not in POLICY_PROMPTS and method != (str(trained.method["name"]) if trained else reward):
        problem = f"a bundle of {reward!r} cannot render the prompt of {method!r}"
        raise RecipeError(f"dpo.{name}.on_policy: {problem}; name the folder of a bundle that does")
    prompt: Any = method if method in POLICY_PROMPTS else None
    taken = settings.model_dump(include={"items", "inferrer"})
    users = run.recipe.dpo[name].users or settings.users
    return PpoConfig(reward=reward, policy_prompt=prompt, users=users, **taken)


def _prompts(run: RunFolder, name: str, settings: OnPolicyConfig, users: Sequence[str], number: int) -> list[UserPost]:
    """The prompts of a round: the users in turn, each with a post of the training side, or with a prompt of the
    section's own users, drawn anew for each round."""
    own, count = run.recipe.dpo[name].users, settings.prompts * number
    if own is not None:
        drawn = asked_in_items(read_own_users(own, space_of(run.recipe)), count)
    else:
        _, drawn = users_of(run, PpoConfig(users=settings.users, prompts=count))
    return [(users[place % len(users)], post) for place, (_, post) in enumerate(drawn[-settings.prompts :])]


def _check_renderer(run: RunFolder, name: str, bundle: Bundle, user: str, post: Prompt) -> None:
    """Raises `RecipeError` if the bundle's policy prompt is not the one that the section's method trains on."""
    method = method_of(run.recipe, run.recipe.dpo[name].method, Backends(chat=bundle.chat))
    assert isinstance(method, PromptedMethod)
    if method.render(method.adapt(bundle.persona(user, text_of(post))), post) != bundle.render(user, post):
        raise RecipeError(
            f"dpo.{name}.on_policy.bundle: its policy_prompt {bundle.file.policy_prompt!r} does not render prompts as "
            f"{method.name} does in this section, so the policy would answer prompts that it was not trained on"
        )


def _publish(folder: Path, newest: Path) -> None:
    """`model` in the section's folder points to the newest policy."""
    link = folder / MODEL
    # What a run without rounds left: its model, and the record by which it would be taken for done.
    (folder / RECORD).unlink(missing_ok=True)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(newest.relative_to(folder))
