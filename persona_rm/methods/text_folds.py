"""Folds that hold out texts: whole prompts (or what the comparisons name as their group), else the texts themselves.

Comparisons of one text are not independent, so a fold of comparisons would praise whatever memorises texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persona_rm.methods.pairwise import Places, TextPairs
from persona_rm.types import Comparison, content_id


@dataclass(frozen=True, slots=True)
class TextFolds:
    """For each fold the comparisons to fit on, and those to judge by; no text is in both. Empty if there are no two
    folds."""

    seen: list[Places]
    held: list[Places]

    def __len__(self) -> int:
        return len(self.seen)

    @classmethod
    def of(cls, comparisons: Sequence[Comparison], pairs: TextPairs, folds: int) -> "TextFolds":
        """At most `folds` folds, drawn by hashes of prompts or texts, so that the order of the data does not matter.

        With fewer groups than folds the texts are dealt to the folds. A comparison is then held out if both of its
        texts are, and fitted on if none is; the others are left out of this fold.
        """
        groups = [one.group or one.prompt for one in comparisons]
        if len(set(groups)) >= min(folds, 3):
            fold = dealt(groups, folds)
            chosen, rejected = fold, fold
        else:
            texts = dealt(["\x1f".join(text) for text in pairs.texts], folds)
            chosen, rejected = texts[pairs.chosen], texts[pairs.rejected]
        seen, held = [], []
        for number in range(int(max(chosen.max(initial=0), rejected.max(initial=0))) + 1):
            outside = np.flatnonzero((chosen != number) & (rejected != number))
            inside = np.flatnonzero((chosen == number) & (rejected == number))
            if len(outside) and len(inside):
                seen.append(outside)
                held.append(inside)
        return cls(seen, held)


def dealt(groups: Sequence[str], folds: int) -> Places:
    """The fold of each row: whole groups, in an order drawn by hash, each to the fold with the fewest rows so far."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    filled = [0] * min(folds, len(sizes))
    fold_of = {}
    for group in sorted(sizes, key=content_id):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return np.array([fold_of[group] for group in groups], np.int64)
