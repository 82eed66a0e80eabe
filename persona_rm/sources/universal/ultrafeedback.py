"""UltraFeedback (openbmb/UltraFeedback; Cui et al., 2024): about four completions per instruction, rated 1..5.

`instruction, completions[{response, annotations: {<value>: {Rating: "1".."5" or "N/A"}}}]`
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import inside, need_whole
from persona_rm.sources.universal.base import UniversalSource, Value, ValuePair, row_by_row

VALUES = {name: Value(name) for name in ("helpfulness", "honesty", "instruction_following", "truthfulness")}
"""The four have dimensions of their own names."""
UNRATED = ("N/A", "")


class UltraFeedback(UniversalSource):
    """Per value and instruction: the completion with the highest rating against the one with the lowest."""

    name: ClassVar[str] = "ultrafeedback"

    def _pairs(self, rows: Iterable[JsonRow], on_bad: OnBad) -> Iterator[tuple[JsonRow, ValuePair]]:
        return row_by_row(rows, self._of_row, on_bad)

    def _of_row(self, row: JsonRow) -> list[ValuePair]:
        """Up to four pairs."""
        prompt, completions = row.text("instruction"), row.children("completions")
        texts = [completion.text("response") for completion in completions]
        pairs: list[ValuePair] = []
        for key, value in VALUES.items():
            ratings = [_rating(completion, key) for completion in completions]
            rated = [(rating, text) for rating, text in zip(ratings, texts, strict=True) if rating is not None]
            # A completion without this rating is counted, and the others are compared.
            self.skipped += Counter({f"{value.dimension}: N/A": ratings.count(None)})
            pairs += self.contrast(prompt, value, rated)
        return pairs


def _rating(completion: JsonRow, key: str) -> int | None:
    """None for N/A. An annotation that is missing is not rated either: not every completion has all four."""
    annotations = inside(completion, "annotations")
    if annotations.data.get(key) is None:
        return None
    annotation = inside(annotations, key)
    return None if annotation.data.get("Rating") in UNRATED else need_whole(annotation, "Rating")
