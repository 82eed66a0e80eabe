"""The rows of a table, whatever its format: JSON lines, a JSON array, CSV, Parquet, Arrow, or a folder of such files.

The content tells the format, not the name. JSON and CSV may be packed (.gz, .bz2, .xz, .zst). Rows are counted from 1
as in an editor or a spreadsheet, so that the first row below a CSV header is row 2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from persona_rm.errors import DataError
from persona_rm.io.file_kinds import check_packing, other_kind, table_kind
from persona_rm.io.json_rows import JsonRow, OnBad, need_file, read_rows
from persona_rm.io.parquet import read_parquet
from persona_rm.io.unpacked import BREAKS, open_binary
from persona_rm.sources.arrow_rows import read_arrow
from persona_rm.sources.hf import CACHE, check_shards, listed_shard
from persona_rm.sources.inputs import JSON, TABLES, bare, find_files
from persona_rm.users.columns import NAMES, plain
from persona_rm.users.csv_rows import header_of, read_csv

TEXTS = (*JSON, "*.csv", "*.tsv")
METADATA = ("dataset_info.json", "dataset_dict.json", "state.json")
"""JSON files that `datasets` writes beside its tables."""
SNIFFED = 1 << 16
"""Bytes at the start of a file by which its format is recognised."""
READERS: dict[str, Callable[[Path, OnBad | None], Iterator[JsonRow]]] = {
    "Parquet": read_parquet,
    "Arrow": read_arrow,
    "CSV": read_csv,
    "JSON lines": read_rows,
    "a JSON array": read_rows,
}
SUFFIXES = {
    "Parquet": (".parquet",),
    "Arrow": (".arrow",),
    "CSV": (".csv", ".tsv", ".txt"),
    "JSON lines": (".jsonl", ".ndjson", ".json"),
    "a JSON array": (".jsonl", ".ndjson", ".json"),
}
"""The suffixes that promise a format."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """The files behind a path, and the format of their content."""

    path: Path
    files: tuple[Path, ...]
    format: str

    @property
    def remark(self) -> str:
        """What the names of the files do not tell: another format than they promise, or several splits in one."""
        return "; ".join(filter(None, (self._other_format, self._splits)))

    @property
    def _splits(self) -> str:
        """The splits of a `DatasetDict` that are read as one table; "" for a single one."""
        folders = list(dict.fromkeys(file.parent for file in self.files if (file.parent / METADATA[-1]).is_file()))
        names = ", ".join(folder.name for folder in folders)
        return f"its splits {names} are read as one; name a folder inside to read one of them" if folders[1:] else ""

    @property
    def _other_format(self) -> str:
        suffix = Path(bare(self.files[0])).suffix.lower()
        known = {one for suffixes in SUFFIXES.values() for one in suffixes}
        wrong = suffix in known and suffix not in SUFFIXES[self.format]
        return f"its content is {self.format}, although its name ends in {suffix}" if wrong else ""

    def rows(self, on_bad: OnBad) -> Iterator[JsonRow]:
        """Every row of every file, in order."""
        return chain.from_iterable(READERS[self.format](file, on_bad) for file in self.files)


def open_table(path: str | Path) -> RawTable:
    """The table at `path`: a file, a folder (of `save_to_disk`, of Parquet, JSON or CSV files) or a glob pattern.

    Raises `DataError` if there is no file, or one that holds none of the formats; the message says what it is.
    """
    files = _files(Path(path))
    formats = {file: format_of(file) for file in files}
    first, *others = dict.fromkeys(formats.values())
    if others:
        other = next(file for file in files if formats[file] == others[0])
        raise DataError(
            f"the files are of two formats: {files[0].name} is {first}, {other.name} is {others[0]}; give one of them",
            file=path,
        )
    return RawTable(Path(path), tuple(files), first)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return find_files(str(path), (*TABLES, *TEXTS))
    every = [file for file in find_files(str(path), (*TABLES, *TEXTS)) if file.name not in METADATA]
    # A data set of Hugging Face keeps its tables beside JSON files about them.
    tables = [file for file in every if file.suffix in (".parquet", ".arrow")]
    shards = [file for file in tables if not file.name.startswith(CACHE) and listed_shard(file)]
    for folder in dict.fromkeys(file.parent for file in shards):
        check_shards(folder)
    files = [file for file in shards or every if file.stat().st_size]
    if not files:
        beside = ", ".join(sorted(file.name for file in path.iterdir())[:10])
        raise DataError(f"the folder holds no table, only: {beside}", file=path)
    return files


def format_of(path: Path) -> str:
    """The format of a file by its content, a key of `READERS`. Raises `DataError` for anything else."""
    need_file(path)
    with path.open("rb") as stream:
        head = stream.read(8)
    if table := table_kind(head):
        return table[0]
    try:
        check_packing(path)
        with open_binary(path) as unpacked:
            start = unpacked.read(SNIFFED)
    except BREAKS as error:
        raise DataError(f"cannot be read: {error}", file=path) from error
    return _format_of_text(path, start)


def _format_of_text(path: Path, start: bytes) -> str:
    if kind := other_kind(start):
        raise DataError(f"it is {kind}", file=path)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise DataError("the file is empty", file=path)
    if b"\0" in start:
        raise DataError("it is a binary file; give JSON lines, CSV, Parquet or a `datasets` folder", file=path)
    if text.startswith(b"{"):
        return "JSON lines"
    if text.startswith(b"["):
        return "a JSON array"
    header = header_of(text)
    if len(header) > 1 or plain("".join(header)) in NAMES["user"]:
        return "CSV"
    raise DataError(
        "its first line is neither a JSON object nor a CSV header of two or more columns; "
        "give JSON lines, CSV, Parquet or a `datasets` folder",
        file=path,
    )
