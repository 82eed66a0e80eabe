"""The PPO stage: a reward bundle and prompts for the host, its unmodified trainer, and a judgement by the truth.

Each prompt belongs to a user, and its answers get the reward of that user. In the control (`shuffled`) the policy
still reads the prompt's own user, but the reward belongs to another one. With the simulator as the source, the true
utility of answers is known: posts of users that training never saw are answered before and after training, and the
paired difference is reported.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from persona_rm.backends.generate import answers
from persona_rm.benchmarks.controls import derangement
from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import RecipeError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import LabelledPrompt, PpoJob, PpoOptions
from persona_rm.methods import METHODS
from persona_rm.methods.base import PromptedMethod
from persona_rm.pipeline.members import (
    backends_of,
    method_of,
    model_folder,
    policies,
    simulator_of,
    space_of,
    text_annotator_of,
    truth_of,
    with_prompts,
)
from persona_rm.pipeline.own_files import own_only
from persona_rm.pipeline.own_users import (
    asked_in,
    asked_in_items,
    comparisons_of,
    is_bundle,
    read_own_users,
    with_directions,
)
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.dpo_rows import write_rows
from persona_rm.pipeline.stages.infer import fitted
from persona_rm.pipeline.stages.train import MODEL, device_of, examples_of
from persona_rm.recipe import PpoConfig, Recipe
from persona_rm.types import Persona, Prompt, text_of

LEARNED = "inferrer"
"""The folder of the fitted inferrer in a bundle."""
LEARNED_METHOD = "method"
"""The folder of the fitted method in a bundle."""
BESIDE = frozenset({"postprocess", "groups", "universal", "safety", "limits"})
"""The keys of a `ppo` section that stand in bundle.yaml as they are."""
ALL_USERS = "all users"
"""The group of `curve.jsonl` that holds every sample."""
UserPost = tuple[str, Prompt]
"""(user id, post)."""


def run_one(run: RunFolder, name: str, config: PpoConfig, upstream: dict[str, str]) -> str:
    """One PPO run in <run>/ppo/<name>: bundle, prompts, the host's log, curve.jsonl, and utility.json if the
    source knows the truth."""
    if config.shuffled and config.agent:
        raise RecipeError(f"ppo.{name}: the agent takes prompt and reward from one user; shuffled needs agent: false")
    if config.groups and not config.agent:
        raise RecipeError(f"ppo.{name}: reward_func has too few calls open to fill a group; groups need agent: true")
    if not config.agent and config.args.get("data.apply_chat_template"):
        problem = "prompts for reward_func hold the user and the chat template already, and the host would wrap them"
        raise RecipeError(f"ppo.{name}: {problem}: leave data.apply_chat_template out, or set agent: true")
    on, host = device_of(run.recipe), load_host()

    def work(folder: Path) -> None:
        users, asked = users_of(run, config)
        bundle = bundle_of(run, config, folder, users)
        prompts = folder / "prompts.jsonl"
        write_rows(prompts, host.labels(_prompts(bundle, users, asked, config, run.recipe.seed)))
        args = host.ppo_args(model_folder(run.recipe.model), prompts, folder, config.args)
        options = PpoOptions(
            plugin="agent" if config.agent else "reward",
            n_actors=config.actors,
            max_actors=config.max_actors,
            on_failure=config.on_failure,
        )
        done = host.run_ppo(args, bundle, folder, options, on=on)
        _commands(run, folder)
        _curve(folder, done, host.samples_per_step(args))
        # The truth is known of simulated users only.
        if config.judged and truth_of(run.recipe) and not isinstance(config.users, str):
            judge(run, config, folder)

    base = file_hash(model_folder(run.recipe.model))
    inputs = {"config": config, "policy": upstream.get(config.reward, ""), "model": base, "device": on}
    if isinstance(config.prompts, str):
        inputs["prompts"] = file_hash(Path(config.prompts))
    return run.stage(f"ppo/{name}", {**inputs, **bundle_inputs(run.recipe, name)}, work)


def users_of(run: RunFolder, config: PpoConfig) -> tuple[list[User], list[UserPost]]:
    """The users whose rewards train the policy, and the post that each of their prompts asks about."""
    if isinstance(config.users, str):
        return _own_users_of(run, config, config.users)
    rng, half = Random(f"{run.recipe.seed}/ppo"), config.items // 2
    if simulator := truth_of(run.recipe):
        users = []
        for user in simulator.users("train")[: config.users]:
            evidence = simulator.persona(user, "train", config.items - half, half)
            users.append(User(_hidden(evidence), user.group))
        posts = [post.text for post in simulator.posts("train")]
    else:
        examples = examples_of(run)
        if not examples:
            raise RecipeError(_nothing_built(run.recipe))
        first = examples[: config.users]
        # Real data have no groups of users, so the source of the example stands for one.
        users = [User(_hidden(e.persona.first(config.items - half, half)), e.source or "all") for e in first]
        posts = [example.prompt for example in examples]
    if isinstance(config.prompts, str):
        return users, asked_in(config.prompts, users)
    ids = [user.persona.user_id for user in users]
    return users, [(ids[i % len(ids)], rng.choice(posts)) for i in range(config.prompts)]


def _own_users_of(run: RunFolder, config: PpoConfig, path: str) -> tuple[list[User], list[UserPost]]:
    """The users of a users file or of a bundle, and the prompts of the prompts file or of their own items."""
    if is_bundle(path):
        users = list(load_bundle(path).users.values())
    else:
        users = with_directions(read_own_users(path, space_of(run.recipe)), backends_of(run.recipe))
    if isinstance(config.prompts, str):
        return users, asked_in(config.prompts, users)
    return users, asked_in_items(users, config.prompts)


def _nothing_built(recipe: Recipe) -> str:
    """Why a source of texts gives no users yet, and what to do."""
    source, folder = recipe.source["name"], recipe.build_folder
    problem = f"ppo takes users and prompts from examples built from the source {source!r}, and {folder} has none"
    again = "" if recipe.build is not None else ", and with build={}, because this recipe has no build section"
    return f"{problem}. Build them first, with the same settings{again}: persona-rm run RECIPE --only build"


def _hidden(persona: Persona) -> Persona:
    """The evidence without golden directions: the inferrer has to find them."""
    return persona.with_directions(None)


def bundle_of(run: RunFolder, config: PpoConfig, folder: Path, users: Sequence[User]) -> Path:
    """Write the reward bundle of a PPO section for these users: <folder>/bundle.

    A method that learns is fitted on the comparisons of the training side, or of the users file, and what it learned
    goes into the bundle. A bundle that the section names as its users is used as it is.
    """
    if isinstance(config.users, str) and is_bundle(config.users):
        return Path(config.users).resolve()
    trained = run.recipe.dpo.get(config.reward)
    method = with_prompts(run.recipe, trained.method if trained else {"name": config.reward})
    method_class = METHODS.load(method["name"])
    needs = method_class.needs
    models: dict[str, Any] = {"annotator": config.annotator}
    start = model_folder(run.recipe.model)
    policy = (run.folder / "dpo" / config.reward / MODEL).resolve() if trained else start
    if trained or "policy" in needs:
        models["policy"] = str(policy)
    else:
        models["tokenizer"] = str(start)
    if trained:
        models["reference"] = str(start)
    if "annotator" in needs and config.annotator is None:
        models["annotator"] = text_annotator_of(run.recipe)
    if "fit" in needs:
        backends = replace(backends_of(run.recipe), logprob=policies(policy, start if trained else None).logprob)
        learner = method_of(run.recipe, method, backends)
        own = isinstance(config.users, str)
        comparisons = comparisons_of(users) if own else [example.comparison() for example in examples_of(run)]
        if not comparisons:
            problem = f"{config.reward} is fitted on comparisons, and there are none"
            do = "the users file needs users with `pairs`" if own else "add a build section"
            raise RecipeError(f"{problem}: {do}, or name another reward")
        learner.fit(comparisons)
        learner.save(folder / "bundle" / LEARNED_METHOD)
        models["method_dir"] = str(folder / "bundle" / LEARNED_METHOD)
    personas = [user.persona for user in users] if own_only(run.recipe) else None
    inferrer = fitted(run, config.inferrer, personas=personas)
    if inferrer.learns:
        inferrer.save(folder / "bundle" / LEARNED)
        models["inferrer_dir"] = str(folder / "bundle" / LEARNED)
    # The policy reads the user as the reward does; a reward without a prompt of its own leaves it the directions.
    own_prompt = "method" if issubclass(method_class, PromptedMethod) else "pba"
    # One format for both: the method's, which is the recipe's unless the method names another.
    formats = {"prompts": run.recipe.prompts, "chat": run.recipe.chat, **method}
    return write_bundle(
        folder / "bundle", users, relative_to=Path.cwd(), space=run.recipe.space, method=method,
        prompts=formats["prompts"], chat=formats["chat"], policy_prompt=config.policy_prompt or own_prompt,
        inferrer=config.inferrer,
        **models, **_beside(config),
    )  # fmt: skip


def bundle_inputs(recipe: Recipe, section: str) -> dict[str, Any]:
    """What `bundle_of` reads of a recipe; the weights of a trained policy come on top."""
    return reward_inputs(recipe, recipe.ppo[section])


def reward_inputs(recipe: Recipe, config: PpoConfig) -> dict[str, Any]:
    """As `bundle_inputs`, for a section that need not be one of the recipe's `ppo`."""
    every = {"seed", "source", "prompts", "chat", "space", "model", "annotator", "build"}
    own = {"reward", "policy_prompt", "inferrer", "annotator", "users", "items"}
    own |= BESIDE
    trained = recipe.dpo.get(config.reward)
    return {
        "recipe": recipe.model_dump(mode="json", include=every), "method": trained.method if trained else None,
        "section": config.model_dump(mode="json", include=own),
        "users": file_hash(Path(config.users)) if isinstance(config.users, str) else "",
    }  # fmt: skip


def _beside(config: PpoConfig) -> dict[str, Any]:
    """Post-processing, groups, the models that they ask, and limits, as bundle.yaml has them."""
    return config.model_dump(mode="json", include=set(BESIDE), exclude_unset=True)


def _prompts(
    bundle: Path, users: Sequence[User], asked: Sequence[UserPost], config: PpoConfig, seed: int
) -> Iterator[LabelledPrompt]:
    """Bare posts for the agent plugin, posts with the user's profile before them for the reward plugin."""
    loaded = load_bundle(bundle)
    ids = [user.persona.user_id for user in users]
    rewarder = dict(zip(ids, ids, strict=True))
    if config.shuffled:
        order = derangement(len(ids), np.random.default_rng(seed))
        rewarder = {ids[i]: ids[j] for i, j in enumerate(order)}
    for user, post in asked:
        # agent_func.py takes the turns of a conversation from the label.
        prompt = text_of(post) if config.agent else loaded.render(user, post)
        # A prompts file may name users that are unknown; they stay so.
        yield LabelledPrompt(prompt, rewarder.get(user, user), post)


def _curve(folder: Path, done: PpoJob, per_step: int) -> None:
    """Mean reward per step and user group, and over all users, from the actors' logs in order of time."""
    sums: dict[tuple[int, str], list[float]] = defaultdict(list)
    for number, sample in enumerate(done.samples()):
        for group in {ALL_USERS, str(sample["group"])}:
            # The samples are in order of time, and each step of the host takes the next `per_step` of them.
            sums[number // per_step + 1, group].append(float(sample["reward"]))
    rows = (
        {"step": step, "group": group, "reward_mean": sum(values) / len(values), "n": len(values)}
        for (step, group), values in sorted(sums.items())
    )
    write_rows(folder / "curve.jsonl", rows)


def _commands(run: RunFolder, folder: Path) -> None:
    """The exact commands of this stage, gathered for the report."""
    path = folder / "commands.sh"
    if path.is_file():
        with (run.folder / "commands.sh").open("a") as file:
            file.write(path.read_text())


def judge(run: RunFolder, config: PpoConfig, folder: Path) -> None:
    """True utility of answers for test users under test posts, by the starting and the trained policy; paired.

    The standard error treats a user's answers as one cluster: it is that of the mean over users.
    """
    simulator = simulator_of(run.recipe)
    users, posts = simulator.users("test"), simulator.posts("test")
    rng, half = Random(f"{run.recipe.seed}/judged"), config.items // 2
    cases = [(users[i % len(users)], rng.choice(posts)) for i in range(config.judged)]
    seen = {}
    for user, _ in cases:
        seen[user.id] = User(_hidden(simulator.persona(user, "test", config.items - half, half)), user.group)
    bundle = load_bundle(_judging_bundle(folder, list(seen.values())))
    prompts = [bundle.render(user.id, post.text) for user, post in cases]
    tokens = load_host().answer_tokens(config.args) or 64
    ids = [user.id for user, _ in cases]
    texts: dict[str, list[str]] = {}
    utility: dict[str, np.ndarray] = {}
    # Both models answer with the same seed, so the difference of a pair is not one of the draws alone.
    for name, model in {"before": model_folder(run.recipe.model), "after": folder / MODEL}.items():
        texts[name] = answers(model, prompts, max_new_tokens=tokens, seed=run.recipe.seed)
        levels = [simulator.language.read_levels(text) for text in texts[name]]
        values = [simulator.utility(user, read, post) for (user, post), read in zip(cases, levels, strict=True)]
        utility[name] = np.array(values)
    utility["difference"] = utility["after"] - utility["before"]
    stats = {key: _stat(values, ids) for key, values in utility.items()}
    (folder / "utility.json").write_text(json.dumps(stats, indent=1) + "\n")
    rows: list[dict[str, Any]] = []
    for i, (user, post) in enumerate(cases):
        row: dict[str, Any] = {"user": user.id, "prompt": post.text}
        row |= {name: answered[i] for name, answered in texts.items()}
        row |= {f"utility_{name}": float(utility[name][i]) for name in texts}
        rows.append(row)
    write_rows(folder / "answers.jsonl", iter(rows))


def _judging_bundle(folder: Path, users: Sequence[User]) -> Path:
    """The bundle of the run with the test users in the place of the training users; its paths are those of the run."""
    kept = load_bundle(folder / "bundle").file.model_dump(exclude_unset=True)
    kept.pop("profiles", None)
    return write_bundle(folder / "judging", users, **kept)


def _stat(values: np.ndarray, users: Sequence[str]) -> dict[str, float]:
    """Mean over users of their mean, and its standard error."""
    by_user: dict[str, list[float]] = defaultdict(list)
    for user, value in zip(users, values.tolist(), strict=True):
        by_user[user].append(value)
    means = np.array([np.mean(each) for each in by_user.values()])
    return {"mean": float(means.mean()), "se": float(means.std(ddof=1) / np.sqrt(len(means))), "n": len(values)}
