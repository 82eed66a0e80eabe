"""Stage mix: the construction's examples, one row each, and those of the universal-value sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from persona_rm.construct import records
from persona_rm.construct.cleaning.pii import scrub
from persona_rm.construct.mix import ValueMix
from persona_rm.construct.stages.raw_stage import QUARANTINE, quarantined
from persona_rm.construct.stages.shards import Shards
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Drop, Example

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig

DROPS = "drops.jsonl"


def mix_examples(
    rows: Iterable[dict[str, Any]],
    sets: Sequence[Any],
    config: ConstructConfig,
    space: PreferenceSpace,
    seed: int,
    folder: Path,
) -> None:
    """Writes the examples of `rows` (records of stage demo) and of the universal-value `sets` as shards in `folder`.

    Mirrored examples of the test side are counted and left out: nothing is trained on them.
    """
    shards = Shards(folder)
    for row in rows:
        for entry in row["examples"]:
            if entry["kind"] == "example":
                shards.add(entry["side"], entry)
            elif entry["side"] == "train":
                shards.add("mirrored", entry)
            else:
                shards.counts["mirrored of test"] += 1
    with (folder / QUARANTINE).open("w") as bad, (folder / DROPS).open("w") as drops:
        for side, result in _universal(sets, config, space, seed, bad, shards.counts):
            if isinstance(result, Drop):
                drops.write(json.dumps([result.what, result.id, result.reason]) + "\n")
            else:
                shards.add(side, records.from_example(result))
                shards.counts[f"universal {side}"] += 1
    shards.close()


def _universal(
    sets: Sequence[Any],
    config: ConstructConfig,
    space: PreferenceSpace,
    seed: int,
    quarantine: TextIO,
    counts: Counter[str],
) -> Iterator[tuple[str, Example | Drop]]:
    """(side, example or the reason why there is none) for every pair of the universal sets, scrubbed like threads."""
    # A copy: `counts` grows with every universal example, and their share is measured against the others alone.
    pairs, others = [], Counter(counts)

    def bad(error: DataError) -> None:
        quarantine.write(quarantined(error))

    for source in sets:
        pairs += [_scrubbed(pair) if config.clean.pii else pair for pair in source.pairs(bad)]
        # The total before this source is subtracted, because `pairs` holds those of all sources so far.
        counts[f"read {source.name}"] = len(pairs) - counts["value pairs"]
        counts["value pairs"] = len(pairs)
    if pairs:
        mix = ValueMix(pairs, config.mix, space, seed, config.split.test)
        for side in ("train", "test"):
            for result in mix.rows(side, others[side]):
                yield side, result


def _scrubbed(pair: Any) -> Any:
    """A value pair without personal data."""
    return replace(pair, **{name: scrub(getattr(pair, name))[0] for name in ("prompt", "chosen", "rejected")})
