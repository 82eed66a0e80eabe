"""The split into train and test, of posts and authors, before personas are searched, so that nothing can leak later.

Posts that share an asker form one component (near-duplicate posts are one group already), and a component is on one
side. An author who asks somewhere is on the side of these posts, any other author on the side of a hash of the own id;
a response by an author of the other side is dropped. So a post, an author and every history of them are on one side.

The price: with share p of the posts in test, about 2 p (1 - p) of the responses are dropped, and a test post keeps
about p of its own. Memory is 8-byte hashes of posts, threads and askers, none of responders; a collision of two hashes
joins what could have been apart, and never parts what belongs together.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.types import Comment, Drop, Thread

Side = Literal["train", "test"]
Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
OTHER_SIDE = "its author is on the other side of the split"
UNNAMED = frozenset({"", "[deleted]", "[removed]"})
"""What dumps write for a deleted author. It must not count as one author who asked half of all posts."""


class SplitConfig(Config):
    """How posts and authors are split."""

    test: float = Field(0.0, ge=0, le=1)
    """Share of the components of posts that are kept for testing."""
    near_duplicates: float | None = Field(0.8, gt=0, le=1)
    """Posts of at least this (estimated) Jaccard similarity are one group; None: only equal posts are."""


class SideRequest(NamedTuple):
    """Who asked what: all that the split needs to know of a thread. `group` stands for the near-duplicates of its
    post."""

    thread: str
    group: str
    asker: str | None = None


def key_of(kind: str, id_: str) -> int:
    """An 8-byte hash of an id, the same on every machine, never 0."""
    digest = hashlib.blake2b(f"{kind}\x1f{id_}".encode(), digest_size=8).digest()
    # 0 stands for an unnamed asker in `_columns`.
    return int.from_bytes(digest, "little") or 1


def in_test(seed: int, keys: Keys, share: float) -> Flags:
    """Which keys a seeded hash puts into test. A larger share keeps what a smaller one chose.

    Keys and hashes are uint64, (n,); the hash is splitmix64's finaliser over key + seed.
    """
    # Sums and products wrap modulo 2^64, as the hash is defined.
    z = keys + np.uint64(key_of("seed", str(seed)))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    # A float64 holds 53 bits exactly, so the fraction is below 1 and the same on every machine.
    return (z >> np.uint64(11)).astype(np.float64) / 2**53 < share


def side_of(seed: int, kind: str, id_: str, share: float) -> Side:
    """The side of an id that is connected to no other."""
    return _side(bool(in_test(seed, np.array([key_of(kind, id_)], np.uint64), share)[0]))


def _side(test: bool) -> Side:
    return "test" if test else "train"


@dataclass(frozen=True)
class SideTable:
    """Sorted keys, uint64 (n,), and whether each is in test, bool (n,)."""

    keys: Keys
    test: Flags

    def find(self, keys: Keys) -> tuple[Flags, Flags]:
        """(known, in test) of each key; an unknown key is not in test."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
        # A key above all others would be looked up behind the end.
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known: Flags = self.keys[places] == keys
        return known, known & self.test[places]

    def side(self, kind: str, id_: str) -> Side:
        """The side of one id. Raises DataError for an id that no record named."""
        known, test = self.find(np.array([key_of(kind, id_)], np.uint64))
        if not known[0]:
            raise DataError(f"no side for {kind} {id_!r}: the records that the split was made from do not name it")
        return _side(bool(test[0]))


@dataclass(frozen=True)
class Sides:
    """The side of everything; a function of seed, share and the set of records, not of their order."""

    seed: int
    share: float
    groups: SideTable
    threads: SideTable
    askers: SideTable
    components: int
    largest: int
    """Number of post groups of the largest component: the split cannot be finer."""

    @classmethod
    def of(cls, records: Iterable[SideRequest], seed: int, test: float) -> "Sides":
        """Union-find over the post groups that share an asker (or a thread id: then they are one thread, twice).

        A component's side hangs on the smallest key of its groups.
        """
        threads, groups, askers = _columns(records)
        keys, number = np.unique(groups, return_inverse=True)
        named = askers != 0
        links = (_links(threads, number), _links(askers[named], number[named]))
        roots = _components(len(keys), *(np.concatenate(ends) for ends in zip(*links, strict=True)))
        # `keys` are sorted and a root is the smallest node of its component, so keys[root] is the component's smallest
        # key. It does not depend on the order of the records.
        flags = in_test(seed, keys, test)[roots]
        # Without records the array would be empty, and `max` of it raises: hence `minlength`.
        sizes = np.bincount(roots, minlength=1)
        return cls(
            seed,
            test,
            SideTable(keys, flags),
            _table(threads, flags[number]),
            _table(askers[named], flags[number[named]]),
            int(np.count_nonzero(sizes)),
            int(sizes.max()),
        )

    def post(self, group: str) -> Side:
        """The side of a post group. Raises DataError for an unknown one."""
        return self.groups.side("group", group)

    def thread(self, id_: str) -> Side:
        """The side of a thread's post. Raises DataError for an unknown one."""
        return self.threads.side("thread", id_)

    def author(self, id_: str) -> Side:
        """The side of an author: that of the author's posts, or that of the hashed id."""
        return _side(bool(self.authors_in_test([id_])[0]))

    def authors_in_test(self, ids: Sequence[str]) -> Flags:
        """`author` for many, bool (n,)."""
        keys = np.array([key_of("author", id_) for id_ in ids], np.uint64)
        known, test = self.askers.find(keys)
        return np.where(known, test, in_test(self.seed, keys, self.share))

    def counts(self) -> dict[str, int]:
        """For the data card: how many groups, components and askers there are, and how many of them in test."""
        tables = {"posts": self.groups, "threads": self.threads, "askers": self.askers}
        counts = {name: len(table.keys) for name, table in tables.items()}
        counts |= {f"{name} in test": int(table.test.sum()) for name, table in tables.items()}
        return counts | {"components": self.components, "posts of the largest component": self.largest}


def _columns(records: Iterable[SideRequest]) -> tuple[Keys, Keys, Keys]:
    """Keys of threads, groups and askers, each uint64 (n,); 0 if the asker is unnamed."""
    columns = array("Q"), array("Q"), array("Q")
    for record in records:
        columns[0].append(key_of("thread", record.thread))
        columns[1].append(key_of("group", record.group))
        columns[2].append(0 if record.asker is None or record.asker in UNNAMED else key_of("author", record.asker))
    threads, groups, askers = (np.frombuffer(column, np.uint64) if column else _none() for column in columns)
    return threads, groups, askers


def _none() -> Keys:
    return np.empty(0, np.uint64)


def _links(keys: Keys, groups: Ints) -> tuple[Ints, Ints]:
    """Edges between the groups under equal keys: each with the next, so that their number stays linear."""
    # Equal keys are neighbours once sorted. A chain through m groups has m - 1 edges and connects them as
    # all of their pairs would.
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    return groups[order[:-1][same]], groups[order[1:][same]]


def _components(n: int, left: Ints, right: Ints) -> Ints:
    """The smallest node to which each node is connected, (n,).

    Invariant: labels[i] <= i, and following labels ends at a root with labels[r] == r. Each round hooks the larger
    root of an edge to the smaller one, then halves paths until every label is a root; edges inside a component are
    dropped.
    """
    labels = np.arange(n)
    while len(left):
        low, high = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
        open_ = low != high
        left, right = left[open_], right[open_]
        # `minimum.at`, because a root may stand in several edges: plain indexing would keep one of their values only.
        np.minimum.at(labels, high[open_], low[open_])
        while not (shorter := labels[labels] == labels).all():
            labels = np.where(shorter, labels, labels[labels])
    return labels


def _table(keys: Keys, test: Flags) -> SideTable:
    distinct, first = np.unique(keys, return_index=True)
    return SideTable(distinct, test[first])


def apply(thread: Thread, sides: Sides) -> tuple[Thread | None, list[Drop]]:
    """The thread with the responses of its own side (None when none is left), and what was dropped.

    A response without a named author stays with its post. Raises DataError for a thread that the split does not know.
    """
    test = sides.thread(thread.id) == "test"
    authors = [comment.author if comment.author not in UNNAMED else None for comment in thread.comments]
    # Places of the named authors, so that their sides are asked for in one call.
    named = [place for place, author in enumerate(authors) if author is not None]
    flags = sides.authors_in_test([author for author in authors if author is not None])
    away = {place for place, flag in zip(named, flags.tolist(), strict=True) if flag != test}
    drops = [Drop("response", thread.comments[place].id, OTHER_SIDE) for place in sorted(away)]
    kept: tuple[Comment, ...] = tuple(c for place, c in enumerate(thread.comments) if place not in away)
    if kept:
        return replace(thread, comments=kept), drops
    return None, [*drops, Drop("post", thread.id, "no response of its side" if thread.comments else "empty thread")]
