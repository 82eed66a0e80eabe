"""A Hugging Face data set on disk: a folder of `save_to_disk` (splits or not), or Parquet and Arrow files.

The files are read by pyarrow, not by `datasets.load_from_disk`: that maps all shards or none, and one broken shard
would cost them all. What it would not read is left out here too: caches, and shards that `state.json` lacks.
"""

import json
from pathlib import Path
from typing import ClassVar

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.sources.inputs import TABLES
from persona_rm.sources.mapping import MappedSource, MappingConfig

STATE = "state.json"
CACHE = "cache-"
"""The start of the names of files that `datasets` keeps for itself."""


class HfConfig(MappingConfig):
    """`split`: the files in a folder of that name or named so (`train-00000-of-00002.parquet`); without it all."""

    split: str | None = None
    source_name: str = "hf"


class HfSource(MappedSource):
    """Rows of a table, by the same keys as JSON lines; null means that the row lacks the key."""

    name: ClassVar[str] = "hf"
    Config: ClassVar[type[Config]] = HfConfig
    patterns: ClassVar[tuple[str, ...]] = TABLES

    def files(self) -> list[Path]:
        """The shards. Raises `DataError` if there is none, or none of the split."""
        every = [file for file in super().files() if not file.name.startswith(CACHE) and listed_shard(file)]
        files = [file for file in every if _of_split(file, self.config.split)]
        if not files:
            found = ", ".join(sorted({f"{file.parent.name}/{file.name}" for file in every})[:10]) or "no shard"
            raise DataError(f"no shard of split {self.config.split!r} (found: {found})", file=self.config.path)
        return files


def _of_split(file: Path, split: str | None) -> bool:
    # The three layouts in use: train.parquet, train-00000-of-00002.parquet, and a folder train/.
    named = file.stem == split or file.name.startswith((f"{split}-", f"{split}."))
    return split is None or named or file.parent.name == split


def listed_shard(file: Path) -> bool:
    """False for a shard that an earlier, larger `save_to_disk` left behind."""
    listed = _listed(file.parent / STATE)
    return listed is None or file.name in listed


def check_shards(folder: Path) -> None:
    """Raises `DataError` if a shard of a saved data set is missing: a part of the rows would be taken for all."""
    listed = _listed(folder / STATE) or set()
    missing = sorted(name for name in listed if not (folder / name).is_file())
    if missing:
        problem = f"{len(missing)} of its {len(listed)} shards are missing: {', '.join(missing[:3])}"
        raise DataError(f"{problem}; copy them, or save the data set again", file=folder)


def _listed(state: Path) -> set[str] | None:
    """The shards that `save_to_disk` wrote; None without its state file."""
    if not state.is_file():
        return None
    try:
        return {str(entry["filename"]) for entry in json.loads(state.read_bytes())["_data_files"]}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            "not the state of a saved data set: `_data_files[{filename}]` is expected", file=state
        ) from error
