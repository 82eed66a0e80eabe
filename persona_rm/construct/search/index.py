"""The index in which personas are searched, opened: every response and every pair of one side of the split.

Texts lie in Arrow files that workers map into memory, so a process holds 24 packed bytes and some ids per response
(90 dimensions), not the texts. index_writer.py writes the folder and describes its files.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from persona_rm.construct.hashing import hashed
from persona_rm.construct.pairing.rules import contrast, lone
from persona_rm.construct.records import PostRecord, post_name
from persona_rm.construct.search.index_writer import BATCH
from persona_rm.construct.search.packing import Ints
from persona_rm.construct.search.similarity import Corpus
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Ugc


@dataclass(frozen=True)
class Index:
    """An index folder, opened: arrays and texts are mapped into memory, not read."""

    folder: Path
    space: PreferenceSpace

    def _array(self, name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    @cached_property
    def ugc(self) -> Corpus:
        """Every response."""
        return Corpus(self._array("words"), self._array("posts"), len(self.space))

    @cached_property
    def pairs(self) -> Corpus:
        """Every pair."""
        posts = self._array("pair_posts")
        return Corpus(self._array("chosen"), posts, len(self.space), self._array("rejected"))

    @cached_property
    def _order(self) -> npt.NDArray[Any]:
        return self._array("order")

    @cached_property
    def _pair_texts(self) -> npt.NDArray[Any]:
        return self._array("pair_texts")

    @cached_property
    def _files(self) -> tuple[Any, Any]:
        names = ("texts.arrow", "prompts.arrow")
        texts, prompts = (pa.ipc.open_file(pa.memory_map(str(self.folder / name))) for name in names)
        return texts, prompts

    def _text(self, row: int) -> dict[str, Any]:
        # A text holds the number of its post, because a post's text is stored once for all its responses. Every batch
        # but the last has `BATCH` rows, so a division finds the batch of a row.
        record: dict[str, Any] = self._files[0].get_batch(row // BATCH).slice(row % BATCH, 1).to_pylist()[0]
        prompt = self._prompt(record["prompt"])["prompt"]
        return record | {"prompt": prompt, "levels": tuple(map(int, record["levels"]))}

    def _prompt(self, row: int) -> dict[str, Any]:
        record: dict[str, Any] = self._files[1].get_batch(row // BATCH).slice(row % BATCH, 1).to_pylist()[0]
        return record

    def ugc_item(self, row: int) -> Ugc:
        """The response at a row of the corpus."""
        text = self._text(int(self._order[row]))
        return Ugc(text["prompt"], text["text"], lone(text["levels"]), text["created"])

    def pair_item(self, row: int) -> Pair:
        """The pair at a row of the corpus of pairs."""
        chosen, rejected = (self._text(int(place)) for place in self._pair_texts[row])
        directions = contrast(chosen["levels"], rejected["levels"])
        return Pair(chosen["prompt"], chosen["text"], rejected["text"], directions, chosen["created"])

    @cached_property
    def _owners(self) -> dict[str, tuple[npt.NDArray[Any], ...]]:
        kinds = ("", "pair_")
        return {kind: tuple(self._array(f"{kind}{name}") for name in ("authors", "starts", "owned")) for kind in kinds}

    def owned(self, author: str, pairs: bool = False) -> Ints:
        """Rows of an author's responses, or of the pairs whose chosen response is theirs."""
        # `starts` has one entry more than `names` (see `_save_authors`), so that the last author needs no case of its
        # own.
        names, starts, rows = self._owners["pair_" if pairs else ""]
        place = _place_of(names, hashed(author))
        owned: Ints = np.asarray(rows[starts[place] : starts[place + 1]] if place >= 0 else [], np.int64)
        return owned

    @cached_property
    def _names(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self._array("names"), self._array("pair_names")

    def post_number(self, post: PostRecord, seed: int, pairs: bool = False) -> int:
        """The number that rows of this post have in a corpus, -1 where there are none."""
        return _place_of(self._names[pairs], hashed(seed, post_name(post)))

    def asked(self, author: str) -> list[Ugc]:
        """What an author asked, with no direction: questions are not annotated."""
        names, starts, rows = (self._array(f"asker_{name}") for name in ("authors", "starts", "owned"))
        place = _place_of(names, hashed(author))
        posts = [] if place < 0 else [self._prompt(int(row)) for row in rows[starts[place] : starts[place + 1]]]
        return [Ugc("", post["prompt"], None, post["created"]) for post in posts]


def _place_of(names: npt.NDArray[Any], name: int) -> int:
    """Where `name` stands in sorted names, or -1."""
    place = int(np.searchsorted(names, name))
    return place if place < len(names) and names[place] == name else -1
