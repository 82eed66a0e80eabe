"""Answers of a language model -> levels and confidences. An answer that is not exactly in the form asked is an error.

Confidences come from the answer's own log-probs and are not calibrated. Without log-probs they are 1.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from persona_rm.annotators.base import Reading
from persona_rm.annotators.wording import PromptForm
from persona_rm.backends.base import Generation

NO_CHOICE = "got an answer that is none of the options"
NO_JSON = "got an answer that is not the JSON asked for"
ENTRIES = {"json": re.compile(r'"(\d+)"\s*:\s*\d+'), "compact": re.compile(r"-?(\d+)")}


def read_questions(answers: Sequence[Generation], codes: Mapping[str, int]) -> Reading:
    """One reading from one answer per dimension; one bad answer makes the reading an error.

    A confidence is the probability of the option: among the options alone where the backend imposed them.
    """
    if failed := next((answer.error for answer in answers if answer.error), ""):
        return Reading(error=f"got no answer: {failed}")
    texts = [answer.text.strip() for answer in answers]
    if not {*texts} <= codes.keys():
        return Reading(error=NO_CHOICE)
    sure = tuple(_chosen(answer, text) for answer, text in zip(answers, texts, strict=True))
    return Reading(tuple(codes[text] for text in texts), sure)


def _chosen(answer: Generation, text: str) -> float:
    """The probability of the token that is the option, or of all tokens where no single one is."""
    if not answer.logprob:
        return 1.0
    own = [p for token, p in zip(answer.tokens, answer.logprob, strict=True) if token.strip() == text]
    return _probability(own[:1] or answer.logprob)


def read_listed(answer: Generation, form: PromptForm, codes: Mapping[str, int], n: int) -> Reading:
    """One reading from a JSON answer that names what the comment reflects; a dimension not named has level 2.

    A confidence is the probability of the tokens that spell the entry; of a dimension not named, where nothing was
    spelt, the mean probability (geometric) of a token of the answer.
    """
    if answer.error:
        return Reading(error=f"got no answer: {answer.error}")
    try:
        named = parse(answer.text, form, codes, n)
    except (ValueError, RecursionError):
        return Reading(error=NO_JSON)
    logprob = answer.logprob or ()
    # A dimension that is not named has no tokens of its own, so the mean over the answer stands for it.
    rest = _probability([sum(logprob) / len(logprob)]) if logprob else 1.0
    spelt = _spelt(answer, form) if logprob else {}
    sure = tuple(spelt.get(place, rest) if place in named else rest for place in range(n))
    return Reading(tuple(named.get(place, 2) for place in range(n)), sure)


def parse(text: str, form: PromptForm, codes: Mapping[str, int], n: int) -> dict[int, int]:
    """Position -> level of the dimensions named. Raises ValueError for anything that is not exactly as asked."""
    # By default, json keeps the last of two equal keys and accepts NaN.
    said = json.loads(text, object_pairs_hook=LevelPairs, parse_constant=_no_constant)
    entries = _json_entries(said) if form == "json" else _compact_entries(said)
    named: dict[int, int] = {}
    for number, code in entries:
        # An answer that names a dimension twice contradicts itself, or the model repeats itself: neither is a reading.
        if not 1 <= number <= n or number - 1 in named or code not in codes:
            raise ValueError("a number out of range or named twice, or a code that was not offered")
        named[number - 1] = codes[code]
    return named


def _json_entries(said: Any) -> list[tuple[int, str]]:
    if not isinstance(said, LevelPairs):
        raise ValueError("not an object")
    if not all(re.fullmatch(r"[1-9][0-9]{0,5}", key) and type(value) is int for key, value in said):
        raise ValueError("not number to code")
    return [(int(key), str(value)) for key, value in said]


def _compact_entries(said: Any) -> list[tuple[int, str]]:
    # `type`, because a bool is an int and `LevelPairs`, which an object becomes, is a list.
    if type(said) is not list or not all(type(number) is int for number in said):
        raise ValueError("not a list of numbers")
    return [(abs(number), "-" if number < 0 else "+") for number in said]


class LevelPairs(list[tuple[str, Any]]):
    """A JSON object with its keys as they came, doubles among them."""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _spelt(answer: Generation, form: PromptForm) -> dict[int, float]:
    """Position -> probability of the tokens that its entry is spelt with; empty where tokens do not spell the text."""
    ends, end = [], 0
    for token in answer.tokens:
        end += len(token)
        ends.append(end)
    # Tokens of some models do not join to the text (byte fallback), and then offsets mean nothing.
    if not "".join(answer.tokens).startswith(answer.text):
        return {}
    spans = list(zip([0, *ends], ends, answer.logprob or (), strict=False))
    spelt = {}
    for entry in ENTRIES[form].finditer(answer.text):
        # A token that reaches into the entry from outside counts as well: tokens do not end where entries do.
        own = [p for start, stop, p in spans if start < entry.end() and stop > entry.start()]
        spelt[int(entry[1]) - 1] = _probability(own)
    return spelt


def _probability(logprobs: Sequence[float]) -> float:
    """exp of the sum, kept within 0 and 1 against rounding."""
    return min(1.0, math.exp(min(0.0, sum(logprobs))))
