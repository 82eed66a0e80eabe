"""P-SOUPS as AlignX published it (Jang et al. 2023; AlignX paper, section 6): pairs ordered by two opposed personas.

Two properties limit what its accuracy means. The chosen response has more words in 72.8 % of the rows and as many in
another 16 %, so `longer_wins` is reported beside every figure. There are two personas and 22 history pairs, so users
cannot be resampled: the bootstrap draws prompts instead (`Case.cluster`).
"""

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case, spread
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import read_examples
from persona_rm.types import Example, content_id

LABELS = {
    "Generate a response that is friendly, witty, funny, and humorous, like a close friend.": "friendly",
    "Generate a response in an unfriendly manner.": "unfriendly",
}


class PSoupsConfig(Config):
    """The published file (gzip or plain), and the number of rows to use (None: all; else spread evenly)."""

    path: Path
    limit: int | None = Field(None, ge=1)


class PSoups(Benchmark):
    """The persona is the history pairs; its directions are what the publishers' annotator inferred, not the truth."""

    name = "psoups"
    Config = PSoupsConfig

    def cases(self) -> list[Case]:
        """One case per row. Raises `DataError` by file, row and key."""
        rows = enumerate(read_examples(self.config.path, self.space), 1)
        return spread([self._case(i, example) for i, example in rows], self.config.limit)

    def _case(self, row: int, example: Example) -> Case:
        persona = example.persona
        absent = {"profile": persona.directions is None, "Pair-wise Comparative Feedback": not persona.pairs}
        for key in (key for key, missing in absent.items() if missing):
            raise DataError("P-SOUPS rows carry this and this one does not", file=self.config.path, row=row, key=key)
        # The file names its two personas by their instructions; reports show them as groups, so they need short names.
        persona = replace(persona, user_id=LABELS.get(persona.user_id, persona.user_id))
        ident = content_id("psoups", str(row), example.prompt, example.chosen, example.rejected)
        example = replace(example, id=ident, persona=persona, directions=self.space.neutral, source=self.name)
        return Case(example, group_label=persona.user_id, cluster=content_id(example.prompt))
