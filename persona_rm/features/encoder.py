"""`encoder`: the sentence encoding of a response, alone or with its prompt.

A sentence encoder hears what a text is about, and little of how it is written; `surface` says that. Unit vectors of
the encoder that the backends hold (384 numbers of MiniLM).
"""

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from persona_rm.backends.base import Vectors
from persona_rm.config import Config
from persona_rm.features.base import FeatureExtractor, FeatureNeed


class EncoderFeaturesConfig(Config):
    """`text`: what is embedded. "both" puts the response first, because encoders cut long texts at the end."""

    text: Literal["both", "response"] = "both"


class EncoderFeatures(FeatureExtractor):
    """The unit vector of the response, or of the response and its prompt."""

    name: ClassVar[str] = "encoder"
    Config: ClassVar[type[Config]] = EncoderFeaturesConfig
    needs: ClassVar[frozenset[FeatureNeed]] = frozenset({"encoder"})

    @property
    def signature(self) -> str | None:
        """The encoder's own signature and what is embedded; None for an encoder without one."""
        encoder = getattr(self.backends.encoder, "signature", None)
        if encoder is None:
            return None
        return f"{self.name}-{self.config.text}-{hashlib.sha256(str(encoder).encode()).hexdigest()[:8]}"

    def extract(self, prompts: Sequence[str], responses: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, width of the encoder)."""
        encoder = self.backends.need_encoder("the feature `encoder`")
        if self.config.text == "response":
            texts = list(responses)
        else:
            texts = [f"{response}\n\n{prompt}" for prompt, response in zip(prompts, responses, strict=True)]
        return encoder.encode(texts) if texts else np.zeros((0, 0), np.float32)
