"""What an OpenRLHF 0.11.2 host sends and expects: the answer inside a `query`, and rewards as `scores`.

The plugin and the HTTP face read queries by the same rule. Time is linear in the texts, whatever they are: a policy
that repeats itself, or somebody who means harm, must not hold up a service.
"""

import re

from persona_rm.errors import ScoreError

SPECIAL = re.compile(r"(?:</?s>|<pad>|<eos>|<end_of_turn>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>\s]+\uff5c>|\[PAD\])\Z")
"""A special token at the end of a decoded answer: the host keeps them in the query."""
LONGEST = 128
"""Characters of a special token, at most."""
CUT = 3
"""Bytes of a character that was cut, at most."""
LEAST = 16
"""So many characters of a prompt's end must open a query for it to count as that prompt, cut."""


def strip_prompt(query: str, prompt: str) -> str:
    """The answer inside `query`, without the prompt before it and the special tokens behind it.

    A prompt that was too long is cut at its beginning by the host; then the longest end of it that opens the query
    counts. The cut can part the bytes of one character, which then reads as up to three U+FFFD. Raises `ScoreError`,
    without the texts, where none does.
    """
    if query.startswith(prompt):
        return strip_special(query[len(prompt) :])
    query = query[:CUT].lstrip("\ufffd") + query[CUT:]
    shared = _shared(query, prompt)
    if shared >= min(len(prompt), LEAST):
        return strip_special(query[shared:])
    raise ScoreError(
        f"the query ({len(query)} characters) does not begin with its prompt ({len(prompt)} characters), so the "
        "answer in it is unknown. Does the tokenizer give back the text it was given? If not, use agent_func.py: it "
        "goes by token ids"
    )


def strip_special(text: str) -> str:
    """`text` without the special tokens at its end and the white space around them; as it is where it has none."""
    kept = len(text)
    while found := SPECIAL.search(text, max(0, (end := _blank(text, kept)) - LONGEST), end):
        kept = _blank(text, found.start())
    return text[:kept]


def _blank(text: str, end: int) -> int:
    """Where the white space before `end` begins."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


def _shared(query: str, prompt: str) -> int:
    """The length of the longest end of `prompt` that opens `query` (Knuth, Morris and Pratt 1977)."""
    head = query[: len(prompt)]
    back, k = [0] * len(head), 0
    for i in range(1, len(head)):
        while k and head[i] != head[k]:
            k = back[k - 1]
        k += head[i] == head[k]
        back[i] = k
    k = 0
    for letter in prompt:
        while k and (k == len(head) or letter != head[k]):
            k = back[k - 1]
        k += bool(head) and letter == head[k]
    return k
