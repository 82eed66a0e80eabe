"""The data card: the inputs of a build, the fate of every row, and figures of the examples.

`DataCard` holds all of it as data: `card.json` is its JSON, `readme.readme` its text for readers and for the Hub.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from persona_rm.config import Config
from persona_rm.construct.card.figure_counts import ExampleFigures, LevelFigures, ranked
from persona_rm.construct.hashing import seeded
from persona_rm.errors import DataError
from persona_rm.types import Drop

SAMPLE = 400


class SourceCard(Config):
    """One input."""

    name: str
    url: str = ""
    licence: str = Field("", description='As its publisher states it; "" is shown as not stated, among the findings.')
    fingerprint: str = Field(description="A hash of what was read.")
    files: int = 0
    rows: int = Field(description="Rows read, the quarantined ones included.")
    quarantined_rows: int = 0
    quarantined_responses: int = Field(0, description="Responses and ratings of rows that were read without them.")
    skipped: dict[str, int] = Field({}, description="Ratings of a universal set that gave no pair, by reason.")
    rendered: int = Field(0, description="Prompts of several turns that were written out as one text.")
    quarantined_files: dict[str, str] = Field({}, description="File -> what is wrong with it.")
    quarantine: str = Field("", description="Where the quarantined rows are listed, relative to the folder.")


class PiiCard(Config):
    """How personal data was removed."""

    replaced: dict[str, int] = Field(description='Kind ("email") -> marks put in its place.')
    texts: int = Field(description="Texts that were searched.")
    final_check: dict[str, int] | None = Field(description="The same search on the finished files; None: not run.")
    not_caught: tuple[str, ...] = Field(description="What the search cannot detect, in words.")


class RowFlow(Config):
    """What went into a stage and came out. The rows named in `before`, summed, are those in `after` and the drops."""

    what: str = Field(description="The unit, and the kind of its drops: post, response, pair, example.")
    before: tuple[str, ...] = Field(description="Keys of `DataCard.rows`.")
    after: tuple[str, ...]


class SplitCard(Config):
    """One split of the output."""

    rows: int
    files: str = Field(description="Glob relative to the folder: data/train-*.parquet.")
    examples: ExampleFigures | None = None


class DataCard(Config):
    """Everything in the card. A field with a default may be left out; the text then says that it is absent."""

    name: str = Field(description="The title.")
    about: str = Field("", description="A paragraph by the builder about the purpose.")
    licence: str = Field("other", description="Of the output: an identifier of the Hub, or words.")
    languages: tuple[str, ...] = ("en",)
    made: str = Field("", description="Date and time, ISO 8601.")
    seconds: float = 0.0
    stages: dict[str, dict[str, float]] = Field(
        {}, description='Stage -> "seconds", "peak_mb" of its largest process.'
    )
    command: str = Field(description="The command that repeats the build, from the folder of the recipe.")
    recipe: dict[str, Any] = Field(description="As resolved.")
    source: str
    annotator: str
    space: str
    seed: int
    annotation: dict[str, Any] = Field({}, description="The annotator's model, revision, thresholds.")
    versions: dict[str, str] = Field(description="Package -> version, python and persona_rm among them.")
    errors: tuple[str, ...] = Field((), description="Failures after which the job went on. Shown first.")
    sources: tuple[SourceCard, ...]
    rows: dict[str, int] = Field(description='Every count that a flow names: {"threads_in": 10, "threads_usable": 8}.')
    flows: tuple[RowFlow, ...]
    drops: dict[str, dict[str, int]] = Field(
        description="What -> reason -> how many (what `reasons` or `merged` gave)."
    )
    pii: PiiCard | None = None
    levels: LevelFigures | None = None
    similarity: dict[str, float] = Field({}, description="What `similarity` gave.")
    examples: ExampleFigures | None = Field(None, description="Of all splits together.")
    splits: dict[str, SplitCard] = Field(description="In order. The front matter leaves out one without rows.")
    sets: dict[str, SplitCard] = Field({}, description="Further sets with columns of their own, each a config.")
    dimensions: tuple[dict[str, str], ...] = Field(description="`space.table(space)`.")
    figures: dict[str, str] = Field({}, description="Title -> file relative to the folder.")
    figures_missing: str = Field("", description="Why there are none.")


def checked(card: Mapping[str, Any] | DataCard) -> DataCard:
    """The mapping as a card. Raises DataError naming each field that is wrong."""
    try:
        return card if isinstance(card, DataCard) else DataCard.model_validate(card)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DataError(f"the data card does not fit DataCard: {wrong}") from error


def reasons(drops: Iterable[Drop]) -> dict[str, dict[str, int]]:
    """A stream of drops as what -> reason -> how many, the most frequent first."""
    counts = Counter((drop.what, drop.reason) for drop in drops)
    return merged({what: {reason: n}} for (what, reason), n in counts.items())


def merged(tables: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """The sum of several results of `reasons`; their order does not matter."""
    sums: dict[str, Counter[str]] = {}
    for table in tables:
        for what, counts in table.items():
            sums.setdefault(what, Counter()).update(counts)
    return {what: ranked(sums[what]) for what in sorted(sums)}


def unbalanced(rows: Mapping[str, int], drops: Mapping[str, Mapping[str, int]], flows: Sequence[RowFlow]) -> list[str]:
    """Every flow whose rows in are not its rows out and dropped, every missing count, every drop outside a flow."""
    known = {name for flow in flows for name in (*flow.before, *flow.after)}
    problems = [f"no count of {name}" for name in sorted(known - rows.keys())]
    problems += [
        f"drops of {what!r} belong to no flow" for what in sorted(drops.keys() - {flow.what for flow in flows})
    ]
    for flow in flows:
        dropped = sum(drops.get(flow.what, {}).values())
        if sum(rows.get(n, 0) for n in flow.before) != sum(rows.get(n, 0) for n in flow.after) + dropped:
            counts = ", ".join(f"{rows.get(name, 0)} {name}" for name in (*flow.before, *flow.after))
            problems.append(f"the {flow.what} counts do not add up: {counts}, {dropped} dropped")
    return problems


def balance(rows: Mapping[str, int], drops: Mapping[str, Mapping[str, int]], flows: Sequence[RowFlow]) -> None:
    """Rows in are rows out and rows dropped, in every flow. Raises DataError."""
    if problems := unbalanced(rows, drops, flows):
        raise DataError(f"{'; '.join(problems)}; delete the folder and build again")


def similarity(levels: npt.ArrayLike, least: int, seed: int) -> dict[str, float]:
    """Of levels (n, D): the share of random pairs that pass the threshold, and how alike they are where not neutral.

    Most levels are "cannot reflect", which matches itself: the second says how alike they really are. No row: {}.
    """
    table, random = np.asarray(levels), seeded(seed, "similarity")
    if not len(table):
        return {}
    some, other = (table[random.integers(len(table), size=SAMPLE)] for _ in range(2))
    same = some[:, None] == other[None]
    # Two neutral levels match without saying anything, so such cells are left out.
    active = (some[:, None] != 2) | (other[None] != 2)
    near, sizes, alike = same.sum(2) >= least, active.sum(2), (same & active).sum(2)
    figures = {"least_matches": float(least), "pass_rate": round(float(near.mean()), 4)}
    for name, rows in (("", sizes > 0), ("_of_passed", (sizes > 0) & near)):
        mean = float((alike[rows] / sizes[rows]).mean()) if rows.any() else 0.0
        figures[f"similarity_non_neutral{name}"] = round(mean, 4)
    return figures
