"""Writes the index in which personas are searched: every response and every pair of one side of the split.

An index is a folder of arrays and Arrow files; `Index` (index.py) reads it. Rows stand in a seeded order of posts that
depends on (seed, post, response) alone, not on the order of the input, and so do the row numbers of a search.

    words.npy (W, n)  posts.npy (n,)  order.npy (n,): corpus row -> text row     every response
    chosen.npy rejected.npy (W, m)  pair_posts.npy (m,)  pair_texts.npy (m, 2)   every pair
    names.npy pair_names.npy: hash of a post -> its number in a corpus
    *authors.npy *starts.npy: hash of an author -> where that author's rows begin and end in *owned.npy
    texts.arrow prompts.arrow: responses and posts in the order in which they came
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from persona_rm.construct.hashing import hashed
from persona_rm.construct.pairing.rules import levels_of
from persona_rm.construct.records import PostPairs, PostRecord, post_name
from persona_rm.construct.search.packing import Ints, pack, transposed
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Levels

BATCH = 4096
TEXTS = pa.schema(
    [("text", pa.large_string()), ("created", pa.string()), ("prompt", pa.int64()), ("levels", "string")]
)
PROMPTS = pa.schema([("prompt", pa.large_string()), ("created", pa.string())])


class _Arrow:
    """Rows appended to an Arrow file, in batches of `BATCH`, so that a row is found by division."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema, self.rows, self.count = schema, list[tuple[Any, ...]](), 0
        self.writer = pa.ipc.new_file(str(path), schema)

    def add(self, *row: Any) -> int:
        self.rows.append(row)
        self.count += 1
        if len(self.rows) == BATCH:
            self._flush()
        return self.count - 1

    def _flush(self) -> None:
        columns = [pa.array(c, f.type) for c, f in zip(zip(*self.rows, strict=True), self.schema, strict=True)]
        self.writer.write_batch(pa.record_batch(columns, schema=self.schema))
        self.rows = []

    def close(self) -> None:
        if self.rows:
            self._flush()
        self.writer.close()


class _Columns:
    """Growing columns of numbers."""

    def __init__(self, *names: str) -> None:
        self.rows: dict[str, list[int]] = {name: [] for name in names}
        self.done: dict[str, list[Ints]] = {name: [] for name in names}

    def add(self, *values: int) -> None:
        for column, value in zip(self.rows.values(), values, strict=True):
            column.append(value)
        if len(column) == BATCH * 16:
            self._fold()

    def _fold(self) -> None:
        for name, column in self.rows.items():
            self.done[name].append(np.asarray(column, np.int64))
            column.clear()

    def __getitem__(self, name: str) -> Ints:
        self._fold()
        self.done[name] = [np.concatenate(self.done[name]) if self.done[name] else np.empty(0, np.int64)]
        return self.done[name][0]


def build_index(
    posts: Iterable[PostRecord], pairs: Iterable[PostPairs], folder: Path, space: PreferenceSpace, seed: int
) -> None:
    """Writes the index of these posts and pairs. The responses of a pair must be among those of the posts."""
    folder.mkdir(parents=True)
    texts, prompts = _Arrow(folder / "texts.arrow", TEXTS), _Arrow(folder / "prompts.arrow", PROMPTS)
    columns, askers = _Columns("id", "post", "author"), _Columns("author")
    packed: list[npt.NDArray[np.uint64]] = []
    held: list[Levels] = []
    for post in posts:
        thread = post.thread
        number, name = prompts.add(thread.prompt, thread.created), hashed(seed, post_name(post))
        # `hashed` is never negative, so -1 cannot be an author.
        askers.add(hashed(thread.author) if thread.author else -1)
        for comment in thread.comments:
            read = levels_of(comment)
            texts.add(comment.text, comment.created, number, "".join(map(str, read)))
            columns.add(hashed(comment.id), name, hashed(comment.author) if comment.author else -1)
            held.append(read)
        # Levels as tuples of Python's integers are many times larger than packed rows, so few of them are held.
        if len(held) >= BATCH:
            packed, held = [*packed, _packed(held, space)], []
    texts.close()
    prompts.close()
    words = np.concatenate([*packed, _packed(held, space)])
    # A post's name is a hash of seed and post: sorting by it makes the rows of a post neighbours and puts the posts
    # into the seeded order.
    order = np.lexsort((columns["id"], columns["post"]))
    _save(folder, words=transposed(words[order]), order=order, posts=_numbers(columns["post"][order]))
    # `unique` sorts as `order` does, so the place of a name in names.npy is the number that `_numbers` gave to its
    # rows.
    _save(folder, names=np.unique(columns["post"]))
    # What an author asked are rows of prompts.arrow, which keep their order; what an author wrote are rows of the
    # corpus, which `order` has moved.
    _save_authors(folder, "asker_", askers["author"])
    _save_authors(folder, "", columns["author"][order])
    _pair_arrays(pairs, folder, seed, columns["id"], words)


def _packed(held: Sequence[Levels], space: PreferenceSpace) -> npt.NDArray[np.uint64]:
    return pack(np.asarray(held, np.uint64).reshape(len(held), len(space)))


def _numbers(names: Ints) -> Ints:
    """0, 1, ... for sorted names: rows of a post get one number."""
    changes = np.ones(len(names), np.int64)
    changes[1:] = names[1:] != names[:-1]
    numbers: Ints = np.cumsum(changes) - 1
    return numbers


def _save(folder: Path, **arrays: npt.NDArray[Any]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _save_authors(folder: Path, kind: str, authors: Ints) -> None:
    """Rows by author: `authors` is the hash of each corpus row's, -1 for an unknown author."""
    # The stable sort leaves each author's rows in rising order. `starts` gets one more entry, the end of the last
    # author's rows, so that every author's rows are `starts[i]` to `starts[i + 1]`.
    rows = np.argsort(authors, kind="stable")
    rows = rows[authors[rows] >= 0]
    names, starts = np.unique(authors[rows], return_index=True)
    _save(folder, **{f"{kind}authors": names, f"{kind}starts": np.append(starts, len(rows)), f"{kind}owned": rows})


def _pair_arrays(
    pairs: Iterable[PostPairs], folder: Path, seed: int, ids: Ints, words: npt.NDArray[np.uint64]
) -> None:
    columns = _Columns("chosen", "rejected", "post", "author")
    for entry in pairs:
        name = hashed(seed, post_name(entry.post))
        for pair in entry.pairs:
            author = hashed(pair.chosen.author) if pair.chosen.author else -1
            columns.add(hashed(pair.chosen.id), hashed(pair.rejected.id), name, author)
    # Pairs name their responses by id. `sides` holds, for each pair in the order in which it came, the rows of these
    # responses in `words` and in texts.arrow, which are in one order.
    sorter = np.argsort(ids)
    sides = [sorter[_places(ids[sorter], columns[side])] for side in ("chosen", "rejected")]
    order = np.lexsort((columns["rejected"], columns["chosen"], columns["post"]))
    chosen, rejected = (transposed(words[side[order]]) for side in sides)
    _save(
        folder, chosen=chosen, rejected=rejected, pair_posts=_numbers(columns["post"][order]),
        pair_texts=np.stack([side[order] for side in sides], 1), pair_names=np.unique(columns["post"]),
    )  # fmt: skip
    _save_authors(folder, "pair_", columns["author"][order])


def _places(ids: Ints, wanted: Ints) -> Ints:
    """Where each of `wanted` stands in the sorted `ids`. Raises DataError for one that does not."""
    places: Ints = np.searchsorted(ids, wanted)
    if len(wanted) and (not len(ids) or (ids[np.minimum(places, len(ids) - 1)] != wanted).any()):
        raise DataError("a pair's response is not among the annotated responses; delete the folder and build again")
    return places
