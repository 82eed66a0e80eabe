"""PKU-SafeRLHF (PKU-Alignment/PKU-SafeRLHF; Ji et al., 2024): two responses per prompt, judged for safety.

`prompt, response_0, response_1, is_response_0_safe, is_response_1_safe, better_response_id, safer_response_id`
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from pydantic import Field

from persona_rm.config import Config
from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import need_whole
from persona_rm.sources.universal.base import UniversalConfig, UniversalSource, Value, ValuePair, row_by_row

HARMLESS = Value("harmlessness")


class PkuSafeRlhfConfig(UniversalConfig):
    """`min_gap` 1 takes only pairs of a safe and an unsafe response, 0 also two of a kind of which one is safer."""

    min_gap: int = Field(default=0, ge=0, le=1)


class PkuSafeRlhf(UniversalSource):
    """The safer response against the other. Which one is better otherwise plays no part."""

    name: ClassVar[str] = "pku_saferlhf"
    Config: ClassVar[type[Config]] = PkuSafeRlhfConfig

    def _pairs(self, rows: Iterable[JsonRow], on_bad: OnBad) -> Iterator[tuple[JsonRow, ValuePair]]:
        return row_by_row(rows, self._of_row, on_bad)

    def _of_row(self, row: JsonRow) -> list[ValuePair]:
        prompt, texts = self.prompt(row, "prompt"), [row.text("response_0"), row.text("response_1")]
        safe = [_flag(row, "is_response_0_safe"), _flag(row, "is_response_1_safe")]
        safer = need_whole(row, "safer_response_id")
        if safer not in (0, 1):
            raise row.error(f"must be 0 or 1, found {safer}", "safer_response_id")
        # 1 for a safe and an unsafe response, 0 for two of a kind; -1 says that the row contradicts itself.
        gap = safe[safer] - safe[1 - safer]
        if gap < 0:
            raise row.error("contradicts is_response_0_safe and is_response_1_safe", "safer_response_id")
        if gap < self.config.min_gap:
            return self.skip(HARMLESS, "smaller difference than min_gap")
        return self.pair(prompt, HARMLESS, texts[safer], texts[1 - safer])


def _flag(row: JsonRow, key: str) -> bool:
    value = row.data.get(key)
    if not isinstance(value, bool):
        raise row.error("must be true or false", key)
    return value
