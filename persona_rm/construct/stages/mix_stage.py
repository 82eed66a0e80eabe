"""Stage mix: the construction's examples, one row each, and those of the universal-value sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_rm.construct import records
from persona_rm.construct.cleaning.cleaner import Cleaner
from persona_rm.construct.mix import ValueMix
from persona_rm.construct.stages.raw_stage import QUARANTINE, Quarantine
from persona_rm.construct.stages.shards import Shards
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
    bad = Quarantine(folder / QUARANTINE)
    with (folder / DROPS).open("w") as drops:
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
    bad: Quarantine,
    counts: Counter[str],
) -> Iterator[tuple[str, Example | Drop]]:
    """(side, example or the reason why there is none) for every pair of the universal sets, cleaned like threads."""
    # A copy: `counts` grows with every universal example, and their share is measured against the others alone.
    pairs: list[Any] = []
    others = Counter(counts)
    # Value pairs have no authors, so no salt is needed.
    cleaner = Cleaner(config.clean.model_copy(update={"hash_authors": False}), b"")
    for source in sets:
        read = 0
        for pair in source.pairs(bad):
            read += 1
            cleaned = _cleaned(pair, cleaner)
            if isinstance(cleaned, Drop):
                # Of neither side: it never becomes an example.
                yield "", cleaned
            else:
                pairs.append(cleaned)
        counts[f"read {source.name}"] = read
        counts["value pairs"] += read
        counts[f"rendered {source.name}"] = source.rendered
        counts.update({f"skipped {source.name}/{why}": n for why, n in source.skipped.items()})
    if pairs:
        mix = ValueMix(pairs, config.mix, space, seed, config.split.test)
        for side in ("train", "test"):
            for result in mix.rows(side, others[side]):
                yield side, result


def _cleaned(pair: Any, cleaner: Cleaner) -> Any:
    """A value pair cleaned like the texts of threads, or its `Drop`."""
    texts = cleaner.texts(pair.prompt, pair.chosen, pair.rejected)
    if isinstance(texts, str):
        return Drop("pair", pair.id, texts)
    prompt, chosen, rejected = texts
    return replace(pair, prompt=prompt, chosen=chosen, rejected=rejected)
