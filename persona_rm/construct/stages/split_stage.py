"""Stage split: the balanced test cases, the training examples that are kept, and the check for leakage."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_rm.construct import records
from persona_rm.construct.split import testset
from persona_rm.construct.split.curate import curate
from persona_rm.construct.split.leakage import check
from persona_rm.construct.stages.shards import Shards, read_shards
from persona_rm.space import PreferenceSpace

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig

LEAKAGE, CELLS, KEPT = "leakage.json", "cells.json", "kept.txt"


def split_examples(mixed: Path, config: ConstructConfig, space: PreferenceSpace, seed: int, folder: Path) -> None:
    """Writes to `folder` what follows from the sets of `mixed` (the folder of stage mix).

    kept.txt: ids of the curated training examples, if `curate` is set. With a test side also shards of `alignx_test`,
    cells.json (the table of its cells) and leakage.json (what both sides share).
    """
    train, test = partial(read_shards, mixed / "train"), partial(read_shards, mixed / "test")
    if config.curate is not None:
        chosen = curate(train(), config.curate)
        (folder / KEPT).write_text("\n".join(chosen.ids) + "\n")
    if not config.split.test:
        return
    shards = Shards(folder)
    cases = testset.build(test, config.testset, space, seed)
    for example in cases.examples:
        shards.add("alignx_test", records.from_example(example))
    shards.close()
    (folder / CELLS).write_text(json.dumps([[c.dimension, c.direction, c.eligible, c.chosen] for c in cases.cells]))
    leaks: dict[str, Any] = {"clean": True, "summary": "", "rows": []}
    # `check` refuses an empty side. The data card reports a test side that came out empty.
    if any(True for _ in train()) and any(True for _ in test()):
        report = check(train(), test(), config.split.near_duplicates)
        leaks = {"clean": report.clean, "summary": report.summary, "rows": report.rows()}
    (folder / LEAKAGE).write_text(json.dumps(leaks) + "\n")
