"""Features of several extractors side by side, and their scaling, which is learned on training texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.backends.base import Backends, Vectors
from persona_rm.features import FEATURES
from persona_rm.features.base import FeatureExtractor
from persona_rm.io.vector_shards import VectorShards, content_key
from persona_rm.registry import as_mapping
from persona_rm.space import PreferenceSpace

Floats = npt.NDArray[np.float64]
Text = tuple[str, str]
"""(prompt, response)."""


def feature_members(given: Any) -> tuple[dict[str, Any], ...]:
    """The members that a recipe names: `[encoder, {name: encoder, text: response}]`, or "encoder+surface".

    Raises ValueError for an empty list, and `MemberError` for a name or a setting that does not exist.
    """
    listed = given.split("+") if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed:
        raise ValueError("features are a list of members of the zoo `feature`, one or more")
    members = tuple(as_mapping(one) for one in listed)
    for member in members:
        FEATURES.member(member, where="features")
    return members


class FeatureSet:
    """The blocks of several extractors, read as one matrix. With `backends.folder` rows are kept on disk."""

    def __init__(
        self, members: Sequence[Mapping[str, Any]], space: PreferenceSpace, backends: Backends, who: str
    ) -> None:
        """`who` reads the features; errors name it. Raises `RecipeError` if a model that they need is missing."""
        self.folder = backends.folder
        self.blocks: list[FeatureExtractor] = []
        for member in members:
            cls, config = FEATURES.member(member)
            if "encoder" in cls.needs:
                backends.need_encoder(who)
            if "annotator" in cls.needs:
                backends.need_reader(who)
            self.blocks.append(cls(config, space, backends))

    def rows(self, texts: Sequence[Text]) -> tuple[Vectors, tuple[int, ...]]:
        """The features of each text, shape (n, width), float32, and the width of each block.

        A text that comes often is read once. No texts give shape (0, 0).
        """
        if not texts:
            return np.zeros((0, 0), np.float32), ()
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        unique = list(place)
        read = [self._block(block, unique) for block in self.blocks]
        rows = np.concatenate(read, axis=1) if len(read) > 1 else read[0]
        # Most calls name each text once; then the order is already right.
        if len(unique) < len(texts):
            rows = rows[[place[text] for text in texts]]
        return rows, tuple(block.shape[1] for block in read)

    def _block(self, block: FeatureExtractor, texts: Sequence[Text]) -> Vectors:
        if self.folder is None or block.signature is None:
            return block.extract(*_columns(texts))
        shards = _shards(self.folder, block.signature)
        keys = [content_key(*text) for text in texts]
        missing = [i for i, key in enumerate(keys) if shards.get(key) is None]
        if missing:
            fresh = block.extract(*_columns([texts[i] for i in missing]))
            shards.add({keys[i]: row for i, row in zip(missing, fresh, strict=True)})
        stored = [shards.get(key) for key in keys]
        return np.stack([row for row in stored if row is not None])


def _columns(texts: Sequence[Text]) -> tuple[list[str], list[str]]:
    return [prompt for prompt, _ in texts], [response for _, response in texts]


@lru_cache(maxsize=64)
def _shards(folder: Path, signature: str) -> VectorShards:
    """One reader per folder and process, because every one reads all that is stored."""
    return VectorShards(folder, signature)


@dataclass(frozen=True, slots=True)
class Scaling:
    """z = (f - mean) * factor, learned on training texts; both have the width of f.

    "standard": each column has mean 0 and deviation 1 / sqrt(width of its block), so that every block has a mean
    squared length of 1, whatever its width, and penalties of blocks can be compared. "none": z = f.
    """

    mean: Floats
    factor: Floats

    @classmethod
    def of(cls, rows: Vectors, widths: Sequence[int], kind: str = "standard") -> "Scaling":
        """The scaling of these texts; each distinct text once."""
        size = rows.shape[1]
        if kind == "none":
            return cls(np.zeros(size), np.ones(size))
        # In float64, because a column that is constant but for rounding must be seen as constant.
        values = rows.astype(np.float64)
        deviation = values.std(0)
        share = np.repeat([width**-0.5 for width in widths], widths)
        return cls(values.mean(0), share / np.where(deviation > 1e-6, deviation, 1.0))

    def apply(self, rows: Vectors) -> Vectors:
        """Standardised rows, float32. The width must be that of the training texts."""
        return np.asarray((rows - self.mean) * self.factor, np.float32)
