"""A recipe to begin with, from a few answers: host, model, GPUs and the file of a team's users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from persona_rm.errors import RecipeError
from persona_rm.hosts import DEFAULT_HOST, load_host
from persona_rm.io.json_rows import open_atomic
from persona_rm.recipe import Recipe, load_recipe

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

    @property
    def bundle(self) -> Path:
        """Where a run of the recipe writes its bundle."""
        return Path("runs") / self.name / "ppo" / SECTION / "bundle"


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
    section = {
        "users": draft.users,
        "reward": draft.reward,
        "judged": 0,
        "args": load_host(draft.host).draft_args(draft.gpus),
    }
    content |= {"ppo": {SECTION: section}}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in comment) + body
