"""Stage unique: responses that repeat another one are dropped, and posts of the same text become one group.

Only the whole data set can tell. The driver reads fingerprints, 8 bytes per text and, if near-duplicates are searched,
its MinHash signature; the resulting rule is sent to the workers, which drop and mark rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from persona_rm.construct import records
from persona_rm.construct.cleaning.duplicates import exact_groups, groups
from persona_rm.construct.hashing import hashed
from persona_rm.construct.stages.outcome import Outcome
from persona_rm.types import Comment, Drop

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig

Ints = npt.NDArray[np.int64]
EXACT, NEAR = "the same as another response", "nearly the same as another response"


@dataclass(frozen=True)
class Unique:
    """The rule: names (hashes) of responses to drop, sorted, and the group of each thread."""

    exact: Ints
    near: Ints
    threads: Ints
    groups: Ints

    def __call__(self, row: dict[str, Any]) -> Outcome:
        post = records.to_post(row)
        kept: list[Comment] = []
        drops: list[Drop] = []
        for comment in post.thread.comments:
            name = hashed(comment.id)
            reason = EXACT if _among(self.exact, name) else NEAR if _among(self.near, name) else ""
            if reason:
                drops.append(Drop("response", comment.id, reason))
            else:
                kept.append(comment)
        if not kept:
            return Outcome(None, [*drops, Drop("post", post.thread.id, "no usable response")])
        # Every post that stage clean let through is in `threads`, so the place is that of an equal name.
        group = f"{self.groups[np.searchsorted(self.threads, hashed(post.thread.id))]:016x}"
        thread = replace(post.thread, comments=tuple(kept))
        return Outcome(records.from_post(replace(post, thread=thread, group=group)), drops)


def _among(names: Ints, name: int) -> bool:
    place = int(np.searchsorted(names, name))
    return place < len(names) and int(names[place]) == name


@dataclass(frozen=True)
class _Prints:
    """Fingerprints of all posts and responses that stage clean let through. A name is the hash of an id."""

    posts: Ints
    """Where the posts stand among all texts, (threads,); the others are responses."""
    names: Ints
    exact: npt.NDArray[np.uint64]
    """Hash of each text, (n,)."""
    of_posts: npt.NDArray[np.uint32] | None
    of_responses: npt.NDArray[np.uint32] | None
    """MinHash signatures, mapped from files."""


def _collect(rows: Iterable[dict[str, Any]], config: ConstructConfig, folder: Path) -> _Prints:
    """One pass over the rows; signatures are written to files, which are then mapped into memory."""
    posts, names, exact = list[int](), list[int](), list[npt.NDArray[np.uint64]]()
    # Bytes of one signature: a uint32 for each permutation.
    size = 4 * config.clean.permutations
    paths = folder / "posts.bin", folder / "responses.bin"
    with paths[0].open("wb") as first, paths[1].open("wb") as others:
        for row in rows:
            if row["record"] is None:
                continue
            record = json.loads(row["record"])
            posts.append(len(names))
            names += [hashed(record["id"]), *(hashed(comment["id"]) for comment in record["comments"])]
            count = 1 + len(record["comments"])
            # As `Clean._prints` writes them: 8 bytes for each text, then the signatures, the post's first.
            exact.append(np.frombuffer(row["prints"], np.uint64, count))
            signed = memoryview(row["prints"])[8 * count :]
            first.write(signed[:size])
            others.write(signed[size:])
    every = np.concatenate(exact) if exact else np.empty(0, np.uint64)
    return _Prints(_ints(posts), _ints(names), every, *(_mapped(path, config.clean.permutations) for path in paths))


def _mapped(path: Path, width: int) -> npt.NDArray[np.uint32] | None:
    # An empty file cannot be mapped.
    return np.memmap(path, np.uint32, "r").reshape(-1, width) if path.stat().st_size else None


def _ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)


def unique_rule(rows: Iterable[dict[str, Any]], config: ConstructConfig, folder: Path) -> Unique:
    """Which responses are dropped, and which posts are one group.

    `rows` are those of stage clean, with the columns record and prints; signatures are kept in files in `folder`,
    which may be deleted afterwards.
    """
    prints = _collect(rows, config, folder)
    is_post = np.zeros(len(prints.names), np.bool_)
    is_post[prints.posts] = True
    return Unique(*_repeated(prints, ~is_post, config), *_post_groups(prints, config))


def _repeated(prints: _Prints, responses: npt.NDArray[np.bool_], config: ConstructConfig) -> tuple[Ints, Ints]:
    """Names of responses that repeat another one: exactly, and nearly. The smallest name of each group stays."""
    names, nothing = prints.names[responses], np.empty(0, np.int64)
    if not config.clean.duplicates or not len(names):
        return nothing, nothing
    # A row that stands for itself stays; every other one repeats it. Sorted for the binary search of `_among`.
    exact = np.sort(names[exact_groups(names, prints.exact[responses]) != np.arange(len(names))])
    if config.clean.near_duplicates is None or prints.of_responses is None:
        return exact, nothing
    representatives = groups(names, prints.of_responses, config.clean.near_duplicates)
    near = np.sort(names[representatives != np.arange(len(names))])
    return exact, np.setdiff1d(near, exact)


def _post_groups(prints: _Prints, config: ConstructConfig) -> tuple[Ints, Ints]:
    """(sorted thread names, the name of each one's group): posts of the same text, or nearly the same."""
    names = prints.names[prints.posts]
    representatives = exact_groups(names, prints.exact[prints.posts])
    if config.split.near_duplicates is not None and prints.of_posts is not None:
        # Posts of the same text have equal signatures, so these groups contain the exact ones.
        representatives = groups(names, prints.of_posts, config.split.near_duplicates)
    order = np.argsort(names)
    return names[order], names[representatives][order]
