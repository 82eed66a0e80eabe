"""Lookalike personas (paper, section 4.2): for a pair, the UGC and PAIR of somebody who would choose as it does.

Preference consistency is built in: a persona has an anchor, a dimension on which the pair is not neutral, and only
items that point the pair's way there are searched, so the similarity scan reads few rows. The anchor is drawn, per
(seed, pair), among the dimensions that give enough items. A post gives one item: its most similar response of those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.search import Corpus, Ints, Packed, min_matches, pack, seeded
from persona_rm.construct.steps import Drop, LabelledPair, consistent, demo, levels_of, lone
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Example, Levels, Pair, Persona, Thread, Ugc, content_id


@dataclass(frozen=True)
class Index:
    """Items in a seeded order of posts, one row each, findable by (dimension, direction)."""

    items: list[Ugc] | list[Pair]
    directions: np.ndarray[tuple[int, int], np.dtype[np.int8]]
    corpus: Corpus

    def near(
        self,
        sides: tuple[Packed, Packed | None],
        post: int,
        anchor: tuple[int, int],
        least: int,
        limit: int,
        draw: int,
    ) -> list[int]:
        """Numbers of up to `limit` similar items that point the way of `anchor` = (dimension, direction)."""
        dimension, way = anchor
        rows: Ints = np.flatnonzero(self.directions[:, dimension] == way)
        others = None if self.corpus.others is None else self.corpus.others[rows]
        part = Corpus(self.corpus.rows[rows], self.corpus.posts[rows], self.corpus.dimensions, others)
        found, _ = part.find(sides[0], post, draw, least, limit, sides[1])
        return [int(row) for row in rows[found]]


class Lookalikes:
    """Everything that examples are built from; made once, read by every worker."""

    def __init__(
        self,
        threads: Sequence[Thread],
        pairs: Sequence[tuple[Thread, LabelledPair]],
        config: ConstructConfig,
        space: PreferenceSpace,
        seed: int,
    ) -> None:
        self.config, self.space, self.seed = config, space, seed
        self.least = min_matches(len(space), config.threshold)
        prompts = sorted({thread.prompt for thread in threads}, key=lambda text: content_id(str(seed), text))
        self.posts = {prompt: number for number, prompt in enumerate(prompts)}
        self.ugc = self._ugc(threads)
        self.pairs = self._pairs([pair for _, pair in pairs])

    def _ugc(self, threads: Sequence[Thread]) -> Index:
        found = [
            (self.posts[thread.prompt], thread.prompt, comment.text, levels_of(comment), comment.created)
            for thread in threads
            for comment in thread.comments
        ]
        found.sort(key=lambda row: row[0])
        items = [Ugc(prompt, text, lone(levels), created) for _, prompt, text, levels, created in found]
        corpus = Corpus(self._pack([row[3] for row in found]), _ints([row[0] for row in found]), len(self.space))
        return Index(items, self._table([lone(row[3]) for row in found]), corpus)

    def _pairs(self, pairs: Sequence[LabelledPair]) -> Index:
        found = sorted(pairs, key=lambda pair: self.posts[pair.post])
        items = [Pair(p.post, p.chosen.text, p.rejected.text, p.directions, p.chosen.created) for p in found]
        chosen, rejected = (
            self._pack([levels_of(comment) for comment in side])
            for side in ([p.chosen for p in found], [p.rejected for p in found])
        )
        corpus = Corpus(chosen, _ints([self.posts[p.post] for p in found]), len(self.space), rejected)
        return Index(items, self._table([p.directions for p in found]), corpus)

    def _pack(self, levels: Sequence[Levels]) -> Packed:
        return pack(np.asarray(levels, np.uint64).reshape(len(levels), len(self.space)))

    def _table(self, directions: Sequence[Directions]) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
        return np.asarray(directions, np.int8).reshape(len(directions), len(self.space))

    def example(self, thread: Thread, pair: LabelledPair) -> Example | Drop:
        """The quintuple of a pair, or the reason why there is none."""
        persona = self._persona(thread, pair)
        if persona is None:
            return Drop("example", thread.id, f"fewer than {self.config.min_items} similar, consistent items")
        id_ = content_id(thread.id, pair.chosen.text, pair.rejected.text)
        persona = Persona(f"lookalike-{id_}", persona.ugc, persona.pairs, demo(pair.directions, self.space))
        return Example(
            id_,
            thread.prompt,
            pair.chosen.text,
            pair.rejected.text,
            pair.directions,
            persona,
            thread.source,
            thread.id,
        )

    def _persona(self, thread: Thread, pair: LabelledPair) -> Persona | None:
        """Items at the first anchor, in seeded order, where both components have enough; else where one has."""
        active = consistent(pair.directions, [])
        best: Persona | None = None
        for dimension in seeded(self.seed, thread.id, "anchor").permutation(active).tolist():
            persona = self._items(thread, pair, (dimension, pair.directions[dimension]))
            if persona.ugc and (persona.pairs or not self.config.n_pairs):
                return persona
            best = best or (persona if persona.n_items else None)
        return best

    def _items(self, thread: Thread, pair: LabelledPair, anchor: tuple[int, int]) -> Persona:
        random = seeded(self.seed, thread.id, "items", *anchor)
        post, draw = self.posts[thread.prompt], int(random.integers(1 << 31))
        chosen, rejected = self._pack([levels_of(pair.chosen), levels_of(pair.rejected)])
        limit = self.config.candidates
        ugc = self.ugc.near((chosen, None), post, anchor, self.least, limit, draw)
        pairs = self.pairs.near((chosen, rejected), post, anchor, self.least, limit, draw)
        ugc, pairs = self._sample(ugc, self.config.n_ugc, random), self._sample(pairs, self.config.n_pairs, random)
        said = tuple(item for row in ugc if isinstance(item := self.ugc.items[row], Ugc))
        judged = tuple(item for row in pairs if isinstance(item := self.pairs.items[row], Pair))
        return Persona("", said, judged)

    def _sample(self, found: list[int], n: int, random: np.random.Generator) -> list[int]:
        """`n` of the candidates; none where there are fewer than `min_items`."""
        if len(found) < self.config.min_items or not n:
            return []
        drawn = random.choice(len(found), min(n, len(found)), replace=False)
        return [found[i] for i in sorted(drawn.tolist())]


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, np.int64)
