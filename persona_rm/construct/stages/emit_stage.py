"""Examples as Arrow tables in the published AlignX format, every shard with the same columns."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from persona_rm.io.alignx_format import DEMO, to_row
from persona_rm.io.parquet import DIRECTIONS, ITEMS
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example

WAYS = pa.list_(pa.float64())
OWN = ("id", "user_id", "source", "group", "author", "persona", "dimension", "direction")
"""Columns beside the published ones: text each, null where an example has none."""


def schema(extra: Sequence[str] = ()) -> Any:
    """The columns. `extra`: which of author, persona, dimension and direction this set has."""
    items = {
        name: pa.list_(pa.struct([*((key, pa.string()) for key in (*keys, "created")), (DIRECTIONS, WAYS)]))
        for name, keys in ITEMS.items()
    }
    texts = [(name, pa.string()) for name in ("prompt", "chosen", "rejected", *OWN[:4], *extra)]
    return pa.schema([*texts, (DIRECTIONS, WAYS), (DEMO, pa.string()), *items.items()])


def to_table(examples: Sequence[Example], space: PreferenceSpace, columns: Any) -> Any:
    """Rows of the format. Unlike `files.write_examples`, ids are written even where they could be derived."""
    rows = []
    for example in examples:
        own = {"id": example.id, "user_id": example.persona.user_id, "source": example.source, "group": example.group}
        rows.append(to_row(example, space) | own)
    return pa.Table.from_pylist(rows, schema=columns)
