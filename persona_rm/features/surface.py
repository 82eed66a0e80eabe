r"""`surface`: how a response is written, in 26 numbers that are counted and never learned.

Real users' choices among answers of language models depend on length, layout and tone, which a sentence encoder
hardly hears. Counts are log(1 + count), so that the tenth list item weighs less than the first; shares are per word or
per sentence, so that they say something that the length does not.

| name | what it counts |
|---|---|
| words, sentences, lines, paragraphs | size: words `\w+`, ends of sentences, line breaks, blank lines |
| word_length, sentence_length | mean letters of a word, log of the mean words of a sentence |
| vocabulary | distinct words over the square root of all words (Guiraud 1954), which grows little with length |
| exclamations, questions, commas, colons, quotes, brackets, dashes | punctuation |
| list_items, headings, emphasis, code | layout: bullets or numbers at the start of a line, `#`, `*`, backticks |
| digits, capitals, emoji | digits, words of capitals alone, pictographs and smileys |
| first_person, second_person | share of words: I, me, my, we, our; you, your |
| negation | share of words: not, no, never, none and n't |
| formal, informal | share of words: however, therefore, ... words over ten letters; contractions, hey, lol, ... |
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from persona_rm.backends.base import Vectors
from persona_rm.features.base import FeatureExtractor

SURFACE = (
    "words", "sentences", "lines", "paragraphs", "word_length", "sentence_length", "vocabulary", "exclamations",
    "questions", "commas", "colons", "quotes", "brackets", "dashes", "list_items", "headings", "emphasis", "code",
    "digits", "capitals", "emoji", "first_person", "second_person", "negation", "formal", "informal",
)  # fmt: skip
"""The columns, in order."""
WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)")
PARAGRAPH = re.compile(r"\n\s*\n")
LIST_ITEM = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s", re.MULTILINE)
HEADING = re.compile(r"^\s*#{1,6}\s", re.MULTILINE)
CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
EMOJI = re.compile(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]|(?<!\w)[:;]-?[)(DP](?!\w)")
FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|ours)\b", re.IGNORECASE)
SECOND_PERSON = re.compile(r"\b(?:you|your|yours|yourself|let's)\b", re.IGNORECASE)
NEGATION = re.compile(r"\b(?:not|no|never|none|nothing|nobody|cannot)\b|n['\u2019]t\b", re.IGNORECASE)
FORMAL = re.compile(
    r"\b(?:however|therefore|thus|moreover|furthermore|consequently|nevertheless|additionally|regarding|whereas|upon)\b"
    r"|\b[a-z]{11,}\b",
    re.IGNORECASE,
)
INFORMAL = re.compile(
    r"\b(?:hey|hi|yeah|yep|nope|lol|haha|wow|oh|gonna|wanna|gotta|kinda|stuff|cool|awesome|okay|ok|guys?|buddy)\b"
    r"|\w['\u2019](?:m|ve|ll|d|re|s|t)\b",
    re.IGNORECASE,
)
REMEMBERED = 50_000
"""Responses whose numbers are kept in memory."""


class SurfaceFeatures(FeatureExtractor):
    """How the response is written. The prompt is not read."""

    name: ClassVar[str] = "surface"

    @property
    def names(self) -> tuple[str, ...]:
        """What each column counts."""
        return SURFACE

    @property
    def signature(self) -> str | None:
        """None: counting is faster than reading a file."""
        return None

    def extract(self, prompts: Sequence[str], responses: Sequence[str]) -> Vectors:
        """Counts and shares, shape (n, 26)."""
        if not responses:
            return np.zeros((0, 0), np.float32)
        return np.array([surface(text) for text in responses], np.float32)


@lru_cache(maxsize=REMEMBERED)
def surface(text: str) -> tuple[float, ...]:
    """The numbers of one text, in the order of `SURFACE`. A text without words has zeros but for its punctuation."""
    words = WORD.findall(text)
    n, sentences = len(words), len(SENTENCE_END.findall(text))
    distinct = len({word.casefold() for word in words})
    sizes = np.log1p((n, sentences, text.count("\n"), len(PARAGRAPH.findall(text))))
    style = (
        sum(map(len, words)) / max(1, n),
        np.log1p(n / max(1, sentences)),
        distinct / max(1, n) ** 0.5,
    )
    counts = np.log1p((
        text.count("!"), text.count("?"), text.count(","), text.count(":") + text.count(";"),
        sum(map(text.count, "\"\u201c\u201d")), text.count("(") + text.count("["),
        sum(map(text.count, "\u2013\u2014")),
        len(LIST_ITEM.findall(text)), len(HEADING.findall(text)), text.count("*"), text.count("`"),
        sum(map(str.isdigit, text)), len(CAPITALS.findall(text)), len(EMOJI.findall(text)),
    ))  # fmt: skip
    spoken = (FIRST_PERSON, SECOND_PERSON, NEGATION, FORMAL, INFORMAL)
    shares = [len(pattern.findall(text)) / max(1, n) for pattern in spoken]
    return tuple(float(value) for value in (*sizes, *style, *counts, *shares))
