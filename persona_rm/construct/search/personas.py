"""Personas (paper, section 4.2): for a pair, the UGC and PAIR of a user who would make the same choice.

`similar`: look-alikes. An anchor is a dimension on which the pair is not neutral; only items that point the pair's way
there are searched, and a post gives one item, its response most similar to the chosen one. The anchor is drawn, per
(seed, pair), among the dimensions that give enough items. `author`: the history of the author of the chosen response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from persona_rm.construct.hashing import seeded
from persona_rm.construct.pairing.rules import consistent, levels_of, majority
from persona_rm.construct.records import LabelledPair, PostRecord
from persona_rm.construct.search.index import Index
from persona_rm.construct.search.packing import Ints, Packed, pack
from persona_rm.construct.search.similarity import min_matches
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Drop, Example, Levels, Pair, Persona, Ugc, content_id

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig


@dataclass(frozen=True, slots=True)
class PersonaMatches:
    """Rows of an index that make a persona. `of` says whose: "author" or "similar"."""

    of: str
    ugc: tuple[int, ...] = ()
    pairs: tuple[int, ...] = ()


class Personas:
    """Searches an index (`find`) and turns the matches into an example (`example`). Both depend on the seed only."""

    def __init__(self, index: Index, config: ConstructConfig, space: PreferenceSpace, seed: int) -> None:
        self.index, self.config, self.space, self.seed = index, config, space, seed
        self.least = min_matches(len(space), config.threshold)

    def find(self, post: PostRecord, pair: LabelledPair) -> PersonaMatches | Drop:
        """The history that becomes the pair's persona, the author's or that of look-alikes; or why there is none."""
        searches = {"author": (self._author,), "similar": (self._similar,)}
        reason = ""
        for search in searches.get(self.config.persona, (self._author, self._similar)):
            result = search(post, pair)
            if isinstance(result, PersonaMatches):
                return result
            reason = result
        return Drop("example", pair_id(post, pair), reason)

    def _author(self, post: PostRecord, pair: LabelledPair) -> PersonaMatches | str:
        """Up to `n_ugc` and `n_pairs` of the author's other items, and whether they agree with the pair."""
        if not pair.chosen.author:
            return "no known author"
        random = seeded(self.seed, pair_id(post, pair), "author")
        rows = []
        for kind, n in ((False, self.config.n_ugc), (True, self.config.n_pairs)):
            corpus = self.index.pairs if kind else self.index.ugc
            own = self.index.owned(pair.chosen.author, kind)
            # The post of the pair is left out: its responses hold the choice that the persona is to explain. A post
            # that has no row in this corpus has the number -1, which equals none.
            others = own[np.asarray(corpus.posts)[own] != self.index.post_number(post, self.seed, kind)]
            rows.append(self._sample(others, n, random))
        matches = PersonaMatches("author", *rows)
        if not (matches.ugc or matches.pairs):
            return f"the author has fewer than {self.config.min_items} other items"
        return matches if self.agrees(matches, pair) else "the author's other items do not agree with the pair"

    def _similar(self, post: PostRecord, pair: LabelledPair) -> PersonaMatches | str:
        """Items at the first anchor, in seeded order, at which both components have enough; else at which one has."""
        best: PersonaMatches | None = None
        order = seeded(self.seed, pair_id(post, pair), "anchor").permutation(consistent(pair.directions, []))
        for dimension in order.tolist():
            matches = self._at(post, pair, (dimension, pair.directions[dimension]))
            if matches.ugc and (matches.pairs or not self.config.n_pairs):
                return matches
            best = best or (matches if matches.ugc or matches.pairs else None)
        return best or f"fewer than {self.config.min_items} similar, consistent items"

    def _at(self, post: PostRecord, pair: LabelledPair, anchor: tuple[int, int]) -> PersonaMatches:
        """Look-alikes that point the pair's way at one anchor (dimension, way)."""
        random = seeded(self.seed, pair_id(post, pair), "items", *anchor)
        # Posts stand in a seeded order and every pair starts its scans at a row of its own, so that different pairs
        # sample different posts although a scan stops after the first `candidates` matches.
        start = int(random.integers(1 << 31))
        chosen, rejected = self._packed(levels_of(pair.chosen)), self._packed(levels_of(pair.rejected))
        rows = []
        # UGC comes first: both components draw from one generator, so the order decides what a seed gives.
        for kind, n, other in ((False, self.config.n_ugc, None), (True, self.config.n_pairs, rejected)):
            corpus = self.index.pairs if kind else self.index.ugc
            number = self.index.post_number(post, self.seed, kind)
            search = partial(corpus.find, chosen, number, start, self.least, self.config.candidates, other)
            rows.append(self._component(search, n, anchor, pair, kind, random))
        return PersonaMatches("similar", *rows)

    def _component(
        self,
        search: Callable[..., tuple[Ints, Ints]],
        n: int,
        anchor: tuple[int, int],
        pair: LabelledPair,
        pairs: bool,
        random: np.random.Generator,
    ) -> tuple[int, ...]:
        """Rows of one component: all pointing the anchor's way, or, for `majority`, more than half of them."""
        if not n:
            return ()
        pointing, _ = search(anchor=anchor)
        if self.config.consistency == "strict":
            pointing = np.array([row for row in pointing if not self._contradicts(int(row), pairs, pair)], np.int64)
        if self.config.consistency != "majority":
            return self._sample(pointing, n, random)
        # A majority of k items needs more than k / 2 that point the way: with m such items, at most 2 m - 1 in all.
        some = self._sample(pointing, n // 2 + 1, random)
        # Without the anchor, since the items beyond the majority may point any way there.
        rest = np.setdiff1d(search()[0], some) if some else np.empty(0, np.int64)
        return tuple(sorted({*some, *self._draw(rest, min(n, 2 * len(some) - 1) - len(some), random)}))

    def _contradicts(self, row: int, pairs: bool, pair: LabelledPair) -> bool:
        way = self._item(row, pairs).directions or ()
        return any(a * b < 0 for a, b in zip(way, pair.directions, strict=True))

    def _sample(self, rows: Ints, n: int, random: np.random.Generator) -> tuple[int, ...]:
        """`n` of the candidates; none where there are fewer than `min_items`."""
        return self._draw(rows, n, random) if len(rows) >= self.config.min_items and n else ()

    def _draw(self, rows: Ints, n: int, random: np.random.Generator) -> tuple[int, ...]:
        """`n` of the rows, drawn without replacement, in the order of `rows`."""
        drawn: list[int] = random.choice(len(rows), min(n, len(rows)), replace=False).tolist() if len(rows) else []
        return tuple(int(rows[i]) for i in sorted(drawn))

    def _packed(self, levels: Levels) -> Packed:
        packed: Packed = pack(np.asarray([levels], np.uint64))[0]
        return packed

    def _item(self, row: int, pairs: int) -> Ugc | Pair:
        return self.index.pair_item(row) if pairs else self.index.ugc_item(row)

    def agrees(self, matches: PersonaMatches, pair: LabelledPair) -> bool:
        """Preference consistency (paper, section 4) of matches with the pair, in the form of the settings."""
        parts = []
        for kind, rows in enumerate((matches.ugc, matches.pairs)):
            if rows:
                items = [self._item(row, kind) for row in rows]
                parts.append([item.directions for item in items if item.directions is not None])
        return agree(pair.directions, parts, self.config.consistency)

    def example(self, post: PostRecord, pair: LabelledPair, matches: PersonaMatches) -> Example:
        """The quintuple, still without a description (P_DEMO)."""
        id_ = content_id(post.thread.id, pair.chosen.text, pair.rejected.text)
        author = pair.chosen.author or ""
        ugc = tuple(self.index.ugc_item(row) for row in matches.ugc)
        if matches.of == "author" and not self.config.outputs_only:
            ugc += tuple(self._asked(author, pair))
        pairs = tuple(self.index.pair_item(row) for row in matches.pairs)
        # Look-alikes are items of many authors, so such a persona is a user of its own, one per example.
        user = f"author-{author}" if matches.of == "author" else f"lookalike-{id_}"
        extra = {"author": author} if author else {}
        texts = (post.thread.prompt, pair.chosen.text, pair.rejected.text)
        group = post.group or post.thread.id
        return Example(
            id_,
            *texts,
            pair.directions,
            Persona(user, ugc, pairs),
            post.thread.source,
            group,
            extra | {"persona": matches.of},
        )

    def _asked(self, author: str, pair: LabelledPair) -> list[Ugc]:
        return [item for item in self.index.asked(author) if item.comment != pair.post][: self.config.n_ugc]


def pair_id(post: PostRecord, pair: LabelledPair) -> str:
    """The id on which a pair's random draws depend, beside the seed."""
    return content_id(post.thread.id, pair.chosen.id, pair.rejected.id)


def agree(pair: Directions, parts: Sequence[Sequence[Directions]], form: str) -> bool:
    """Preference consistency of persona components with a pair (paper, section 4), in three forms.

    `majority`: there is a dimension on which the pair is not neutral and the majority of every component points its
    way. `items`: every item of every component does. `strict`: that, and no item contradicts the pair anywhere.
    """
    if form == "majority":
        return bool(consistent(pair, [majority(part) for part in parts]))
    items = [item for part in parts for item in part]
    if form == "strict" and any(a * b < 0 for item in items for a, b in zip(item, pair, strict=True)):
        return False
    return bool(consistent(pair, items))
