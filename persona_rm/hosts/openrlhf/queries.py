"""The response inside a `query` of OpenRLHF 0.11.2.

The host decodes prompt and response together, special tokens kept (utils/agent.py:288), and sends that text beside the
prompt. The plugin and the HTTP route read it by the same rule. Time is linear in the length of the texts for every
text: neither a policy that repeats itself nor a caller with bad intent can block the service.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from persona_rm.bundle import Bundle, read_file
from persona_rm.errors import HostError, ScoreError
from persona_rm.prompts import ChatTemplate, read_prompt
from persona_rm.prompts.chat_messages import in_turns
from persona_rm.types import Prompt

logger = logging.getLogger(__name__)

SPECIAL = re.compile(r"(?:</?s>|<pad>|<eos>|<end_of_turn>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>\s]+\uff5c>|\[PAD\])\Z")
"""A special token at the end of a decoded response, by common spellings: for a policy whose tokenizer is not known."""
LONGEST = 128
"""Upper bound on the characters of one special token."""
CUT = 3
"""A cut inside a character of up to four bytes leaves at most this many undecodable bytes."""
LEAST = 16
"""A query counts as that of a truncated prompt if it begins with at least this many characters of the prompt's end."""


def policy_chat(environ: Mapping[str, str] | None = None) -> ChatTemplate | None:
    """The chat side of the tokenizer that the job's bundle names, by PERSONA_RM_BUNDLE; None if it names none.

    Then ends of answers are known by common spellings only, which a warning says. Raises `DataError` as `read_file`.
    """
    folder = (os.environ if environ is None else environ).get("PERSONA_RM_BUNDLE")
    file = read_file(folder) if folder else None
    if folder is None or file is None or (file.tokenizer is None and file.policy is None):
        logger.warning(
            "persona_rm: the bundle names no tokenizer, so the end of an answer is known by common spellings only, "
            "and a prompt that arrives in a chat template is not recognised: name `tokenizer` in bundle.yaml, or give "
            "--tokenizer to `persona-rm bundle`"
        )
        return None
    return Bundle(Path(folder), file, {}).chat


def bare_prompt(prompt: object, chat: ChatTemplate) -> Prompt:
    """A prompt of the host's data set: text, or messages, also if the host has rendered them.

    Raises `DataError` for something else, and as `ChatTemplate.unwrap` does.
    """
    return chat.unwrap(read_prompt(prompt))


def in_form_of(prompt: Prompt, given: Prompt) -> Prompt:
    """The bare prompt of a label in the form of the data set's prompt: a text is a user turn where that has turns."""
    return prompt if isinstance(given, str) else in_turns(prompt)


def policy_text(rendered: Prompt, given: Prompt, chat: ChatTemplate) -> str:
    """What the policy reads: the prompt that the bundle rendered, with its turns in the policy's chat template.

    `given` is the bare prompt. Raises `HostError` if it came in turns and the bundle has put it into a plain text:
    a chat model would read no turns, although its prompts were made for it.
    """
    if not isinstance(rendered, str):
        return chat.render(tuple(turn._replace(content=chat.escape(turn.content)) for turn in rendered))
    if not isinstance(given, str) and isinstance(chat.unwrap(rendered), str):
        raise HostError(
            "the prompt arrived in the policy's chat template (--data.apply_chat_template) or as messages, and the "
            "bundle's prompt format makes another text of it: write the bundle with `chat: template`, for this policy"
        )
    return rendered


def strip_prompt(query: str, prompt: str, chat: ChatTemplate | None = None) -> tuple[str, bool]:
    """The response inside `query`, without the prompt before it and the special tokens behind it; and whether it ended
    by itself, that is, with a special token.

    `chat` knows the special tokens of the policy. Without it, common spellings count. The host truncates a prompt that
    is too long at its beginning. The query then begins with an end of the prompt, and the longest one is taken. The
    cut can split the bytes of one character, which are then decoded as up to three U+FFFD. Raises `ScoreError`,
    without the texts, if the query does not begin with its prompt.
    """
    answer = _after_prompt(query, prompt)
    if chat is not None:
        return chat.split_end(answer)
    response = strip_special(answer)
    return response, response != answer


def _after_prompt(query: str, prompt: str) -> str:
    if query.startswith(prompt):
        return query[len(prompt) :]
    query = query[:CUT].lstrip("\ufffd") + query[CUT:]
    shared = _shared(query, prompt)
    if shared >= min(len(prompt), LEAST):
        return query[shared:]
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
