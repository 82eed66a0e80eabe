"""Words and phrases that a text must not hold: a file with one per line, matched as whole words, case ignored."""

import re
from dataclasses import dataclass
from pathlib import Path

from persona_rm.errors import DataError

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def words(text: str) -> list[str]:
    """Words in lower case; an apostrophe joins, everything else parts."""
    return WORD.findall(text.casefold())


@dataclass(frozen=True)
class Blocklist:
    """Entries by their first word, so that a text is read once however long the list is."""

    entries: dict[str, tuple[tuple[str, ...], ...]]

    @classmethod
    def read(cls, path: str | Path) -> "Blocklist":
        """One entry per line; empty lines and lines that begin with # say nothing. Raises DataError."""
        file = Path(path)
        if not file.is_file():
            raise DataError("there is no such blocklist: give a text file with one word or phrase per line", file=file)
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError("the blocklist is not UTF-8 text", file=file) from error
        return cls.of([line for line in lines if line.strip() and not line.startswith("#")])

    @classmethod
    def of(cls, lines: list[str]) -> "Blocklist":
        """Of these words and phrases. Raises DataError for an entry that holds no word."""
        entries: dict[str, list[tuple[str, ...]]] = {}
        for line in lines:
            phrase = tuple(words(line))
            if not phrase:
                raise DataError(f"a blocklist entry holds no word: {line.strip()!r}")
            entries.setdefault(phrase[0], []).append(phrase)
        return cls({first: tuple(phrases) for first, phrases in entries.items()})

    def holds(self, text: str) -> bool:
        """True if an entry occurs in the text as whole words, in a row."""
        text_words = words(text)
        # One pass over the text, with the phrases that begin at each word, whatever the length of the list.
        for place, word in enumerate(text_words):
            for phrase in self.entries.get(word, ()):
                if tuple(text_words[place : place + len(phrase)]) == phrase:
                    return True
        return False
