"""HelpSteer2 (nvidia/HelpSteer2; Wang et al., 2024b): two responses per prompt, rated 0..4, each a row of its own.

`prompt, response, helpfulness, correctness, coherence, complexity, verbosity`

Two of the five have no dimension among the 90, so they go to the nearest honest one: `correctness` (facts right,
nothing left out) to truthfulness; `verbosity` to communication_style, whose positive pole is concise: more is -1.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, report_parts
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import need_whole
from persona_rm.sources.universal.base import UniversalSource, Value, ValuePair

VALUES = {
    "helpfulness": Value("helpfulness"),
    "correctness": Value("truthfulness"),
    "coherence": Value("coherence"),
    "complexity": Value("complexity"),
    "verbosity": Value("communication_style", -1),
}


class Rated(NamedTuple):
    """One row, read."""

    row: JsonRow
    response: str
    ratings: dict[str, int]


class HelpSteer2(UniversalSource):
    """Per value and prompt: the response with the higher rating against the lower one.

    The rows of a prompt are found wherever they stand; the set, 21,000 rows, is held in memory.
    """

    name: ClassVar[str] = "helpsteer2"

    def _pairs(self, rows: Iterable[JsonRow], on_bad: OnBad) -> Iterator[tuple[JsonRow, ValuePair]]:
        prompts: dict[str, list[Rated]] = {}
        for row in rows:
            try:
                prompt, rated = self.prompt(row, "prompt"), _rated(row, on_bad)
            except DataError as error:
                on_bad(error)
                continue
            prompts.setdefault(prompt, []).append(rated)
        for prompt, responses in prompts.items():
            for key, value in VALUES.items():
                given = [(rated.ratings[key], rated.response) for rated in responses if key in rated.ratings]
                pairs = self.contrast(prompt, value, given)
                # The last row names the pair's place for errors: only with it the pair was complete.
                yield from ((responses[-1].row, pair) for pair in pairs)


def _rated(row: JsonRow, on_bad: OnBad) -> Rated:
    """The ratings that can be read; the others go to `on_bad`. Raises `DataError` if none can."""
    ratings: dict[str, int] = {}
    errors: list[DataError] = []
    response = row.text("response")
    for key in VALUES:
        try:
            ratings[key] = need_whole(row, key)
        except DataError as error:
            errors.append(error)
    report_parts(errors, on_bad, kept=bool(ratings))
    return Rated(row, response, ratings)
