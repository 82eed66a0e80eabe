"""Make any recipe small enough for this machine: the same stages, a tiny model, few rows and steps."""

from pathlib import Path
from typing import Any

from persona_rm.backends.small_chat_model import save_small_chat_model
from persona_rm.hosts import load_host
from persona_rm.pipeline.members import PACKAGED_MODEL, model_folder, source_of, truth_of, with_prompts
from persona_rm.pipeline.own_files import own_only
from persona_rm.recipe import Recipe
from persona_rm.recipe_sections import HostArgs, OnPolicyConfig

ROWS, PROMPTS, USERS, TOKENS = 16, 8, 8, 32


def rehearsal_of(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The small recipe, which writes to runs/<name>-rehearsal, and every change with its reason.

    If the recipe renders prompts by the chat template of its model, a small model with that template is written there.
    """
    out = f"runs/{recipe.name}-rehearsal"
    name, why = _small_model(recipe, Path(out))
    model = model_folder(name)
    raw: dict[str, Any] = recipe.model_dump(exclude_unset=True)
    changes = [f"model: {recipe.model} -> {name}: {why}"] if recipe.model != name else []
    if recipe.device != "auto":
        changes.append(f"device: {recipe.device} -> auto: a rehearsal runs on what this machine has")
    raw |= {
        "model": name,
        "device": "auto",
        "out": out,
        "pretrain": None,
        "eval": None,
        "inference": None,
        "real": None,
        "report": False,
    }
    changes.append("pretrain, every evaluation, report: left out: a rehearsal asks whether the job runs, not how well")
    _shrink_data(recipe, raw, changes)
    for name, dpo in recipe.dpo.items():
        args = _args(f"dpo.{name}", dpo.args, model, changes)
        raw["dpo"][name] |= {"rows": min(dpo.rows, ROWS), "args": args}
        changes.append(f"dpo.{name}.rows: {dpo.rows} -> {min(dpo.rows, ROWS)}: few steps")
        if dpo.on_policy is not None:
            raw["dpo"][name]["on_policy"] |= _small_rounds(name, dpo.on_policy, changes)
    for name, ppo in recipe.ppo.items():
        args = _args(f"ppo.{name}", ppo.args, model, changes)
        users = ppo.users if isinstance(ppo.users, str) else min(ppo.users, USERS)
        prompts = ppo.prompts if isinstance(ppo.prompts, str) else min(ppo.prompts, PROMPTS)
        raw["ppo"][name] |= {"users": users, "prompts": prompts, "judged": 0, "args": args}
        changes.append(f"ppo.{name}: {users} users, {prompts} prompts, not judged: few steps")
        changes.append(f"ppo.{name}.users: {_whose(recipe, ppo.users)}")
    return Recipe(**raw), changes


def _whose(recipe: Recipe, users: int | str) -> str:
    """Whose rewards a section rehearses, so that simulated users are not taken for the own ones."""
    if isinstance(users, str):
        return f"your own users, of {users}"
    kind = "simulated users" if truth_of(recipe) else f"users that are built from the source {recipe.source['name']!r}"
    return f"{kind}, not yours: name ppo.SECTION.users=FILE, or rehearse your own command with --bundle"


def _small_model(recipe: Recipe, out: Path) -> tuple[str, str]:
    """The model of the rehearsal, and what it is."""
    members = [with_prompts(recipe, section.method) for section in recipe.dpo.values()]
    if recipe.chat != "template" and all(member.get("chat") != "template" for member in members):
        return PACKAGED_MODEL, "the packaged tiny model"
    folder = out / "small_model"
    whose = save_small_chat_model(model_folder(PACKAGED_MODEL), Path(recipe.model), folder)
    return str(folder), f"the packaged tiny model with {whose}"


def _shrink_data(recipe: Recipe, raw: dict[str, Any], changes: list[str]) -> None:
    if own_only(recipe):
        return
    if small := source_of(recipe).small():
        raw["source"] = {**recipe.source, **small}
        changes.append(f"source: a small one {dict(small)}")
    elif recipe.build is not None:
        raw["build"] = {**recipe.build.model_dump(exclude_unset=True), "max_threads": 300}
        changes.append("build.max_threads: 300: a small share of the data")


def _small_rounds(name: str, rounds: OnPolicyConfig, changes: list[str]) -> dict[str, int]:
    """The sizes of the rounds on the policy's own answers. Some prompts give no pair, so there are more of them. A
    tiny model seldom ends an answer, so cut ones are used."""
    most = {"rounds": 1, "prompts": 2 * ROWS, "users": USERS, "max_tokens": TOKENS}
    small = {key: min(getattr(rounds, key), limit) for key, limit in most.items()}
    small["cut_answers"] = True
    changes.append(f"dpo.{name}.on_policy: {', '.join(f'{key} {value}' for key, value in small.items())}: few steps")
    return small


def _args(where: str, args: HostArgs, model: Path, changes: list[str]) -> HostArgs:
    """The host's flags for this machine, without the paths that the stages set."""
    kind = "ppo" if where.startswith("ppo") else "dpo"
    marker = {"actor.model_name_or_path": str(model)} if kind == "ppo" else {"model.model_name_or_path": str(model)}
    new, _, changed = load_host().rehearse({**marker, **args}, model=model)
    changes += [f"{where}: {line}" for line in changed]
    return {key: value for key, value in new.items() if key not in marker}
