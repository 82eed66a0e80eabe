"""UltraFeedback (openbmb/UltraFeedback; Cui et al., 2024): about four completions per instruction, rated 1..5.

`instruction, completions[{response, annotations: {<value>: {Rating: "1".."5" or "N/A"}}}]`
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import ClassVar

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, report_parts
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import inside, whole
from persona_rm.sources.universal.base import UniversalSource, Value, ValuePair, row_by_row

VALUES = {name: Value(name) for name in ("helpfulness", "honesty", "instruction_following", "truthfulness")}
"""The four have dimensions of their own names."""


class UltraFeedback(UniversalSource):
    """Per value and instruction: the completion with the highest rating against the one with the lowest."""

    name: ClassVar[str] = "ultrafeedback"

    def _pairs(self, rows: Iterable[JsonRow], on_bad: OnBad) -> Iterator[tuple[JsonRow, ValuePair]]:
        return row_by_row(rows, partial(self._of_row, on_bad=on_bad), on_bad)

    def _of_row(self, row: JsonRow, on_bad: OnBad) -> list[ValuePair]:
        """Up to four pairs. A completion or a rating that cannot be read goes to `on_bad`, and the others are
        compared. Raises `DataError` if no completion can be read."""
        prompt, given = self.prompt(row, "instruction"), row.nullable("completions", list) or []
        completions: list[JsonRow] = []
        errors: list[DataError] = []
        for place, item in enumerate(given):
            try:
                completion = row.child(item, f"completions[{place}]")
                completion.text("response")
                inside(completion, "annotations")
                completions.append(completion)
            except DataError as error:
                errors.append(error)
        report_parts(errors, on_bad, kept=bool(completions))
        return [
            pair for key, value in VALUES.items() for pair in self._of_value(prompt, key, value, completions, on_bad)
        ]

    def _of_value(
        self, prompt: str, key: str, value: Value, completions: Sequence[JsonRow], on_bad: OnBad
    ) -> list[ValuePair]:
        rated: list[tuple[int, str]] = []
        for completion in completions:
            try:
                rating = _rating(completion, key)
            except DataError as error:
                on_bad(error)
                continue
            if rating is None:
                # A completion without this rating is counted, and the others are compared.
                self.skipped[f"{value.dimension}: N/A"] += 1
            else:
                rated.append((rating, completion.text("response")))
        return self.contrast(prompt, value, rated)


def _rating(completion: JsonRow, key: str) -> int | None:
    """None for N/A. An annotation that is missing is not rated either: not every completion has all four."""
    annotations = inside(completion, "annotations")
    return None if annotations.data.get(key) is None else whole(inside(annotations, key), "Rating")
