"""The check of a split for leakage: what two sets of examples share although they must not.

It looks for the same posts, users, texts and authors, and for texts that are near-duplicates (MinHash). A post or text
is a target (the example's own) or history (of its persona), and each finding says both, the train side first:
"target-history" is a target of train that stands in a history of test. The test side is held, as 8-byte hashes; the
train side streams past, so it may be of any size. Findings carry ids of examples and counts, never a text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.construct.cleaning.duplicates import bands, normalised, signature
from persona_rm.construct.split.sides import key_of
from persona_rm.errors import DataError
from persona_rm.types import Example, Pair

TextSignature = npt.NDArray[np.uint32]
Sign = Callable[[str], TextSignature]
_layout = cache(bands)
SHOWN = 10
"""How many ids a finding shows."""
LISTED = 6
"""How many leaks a summary names."""
ROLES = ("target", "history")
PARTS = tuple(f"{train}-{test}" for train, test in product(ROLES, ROLES))
NEAR = {"post": "near-duplicate post", "text": "near-duplicate text"}
KINDS = {"post": PARTS, "text": PARTS, "user": ("user",), "author": ("author",), **dict.fromkeys(NEAR.values(), PARTS)}
"""What is looked for, and the parts of each that findings tell apart."""


class TextTrace(NamedTuple):
    """Something of an example that the other side must not have."""

    kind: str
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one kind in one part. `compared` is the number of different ones on the test side: with 0 nothing
    could be compared."""

    kind: str
    part: str
    compared: int
    shared: int = 0
    """How many of those the train side has too."""
    train_examples: int = 0
    test_examples: int = 0
    train_ids: tuple[str, ...] = ()
    """The smallest ids of the examples of train that have them, at most `SHOWN`."""
    test_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leakage:
    """The report: one finding per kind and part, also for those without a leak."""

    findings: tuple[Finding, ...]
    n_train: int
    n_test: int
    near: float | None

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that are leaks."""
        return tuple(finding for finding in self.findings if finding.shared)

    @property
    def clean(self) -> bool:
        """True if nothing is shared."""
        return not self.leaks

    @property
    def summary(self) -> str:
        """The first leaks, in one line: "post target-history: 3; user: 1"; "" if nothing is shared."""
        named = [(leak.kind if leak.kind == leak.part else f"{leak.kind} {leak.part}", leak) for leak in self.leaks]
        return "; ".join(f"{name}: {leak.shared:,}" for name, leak in named[:LISTED])

    def rows(self) -> list[dict[str, str]]:
        """For a table. What could not be compared says so, rather than "0"."""
        return [
            {
                "what": finding.kind,
                "train-test": finding.part if "-" in finding.part else "",
                "compared": f"{finding.compared:,}",
                "shared": f"{finding.shared:,}" if finding.compared else "none in test",
                "train examples": f"{finding.train_examples:,}",
                "test examples": f"{finding.test_examples:,}",
                "for instance": ", ".join(finding.test_ids),
            }
            for finding in self.findings
        ]


@dataclass(slots=True)
class _Matches:
    """What is known so far of one kind and part."""

    keys: set[int] = field(default_factory=set)
    train: int = 0
    last: int = -1
    ids: list[str] = field(default_factory=list)

    def add(self, key: int, number: int, id_: str) -> None:
        """`number` is the place of the train example, so that it counts once."""
        self.keys.add(key)
        if number != self.last:
            self.last, self.train = number, self.train + 1
            self.ids.append(id_)
            # Only the smallest ids are shown, and one that is not among the smallest now never will be: memory is
            # bounded.
            if len(self.ids) > 100 * SHOWN:
                self.ids = _smallest(self.ids)


def check(
    train: Iterable[Example],
    test: Iterable[Example],
    near: float | None = 0.8,
    min_chars: int = 1,
    sign: Sign | None = None,
) -> Leakage:
    """Everything that both sides have. Each side is gone through once.

    `near` is the estimated Jaccard similarity from which two texts are near-duplicates; None does not look.
    Responses shorter than `min_chars` (spaces at the ends aside) are ignored: many authors write "Thank you!".
    `sign` makes the signature of a text, uint32 (128,). Raises DataError if a side has no example.
    """
    index = _Index(near, sign or (_default_sign() if near is not None else None))
    for example in test:
        index.add(example, min_chars)
    n_test, n_train = len(index.ids), 0
    for example in train:
        index.meet(example, n_train, min_chars)
        n_train += 1
    if not n_test or not n_train:
        raise DataError(f"the {'train' if n_test else 'test'} side has no example: nothing can be compared")
    return Leakage(tuple(index.findings()), n_train, n_test, near)


def _default_sign() -> Sign:
    """MinHash over the shingles that cleaning uses by default."""
    config = CleanConfig()
    return lambda text: signature(text, config)


def traces(example: Example, min_chars: int = 1) -> Iterator[TextTrace]:
    """What the example would leak: prompts, responses, its user, and the authors that `extra` names."""
    yield TextTrace("user", "", example.persona.user_id)
    yield from (TextTrace("author", "", name) for name in authors(example))
    yield TextTrace("post", "target", example.prompt)
    yield from _responses("target", (example.chosen, example.rejected), min_chars)
    for item in example.persona.items:
        yield TextTrace("post", "history", item.prompt)
        said = (item.chosen, item.rejected) if isinstance(item, Pair) else (item.comment,)
        yield from _responses("history", said, min_chars)


def _responses(role: str, texts: Iterable[str], min_chars: int) -> Iterator[TextTrace]:
    yield from (TextTrace("text", role, text) for text in texts if len(text.strip()) >= min_chars)


def authors(example: Example) -> Iterator[str]:
    """The names under every key of `extra` that has "author" in it: a text, or texts in a list or mapping."""
    for key, value in example.extra.items():
        if "author" in key.casefold():
            yield from _names(value)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (name for part in value.values() for name in _names(part))
    elif isinstance(value, list | tuple):
        yield from (name for part in value for name in _names(part))


def _keys(example: Example, min_chars: int) -> Iterator[tuple[TextTrace, int]]:
    """Traces with the hash of what they say, spaces and case aside; the same one of an example comes once."""
    seen: set[tuple[str, str, int]] = set()
    for trace in traces(example, min_chars):
        # Texts are compared with case and spaces folded; ids of users and authors must be equal as they are.
        said = normalised(trace.text)
        key = key_of(trace.kind, said if trace.kind in NEAR else trace.text)
        if said and (trace.kind, trace.role, key) not in seen:
            seen.add((trace.kind, trace.role, key))
            yield trace, key


class _Index:
    """The test side by (kind, role) and key, and what the train side was found to share with it."""

    def __init__(self, near: float | None, sign: Sign | None) -> None:
        self.ids: list[str] = []
        # (kind, role) -> key -> the numbers of the test examples that have it.
        self.at: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.matches: dict[tuple[str, str], _Matches] = defaultdict(_Matches)
        self.near = {kind: _Near(near, sign) for kind in NEAR} if near is not None and sign is not None else {}

    def add(self, example: Example, min_chars: int) -> None:
        """An example of test."""
        for trace, key in _keys(example, min_chars):
            self.at[trace.kind, trace.role][key].append(len(self.ids))
            if trace.kind in self.near:
                self.near[trace.kind].add(key, trace.text)
        self.ids.append(example.id)

    def meet(self, example: Example, number: int, min_chars: int) -> None:
        """An example of train, the `number`-th."""
        for trace, key in _keys(example, min_chars):
            self._note(trace.kind, trace, key, number, example.id)
            if trace.kind in self.near:
                for other in self.near[trace.kind].like(key, trace.text):
                    self._note(NEAR[trace.kind], trace, other, number, example.id)

    def _note(self, kind: str, trace: TextTrace, key: int, number: int, id_: str) -> None:
        for role in ROLES if trace.role else ("",):
            if key in self.at[trace.kind, role]:
                self.matches[kind, f"{trace.role}-{role}" if role else kind].add(key, number, id_)

    def findings(self) -> Iterator[Finding]:
        """All kinds and parts in order; kinds that were not requested are left out."""
        for kind, parts in KINDS.items():
            # A near-duplicate is looked up under the kind of its text, "post" or "text".
            base = next((name for name, near in NEAR.items() if near == kind), kind)
            if base == kind or self.near:
                yield from (self._finding(kind, base, part) for part in parts)

    def _finding(self, kind: str, base: str, part: str) -> Finding:
        at = self.at[base, part.partition("-")[2]]
        matches = self.matches.get((kind, part))
        if matches is None:
            return Finding(kind, part, len(at))
        # Several shared keys may lead to one test example: it counts once.
        touched = {number for key in matches.keys for number in at[key]}
        test_ids = _smallest(self.ids[number] for number in touched)
        counts = (len(at), len(matches.keys), matches.train, len(touched))
        return Finding(kind, part, *counts, tuple(_smallest(matches.ids)), tuple(test_ids))


def _smallest(ids: Iterable[str]) -> list[str]:
    return sorted(set(ids))[:SHOWN]


class _Near:
    """Texts of the test side that may be met again in other words: MinHash signatures (Broder, 1997), found by bands
    (any band equal is a candidate), held to `near` by the share of equal places."""

    def __init__(self, near: float, sign: Sign) -> None:
        self.near, self.sign = near, sign
        self.rows: dict[int, int] = {}
        self.keys: list[int] = []
        self.signatures: list[TextSignature] = []
        self.bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self.answers: dict[int, tuple[int, ...]] = {}

    def add(self, key: int, text: str) -> None:
        if key in self.rows:
            return
        self.rows[key] = len(self.keys)
        self.keys.append(key)
        self.signatures.append(self.sign(text))
        for band in self._bands(self.signatures[-1]):
            self.bands[band].append(self.rows[key])

    def like(self, key: int, text: str) -> tuple[int, ...]:
        """Keys of test's texts that are near this one and not it; remembered, since histories repeat."""
        if key not in self.answers:
            # The train side may be of any size: what is remembered of it is bounded.
            if len(self.answers) > 1 << 20:
                self.answers.clear()
            self.answers[key] = tuple(self._like(key, self.sign(text)))
        return self.answers[key]

    def _like(self, key: int, sketch: TextSignature) -> Iterator[int]:
        candidates: set[int] = set()
        for band in self._bands(sketch):
            candidates.update(self.bands.get(band, ()))
        for row in sorted(candidates):
            # An equal key is the same text, which is a finding of its own kind.
            if self.keys[row] != key and np.mean(self.signatures[row] == sketch) >= self.near:
                yield self.keys[row]

    def _bands(self, sketch: TextSignature) -> Iterator[tuple[int, bytes]]:
        count, rows = _layout(self.near, len(sketch))
        for start in range(0, count * rows, rows):
            yield start, sketch[start : start + rows].tobytes()
