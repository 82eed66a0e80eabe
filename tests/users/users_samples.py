"""Small users files that the tests of reading share."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from persona_rm import Pair
from persona_rm.users.read_file import UsersData

ROWS = [
    {"user": "ann", "prompt": "Tea?", "chosen": "Black.", "rejected": "Green."},
    {"user": "ann", "prompt": "Milk?", "chosen": "No.", "rejected": ""},
    {"user": 7, "prompt": "Tea?", "chosen": "Green.", "rejected": "Black."},
]
PAIRS = {
    "ann": (Pair("Tea?", "Black.", "Green."), Pair("Milk?", "No.", "")),
    "7": (Pair("Tea?", "Green.", "Black."),),
}


def lines(path: Path, rows: list[object]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def table(path: Path, rows: list[dict[str, object]], separator: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


def pairs(data: UsersData) -> dict[str, tuple[Pair, ...]]:
    return {user.persona.user_id: user.persona.pairs for user in data.users}


def finding(data: UsersData, kind: str):
    [match] = [one for one in data.findings if one.kind == kind]
    return match


def bad_rows(**changes: object) -> list[object]:
    """A hundred good rows and one with these changes."""
    good = [
        {"user": f"u{number % 10}", "prompt": f"p{number}", "chosen": "a", "rejected": "b"} for number in range(100)
    ]
    return [*good, {**good[0], **changes}]


def parquet_table(path: Path, rows: list[dict[str, object]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), path)
    return path
