"""Stages search and persona: which rows of the index make the persona of each pair, and the examples made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_rm.construct import records
from persona_rm.construct.records import LabelledPair
from persona_rm.construct.search.index import Index
from persona_rm.construct.search.personas import PersonaMatches, Personas
from persona_rm.construct.stages.outcome import Outcome
from persona_rm.space import PreferenceSpace
from persona_rm.types import Drop

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig


class Search:
    """Personas for pairs, in the index of their side of the split. The index is memory-mapped in each worker."""

    def __init__(
        self, indices: Mapping[str, Path], config: ConstructConfig, space: PreferenceSpace, seed: int
    ) -> None:
        self.config = config
        self.by_side = {side: Personas(Index(folder, space), config, space, seed) for side, folder in indices.items()}

    def find(self, row: dict[str, Any]) -> Outcome:
        """The rows of the index that make each pair's persona (None: dropped), under the row's key "found"."""
        matches, drops = {}, list[Drop]()
        for kind in ("example", "mirrored") if self.config.mirror else ("example",):
            results = [self._find(row, pair, kind) for pair in records.to_pairs(row).pairs]
            drops += [result for result in results if isinstance(result, Drop)]
            # One entry per pair, None for a drop: `examples` matches them with the pairs by place.
            matches[kind] = [None if isinstance(r, Drop) else [r.of, r.ugc, r.pairs] for r in results]
        # No pair of this post has a persona, so no later stage has anything to do with it.
        if not any(any(results) for results in matches.values()):
            return Outcome(None, drops)
        return Outcome(row | {"found": matches}, drops)

    def _find(self, row: dict[str, Any], pair: LabelledPair, kind: str) -> PersonaMatches | Drop:
        result = self.by_side[row["side"]].find(records.to_post(row), pair.mirrored() if kind == "mirrored" else pair)
        return replace(result, what=kind) if isinstance(result, Drop) else result

    def examples(self, row: dict[str, Any]) -> Outcome:
        """The examples of the matches that `find` wrote."""
        entry, personas = records.to_pairs(row), self.by_side[row["side"]]
        made = []
        for kind, results in row["found"].items():
            for pair, result in zip(entry.pairs, results, strict=True):
                if result:
                    of, ugc, pairs = result
                    turned = pair.mirrored() if kind == "mirrored" else pair
                    example = personas.example(entry.post, turned, PersonaMatches(of, tuple(ugc), tuple(pairs)))
                    made.append({"kind": kind, "side": row["side"], **records.from_example(example)})
        return Outcome({"examples": made})
