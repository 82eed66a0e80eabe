"""The response inside a `query` of OpenRLHF 0.11.2.

The host decodes prompt and response together, special tokens kept (utils/agent.py:288), and sends that text beside the
prompt. The plugin and the HTTP route read it by the same rule. Time is linear in the length of the texts for every
text: neither a policy that repeats itself nor a caller with bad intent can block the service.
"""

import re

from persona_rm.errors import ScoreError

SPECIAL = re.compile(r"(?:</?s>|<pad>|<eos>|<end_of_turn>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>\s]+\uff5c>|\[PAD\])\Z")
"""A special token at the end of a decoded response."""
LONGEST = 128
"""Upper bound on the characters of one special token."""
CUT = 3
"""A cut inside a character of up to four bytes leaves at most this many undecodable bytes."""
LEAST = 16
"""A query counts as that of a truncated prompt if it begins with at least this many characters of the prompt's end."""


def strip_prompt(query: str, prompt: str) -> str:
    """The response inside `query`, without the prompt before it and the special tokens behind it.

    The host truncates a prompt that is too long at its beginning. The query then begins with an end of the prompt, and
    the longest one is taken. The cut can split the bytes of one character, which are then decoded as up to three
    U+FFFD. Raises `ScoreError`, without the texts, if the query does not begin with its prompt.
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
    """`text` without the special tokens at its end and the white space around them; unchanged if it has none."""
    kept = len(text)
    while True:
        end = _without_space(text, kept)
        # The search begins near the end: from the beginning it would take quadratic time.
        token = SPECIAL.search(text, max(0, end - LONGEST), end)
        if token is None:
            return text[:kept]
        kept = _without_space(text, token.start())


def _without_space(text: str, end: int) -> int:
    """The index at which the white space before `end` begins."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


def _shared(query: str, prompt: str) -> int:
    """The length of the longest end of `prompt` with which `query` begins (Knuth, Morris and Pratt 1977).

    `back[i]` is the length of the longest proper prefix of `head[: i + 1]` that is also its end. The prompt is then
    read once, and `k` is the length of the prefix of `head` that ends at the current letter.
    """
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
