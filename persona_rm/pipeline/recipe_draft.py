"""A recipe to begin with, from a few answers: host, model, GPUs and the file of a team's users."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError, RecipeError
from persona_rm.hosts import DEFAULT_HOST, load_host
from persona_rm.io.json_rows import open_atomic
from persona_rm.recipe import Recipe, load_recipe
from persona_rm.users.own_prompts import PromptsFile, read_prompts_file
from persona_rm.users.users_file import User

SECTION = "own"
"""The name of the `ppo` section."""


@dataclass(frozen=True, slots=True)
class RecipeDraft:
    """The answers. `model` is a folder in Hugging Face format or `simulator_lm`; paths are as they were given."""

    name: str
    model: str
    gpus: int
    users: str
    host: str = DEFAULT_HOST
    reward: str = "contrast"
    prompts: str | None = None
    """A file of prompts; None takes the prompts of the users' own items."""

    @property
    def bundle(self) -> Path:
        """Where a run of the recipe writes its bundle."""
        return Path("runs") / self.name / "ppo" / SECTION / "bundle"


def check_prompts(path: Path, users: Sequence[User]) -> tuple[PromptsFile, str]:
    """The prompts file, and what is in it in words.

    Raises `DataError` for a row that cannot be read, or if the file names users and none of them is of the users file.
    """
    file = read_prompts_file(path)
    known = {user.persona.user_id for user in users}
    named = [prompt.user for prompt in file.prompts if prompt.user is not None]
    n_known = sum(user in known for user in named)
    said = f"{path}: {len(file.prompts):,} prompts (column {file.prompt_column!r})"
    if not named:
        rest = "a run gives each to the next user in turn, and a job of your own needs a column with the user of a row"
        return file, f"{said}; no row names a user: {rest}"
    if not n_known:
        examples = ", ".join(map(repr, list(dict.fromkeys(named))[:3]))
        problem = f"no row names a user of the users file: they name {examples}, its users are such as "
        problem += f"{', '.join(map(repr, sorted(known)[:3]))}{did_you_mean(named[0], known)}"
        raise DataError(problem, file=path)
    return file, f"{said}; {n_known:,} of them name a user of the users file (column {file.user_column!r})"


def write_draft(draft: RecipeDraft, path: Path, *, replace: bool = False) -> Recipe:
    """Write the recipe. Raises `RecipeError` if the file exists, or if the answers make no recipe; nothing is left
    then."""
    if path.exists() and not replace:
        raise RecipeError(f"{path} exists: name another file by --out, or give --force to replace it")
    with open_atomic(path) as stream:
        stream.write(text_of(draft, path).encode())
    try:
        return load_recipe(path)
    except RecipeError:
        path.unlink()
        raise


def text_of(draft: RecipeDraft, path: Path) -> str:
    """The recipe as YAML, with the comment that recipes begin with."""
    hardware = f"{draft.gpus} GPUs" if draft.gpus else "CPU only, which is a rehearsal"
    comment = [
        f"PPO of {draft.model} on each user's own reward, for the users of {draft.users}.",
        f"Hardware: {hardware}. Time: not measured.",
        f"Command: persona-rm run {path}   (before it: persona-rm doctor {path})",
    ]
    content: dict[str, Any] = {"name": draft.name, "model": draft.model, "device": "gpu" if draft.gpus else "auto"}
    content |= {"infer": {"users": draft.users}}
    section: dict[str, Any] = {"users": draft.users, "reward": draft.reward, "judged": 0}
    section |= {"prompts": draft.prompts} if draft.prompts else {}
    section["args"] = load_host(draft.host).draft_args(draft.gpus)
    content |= {"ppo": {SECTION: section}}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in comment) + body
