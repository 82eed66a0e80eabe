"""What items were said to: the texts of a persona by item, for inferrers that look at the prompt.

Evidence carries no text (see `evidence`), so texts are matched to it by content id, while a persona is at hand, and
are kept nowhere.
"""

from collections.abc import Sequence

import numpy as np

from persona_rm.backends.base import Encoder
from persona_rm.inferrers.evidence import Item, bare_item
from persona_rm.inferrers.model import Floats
from persona_rm.types import Pair, Persona, Ugc

TINY = 1e-9


def texts_of(persona: Persona, *, replies: bool = False) -> dict[str, str]:
    """Item id -> the prompt that it answers; with `replies`, of UGC also what the user wrote."""
    return {bare_item(item).id: _text(item, replies) for item in persona.items}


def contexts_of(items: Sequence[Item], texts: dict[str, str], encoder: Encoder) -> Floats:
    """Unit vectors (n, dim) of the items' texts; zeros for an item whose text is not there, or is empty."""
    known = [row for row, item in enumerate(items) if texts.get(item.id, "").strip()]
    if not known:
        # Zeros of any width mean that nothing is known, and the encoder's width is not known without a text.
        return np.zeros((len(items), 1))
    vectors = encoder.encode([texts[items[row].id] for row in known])
    contexts = np.zeros((len(items), vectors.shape[1]))
    contexts[known] = vectors
    return contexts


def unit(vectors: Floats) -> Floats:
    """Rows of length one; zeros stay zeros."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), TINY))


def _text(item: Ugc | Pair, replies: bool) -> str:
    return f"{item.prompt}\n{item.comment}" if replies and isinstance(item, Ugc) else item.prompt
