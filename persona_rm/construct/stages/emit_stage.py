"""Stage emit: examples as Arrow tables in the published AlignX format, every shard with the same columns."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from persona_rm.construct import records
from persona_rm.io.alignx_format import DEMO, to_row
from persona_rm.io.parquet import DIRECTIONS, ITEMS
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example

WAYS = pa.list_(pa.float64())
OWN = ("id", "user_id", "source", "group", "author", "persona", "dimension", "direction")
"""Columns beside the published ones: text each, null where an example has none."""


def schema(extra: Sequence[str] = ()) -> Any:
    """The columns. `extra`: which of author, persona, dimension and direction this set has."""
    # A schema of its own, and not what Arrow finds in the first rows: every shard must have the same columns.
    items = {
        name: pa.list_(pa.struct([*((key, pa.string()) for key in (*keys, "created")), (DIRECTIONS, WAYS)]))
        for name, keys in ITEMS.items()
    }
    texts = [(name, pa.string()) for name in ("prompt", "chosen", "rejected", *OWN[:4], *extra)]
    return pa.schema([*texts, (DIRECTIONS, WAYS), (DEMO, pa.string()), *items.items()])


def to_table(examples: Sequence[Example], space: PreferenceSpace, columns: Any) -> Any:
    """Rows of the format. Unlike `write_examples` of io, ids are written even if they could be derived."""
    rows = []
    for example in examples:
        own = {"id": example.id, "user_id": example.persona.user_id, "source": example.source, "group": example.group}
        rows.append(to_row(example, space) | own)
    return pa.Table.from_pylist(rows, schema=columns)


class Emit:
    """Rows of a set as the published columns, without those that curation left out."""

    def __init__(self, space: PreferenceSpace, columns: Any, kept: frozenset[str] | None) -> None:
        self.space, self.columns, self.kept = space, columns, kept

    def __call__(self, batch: Any) -> Any:
        """A table of (id, record) as a table of the published format."""
        examples = [records.to_example(json.loads(text)) for text in batch.column("record").to_pylist()]
        if self.kept is not None:
            examples = [example for example in examples if example.id in self.kept]
        return to_table(examples, self.space, self.columns)
