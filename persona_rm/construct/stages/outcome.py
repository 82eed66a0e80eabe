"""The rows that stages hand on: Arrow tables of (id, record, notes, prints), one outcome per row.

The id is a hash of the post's own id and stays the same through all stages, so that a checkpoint knows which rows are
done. The record is JSON, and null once the row was dropped. Notes are the drops and counts of this stage.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from persona_rm.construct import records
from persona_rm.types import Drop

ArrowTable = Any
SCHEMA = pa.schema(
    [("id", pa.int64()), ("record", pa.large_string()), ("notes", pa.large_string()), ("prints", pa.large_binary())]
)
"""`prints`: fingerprints of a post's texts, for the search of duplicates; empty if the stage makes none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a stage for one row. `record` is None if the row was dropped, in this stage or before."""

    record: dict[str, Any] | None = None
    drops: Sequence[Drop] = ()
    counts: Mapping[str, float] = field(default_factory=dict)
    prints: bytes = b""


RowsToOutcomes = Callable[[list[dict[str, Any] | None]], list[Outcome]]


def table(rows: Sequence[tuple[int, Outcome]]) -> ArrowTable:
    """(id, outcome) pairs as an Arrow table of `SCHEMA`."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for id_, outcome in rows:
        columns["id"].append(id_)
        columns["record"].append(None if outcome.record is None else json.dumps(outcome.record, ensure_ascii=False))
        columns["notes"].append(records.noted(outcome.drops, outcome.counts))
        columns["prints"].append(outcome.prints)
    # The types are given, because a batch in which all rows were dropped would get a column of type null.
    arrays = [pa.array(columns[column.name], column.type) for column in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def each(function: Callable[[dict[str, Any]], Outcome]) -> RowsToOutcomes:
    """A function of one record, over a batch in which some rows were dropped before."""
    return lambda rows: [Outcome() if row is None else function(row) for row in rows]
