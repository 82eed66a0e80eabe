"""What sources that read files share: which files a path means, going on after a file that breaks, the fingerprint."""

import glob
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, content_hash, need_file, read_rows
from persona_rm.io.parquet import read_parquet
from persona_rm.sources.arrow_rows import read_arrow
from persona_rm.sources.base import OnBad, Source
from persona_rm.types import Thread

JSON = ("*.jsonl", "*.json", "*.ndjson")
TABLES = ("*.parquet", "*.arrow")
PACKED = (".gz", ".bz2", ".xz", ".zst")
Read = Callable[[Path, OnBad], Iterator[JsonRow]]


class SharedConfig(Config):
    """`limit`: the first so many threads only. `licence`: of the data, for the data card."""

    limit: PositiveInt | None = None
    licence: str = ""


class FilesConfig(SharedConfig):
    """`path`: a file, a folder (the data files in it, at any depth) or a glob pattern (`**` crosses folders).

    JSON lines or one JSON array; packed files (.gz, .bz2, .xz, .zst) are unpacked on the way.
    """

    path: str = Field(min_length=1)


class FileSource(Source):
    """A source that reads files, in sorted order. One that breaks costs what stands behind the break, no more."""

    Config: ClassVar[type[Config]] = FilesConfig
    patterns: ClassVar[tuple[str, ...]] = JSON
    """Names of data files in a folder, in small letters and without the packing's suffix."""

    def files(self) -> list[Path]:
        """The files behind `path`. Raises `DataError` if there is none, or none that holds anything."""
        return find_files(self.config.path, self.patterns)

    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every thread. Raises before the first if there is no file; whatever else is wrong goes to `on_bad`."""
        # The files are found here and not in the generator, so that a missing one raises at once.
        return islice(self._threads(self.files(), on_bad), self.config.limit)

    @abstractmethod
    def _threads(self, files: list[Path], on_bad: OnBad) -> Iterator[Thread]:
        """The threads of these files."""

    def fingerprint(self) -> str:
        """The sha256 of the config, and of the name and content of every file."""
        return files_fingerprint(self.config, self.files())


def find_files(path: str, patterns: tuple[str, ...]) -> list[Path]:
    """The files that `path` means, sorted. Raises `DataError` naming what was looked for if there is none."""
    place = Path(path)
    if place.is_dir():
        files = _inside(place, patterns)
        beside = ", ".join(sorted(entry.name for entry in place.iterdir())[:10]) or "nothing"
        problem = f"the folder holds no {', '.join(patterns)}, packed or not (it holds: {beside})"
    # A file that exists is meant as it is, also if its name holds brackets.
    elif not place.exists() and glob.has_magic(path):
        found = [Path(match) for match in glob.glob(path, recursive=True)]  # noqa: PTH207 - Path.glob takes no absolute one
        files = sorted({file for match in found for file in _of_match(match, patterns)})
        problem = "no file matches this pattern"
    else:
        return [need_file(place)]
    if not files:
        raise DataError(problem, file=path)
    if not any(file.stat().st_size for file in files):
        raise DataError(f"all files are empty ({len(files)} of {len(files)})", file=path)
    return files


def _of_match(match: Path, patterns: tuple[str, ...]) -> list[Path]:
    """A pattern names files as they are; in folders that it names, the data files."""
    return _inside(match, patterns) if match.is_dir() else [match]


def _inside(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    # Hidden files and folders are those of tools, such as .git and .cache.
    seen = (file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return sorted(file for file in seen if any(fnmatch(bare(file).lower(), pattern) for pattern in patterns))


def bare(file: Path) -> str:
    """The file's name without the packing's suffix."""
    return file.stem if file.suffix in PACKED else file.name


def read_any(file: Path, on_bad: OnBad) -> Iterator[JsonRow]:
    """The rows of a Parquet, Arrow or JSON file; the suffix tells."""
    readers: dict[str, Read] = {".parquet": read_parquet, ".arrow": read_arrow}
    return readers.get(file.suffix, read_rows)(file, on_bad)


def read_files(files: Iterable[Path], on_bad: OnBad, read: Read = read_any) -> Iterator[JsonRow]:
    """The rows of all files. What ends the reading of one goes to `on_bad`, and reading goes on with the next."""
    for file in files:
        row = 0
        try:
            # A file that may not be opened is told as that, and not as one of another format.
            file.open("rb").close()
            for one in read(file, on_bad):
                row = one.number
                yield one
        except (DataError, OSError) as error:
            problem, key = (error.problem, error.key) if isinstance(error, DataError) else (str(error), None)
            on_bad(DataError(problem, file=file, row=row + 1, key=key))


def files_fingerprint(config: Config, files: list[Path]) -> str:
    """The sha256 of the config, less what changes no row, and of the files' names and contents."""
    digest = hashlib.sha256(config.model_dump_json(exclude={"buckets", "scratch"}).encode())
    for file in files:
        # Names of files may hold bytes that are no UTF-8.
        digest.update(f"\n{file} {_content(file)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(file: Path) -> str:
    """The file's hash; for one that cannot be opened, why: reading will hand that to `on_bad`."""
    try:
        return content_hash(file) if file.stat().st_size else "empty"
    except OSError as error:
        return str(error)
