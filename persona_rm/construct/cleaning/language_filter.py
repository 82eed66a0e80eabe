"""In which language a text is, and whether that is sure: py3langid, one text at a time (the library has no batches).

Its naive Bayes over byte n-grams is 97 languages wide and guesses on short texts ("lol same" is Tagalog), so texts
with few letters are not judged, and a text is only called foreign where its language is clearly more probable than
the best of those wanted.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from persona_rm.errors import DataError, MissingExtra

SAMPLE = 400
"""Characters that are looked at: the cost is per character, and more hardly changes the answer."""
NOISE = re.compile(
    r"(?:https?://|www\.)\S{1,500}|\[[A-Z_]+\]|&\w{2,6};|[@#]\w+|/?\bu/\w+|/?\br/\w+|```|[\d_*^~|>=+/\\]+"
)
"""Links, marks, names and symbols, which are of no language."""


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtra("telling languages needs py3langid: pip install persona_rm[data]") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@dataclass(frozen=True)
class Languages:
    """The languages that are wanted, and when a text counts as being in another (see `CleanConfig`)."""

    wanted: tuple[str, ...]
    min_chars: int
    margin: float

    def language(self, text: str) -> tuple[str, float]:
        """The most probable language, and by how much more probable it is than the best wanted one (0 if it is one).

        ("", 0) where there is too little text to tell.
        """
        # Cut to twice the sample first, so that the substitution is bounded and usually leaves a full sample.
        sample = NOISE.sub(" ", text[: 2 * SAMPLE])[:SAMPLE]
        if sum(map(str.isalpha, sample)) < self.min_chars:
            return "", 0.0
        ranked = _identifier().rank(sample)
        best, most = ranked[0]
        if best in self.wanted:
            return best, 0.0
        return best, most - max((p for name, p in ranked if name in self.wanted), default=0.0)

    def foreign(self, text: str) -> bool:
        """True where the text is surely in a language that is not wanted. Raises MissingExtra, `DataError`."""
        _known(self.wanted)
        return self.language(text)[1] > self.margin


@cache
def _known(wanted: tuple[str, ...]) -> None:
    known = _identifier().labels
    if unknown := sorted(set(wanted) - set(known)):
        raise DataError(f"no such language: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
