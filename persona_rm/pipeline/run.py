"""Stages of a run: each has a folder, a key of all that it depends on, and a record of what was done.

A stage whose key is on record as done is skipped, and says so. A changed recipe section, input or upstream stage
changes the key, and the stage runs again, in an emptied folder unless its work keeps account itself. A stage that was
killed finds its folder as it left it and may go on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from persona_rm import __version__
from persona_rm.io.terminal import print_head
from persona_rm.recipe import Recipe, save_recipe
from persona_rm.registry import is_file_name

RECORD = "stage.json"


@dataclass
class RunFolder:
    """One run folder. `stage` does a piece of work once; `history` is what this process did, for the report."""

    recipe: Recipe
    folder: Path
    console: Console
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        save_recipe(self.recipe, self.folder / "recipe.yaml")

    def stage(self, name: str, inputs: Mapping[str, Any], work: Callable[[Path], None], *, keeps: bool = False) -> str:
        """Do `work(folder)` unless it is done for these inputs. Returns the key, to be an input of what comes
        after. With `keeps`, other inputs find the folder as it is: for work that knows itself what still holds."""
        folder, key = self.folder / name, stage_key(name, inputs)
        done = _read(folder)
        if done.get("key") == key and done.get("status") == "done":
            self.console.print(f"{name}: done before, skipped ({done['seconds']} s then)", style="dim")
            self._note(name, "skipped", done["seconds"])
            return key
        if done.get("key") != key and folder.exists() and not keeps:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        again = " (goes on after an interruption)" if done.get("key") == key else ""
        print_head(self.console, name, again)
        save_recipe(self.recipe, folder / "recipe.yaml")
        # Recorded before the work begins: after an interruption the key tells that the folder may be continued.
        self._write(folder, key, "running", 0, inputs)
        started = time.monotonic()
        try:
            work(folder)
        except BaseException:
            self._note(name, "failed", round(time.monotonic() - started))
            raise
        seconds = round(time.monotonic() - started)
        self._write(folder, key, "done", seconds, inputs)
        self._note(name, "done", seconds)
        self.console.print(f"{name}: done in {seconds} s", style="green")
        return key

    def _write(self, folder: Path, key: str, status: str, seconds: int, inputs: Mapping[str, Any]) -> None:
        record = {"key": key, "status": status, "seconds": seconds, "inputs": _plain(inputs), "code": __version__}
        (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")

    def _note(self, name: str, status: str, seconds: int) -> None:
        self.history.append({"name": name, "status": status, "seconds": seconds})
        (self.folder / "stages.json").write_text(json.dumps(self.history, indent=1) + "\n")


def stage_key(name: str, inputs: Mapping[str, Any]) -> str:
    """A hash of the stage's name, the code version and everything that it depends on."""
    text = json.dumps([name, __version__, _plain(inputs)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """A hash of a file's bytes, or of all files of a folder by name."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        # Names without folders, so that a model or a data set can be moved and keeps its hash.
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def code_hash(member: Mapping[str, Any]) -> str:
    """A hash of the file that a member stands in; "" for a member of the zoo, whose code has the package's version."""
    name = str(member["name"])
    return file_hash(Path(name.rpartition(":")[0])) if is_file_name(name) else ""


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return record
