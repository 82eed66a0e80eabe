"""Vectors on disk, by the hash of what they were computed from: shared by encoders and feature extractors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def content_key(*parts: str) -> bytes:
    """16 bytes that stand for these texts. Lone surrogates, which UTF-8 refuses, are replaced."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=16).digest()


class VectorShards:
    """Each call that computed vectors writes one .npz file (keys, vectors); all are read at the first look-up.

    Two processes can share a folder, because a shard is named by its content and moved into place when it is complete.
    """

    def __init__(self, root: Path, signature: str) -> None:
        self.folder = root / signature
        self._known: dict[bytes, Vectors] | None = None

    def get(self, key: bytes) -> Vectors | None:
        """The vector of this key; None if no shard holds it."""
        if self._known is None:
            self._known = self._read()
        return self._known.get(key)

    def _read(self) -> dict[bytes, Vectors]:
        known: dict[bytes, Vectors] = {}
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as shard:
                keys, vectors = shard["keys"], shard["vectors"]
            known.update((keys[row].tobytes(), vectors[row]) for row in range(len(keys)))
        return known

    def add(self, fresh: Mapping[bytes, Vectors]) -> None:
        """Write these vectors as one shard. Keys have 16 bytes each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = np.frombuffer(b"".join(fresh), np.uint8).reshape(len(fresh), -1)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        partial = self.folder / f"{name}.partial"
        with partial.open("wb") as file:
            np.savez(file, keys=keys, vectors=np.stack(list(fresh.values())))
        partial.rename(self.folder / f"{name}.npz")
        if self._known is not None:
            self._known |= fresh
