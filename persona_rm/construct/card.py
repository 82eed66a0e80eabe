"""The data card: how many rows came in, what became of them, and what the levels look like."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from persona_rm.construct.search import seeded
from persona_rm.construct.steps import Drop, consistent, levels_of, majority
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Example, Thread

SAMPLE = 400


def reasons(drops: Iterable[Drop]) -> dict[str, dict[str, int]]:
    """what -> reason -> how many, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for drop in drops:
        counts.setdefault(drop.what, Counter())[drop.reason] += 1
    return {what: dict(counter.most_common()) for what, counter in counts.items()}


def balance(counts: Mapping[str, int], reasons: Mapping[str, Mapping[str, int]]) -> None:
    """rows in == rows on + rows dropped, for posts, responses, pairs and examples. Raises `DataError`."""
    flows = {
        "post": ("threads_in", "threads_usable"),
        "response": ("responses_in", "responses_usable"),
        "pair": ("threads_usable", "pairs"),
        "example": ("pairs", "examples"),
    }
    if "mirrored" in counts:
        flows["mirrored"] = ("pairs", "mirrored")
    for what, (before, after) in flows.items():
        dropped = sum(reasons.get(what, {}).values())
        if counts[before] != counts[after] + dropped:
            found = f"{counts[before]} {before}, {counts[after]} {after}, {dropped} dropped"
            raise DataError(f"the {what} counts do not add up: {found}; delete the folder and build again")


def levels(threads: Sequence[Thread], space: PreferenceSpace) -> dict[str, Any]:
    """Shares of levels 1, 2, 3 over all (response, dimension) cells, and the least and most read dimensions."""
    table = np.array([levels_of(comment) for thread in threads for comment in thread.comments])
    shares = {name: round(float((table == level).mean()), 4) for level, name in ((1, "low"), (2, "none"), (3, "high"))}
    read = dict(zip(space.ids, (table != 2).mean(0).round(4).tolist(), strict=True))
    return {"shares": shares, "read_by_dimension": dict(sorted(read.items(), key=lambda entry: -entry[1]))}


def similarity(threads: Sequence[Thread], least: int, seed: int) -> dict[str, float]:
    """Share of random pairs of responses that pass the threshold, and their similarity where either is not neutral.

    Most levels are "cannot reflect", which matches itself: the second number says how alike two responses really are.
    """
    table = np.array([levels_of(comment) for thread in threads for comment in thread.comments])
    random = seeded(seed, "similarity")
    some, other = (table[random.integers(len(table), size=SAMPLE)] for _ in range(2))
    same = some[:, None] == other[None]
    active = (some[:, None] != 2) | (other[None] != 2)
    near = same.sum(2) >= least
    sizes, alike = active.sum(2), (same & active).sum(2)
    both = sizes > 0
    passed = both & near
    return {
        "least_matches": float(least),
        "pass_rate": round(float(near.mean()), 4),
        "similarity_non_neutral": round(float((alike[both] / sizes[both]).mean()), 4) if both.any() else 0.0,
        "similarity_non_neutral_of_passed": round(float((alike[passed] / sizes[passed]).mean()), 4)
        if passed.any()
        else 0.0,
    }


def examples(rows: Sequence[Example], space: PreferenceSpace) -> dict[str, Any]:
    """Sizes of personas, non-neutral and consistent dimensions of a pair, counts per dimension and direction."""
    counts = {id_: {"positive": 0, "negative": 0} for id_ in space.ids}
    for row in rows:
        for id_, way in zip(space.ids, row.directions, strict=True):
            if way:
                counts[id_]["positive" if way > 0 else "negative"] += 1
    agreement = [_agreement(row) for row in rows]
    return {
        "with_ugc": sum(bool(row.persona.ugc) for row in rows),
        "with_pairs": sum(bool(row.persona.pairs) for row in rows),
        "with_both": sum(bool(row.persona.ugc and row.persona.pairs) for row in rows),
        "mean_ugc": _mean([len(row.persona.ugc) for row in rows]),
        "mean_pairs": _mean([len(row.persona.pairs) for row in rows]),
        "mean_non_neutral": _mean([sum(map(bool, row.directions)) for row in rows]),
        "mean_consistent": _mean([all_items for all_items, _, _ in agreement]),
        "mean_majority_same": _mean([same for _, same, _ in agreement]),
        "mean_majority_opposite": _mean([opposite for _, _, opposite in agreement]),
        "by_dimension": counts,
    }


def _said(row: Example) -> list[Directions]:
    """The directions of the persona's items."""
    said = [item.directions for item in row.persona.ugc if item.directions is not None]
    return said + [item.directions for item in row.persona.pairs if item.directions is not None]


def _agreement(row: Example) -> tuple[int, int, int]:
    """Dimensions of the pair on which all items, their majority, and the majority of the other side, point."""
    items = _said(row)
    votes = majority(items)
    same = sum(way == vote for way, vote in zip(row.directions, votes, strict=True) if way)
    opposite = sum(way == -vote for way, vote in zip(row.directions, votes, strict=True) if way)
    return len(consistent(row.directions, items)), same, opposite


def _mean(values: Sequence[int]) -> float:
    return round(float(np.mean(values)), 3) if values else 0.0


def readme(card: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    rows, text = card["rows"], ["# Data card", "", f"Source `{card['source']}`, annotator `{card['annotator']}`,"]
    text += [
        f"space `{card['space']}`, seed {card['seed']}. {card['seconds']} s.",
        "",
        "| rows | count |",
        "|---|---|",
    ]
    text += [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in rows.items()]
    text += ["", "## What was dropped, and why", "", "| what | reason | count |", "|---|---|---|"]
    text += [f"| {what} | {reason} | {n:,} |" for what, found in card["drops"].items() for reason, n in found.items()]
    text += ["", "## Levels", "", "| level | share of (response, dimension) cells |", "|---|---|"]
    text += [f"| {name} | {share:.2%} |" for name, share in card["levels"]["shares"].items()]
    text += ["", "## Similarity of two random responses", "", "| figure | value |", "|---|---|"]
    text += [f"| {name.replace('_', ' ')} | {value:g} |" for name, value in card["similarity"].items()]
    text += ["", "## Examples", "", "| figure | value |", "|---|---|"]
    text += [f"| {k.replace('_', ' ')} | {v:g} |" for k, v in card["examples"].items() if k != "by_dimension"]
    text += ["", "| dimension | positive | negative |", "|---|---|---|"]
    text += [f"| {id_} | {n['positive']} | {n['negative']} |" for id_, n in card["examples"]["by_dimension"].items()]
    return "\n".join(text) + "\n"
