"""`contrasts`: the annotator's continuous reading of a response, one number per dimension of the preference space.

An annotator of levels says "cannot reflect" for 89 to 97 % of what it reads in real texts. The number behind the
level says more: on P-SOUPS (four history pairs, nothing trained) levels order 57.8 % of the pairs as the user does,
and 47.6 % with the histories swapped; the contrasts 70.4 and 44.0.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from persona_rm.backends.base import ContrastReader, Vectors
from persona_rm.errors import RecipeError, ScoreError
from persona_rm.features.base import FeatureExtractor, FeatureNeed


class ContrastFeatures(FeatureExtractor):
    """Above 0 towards the positive pole, below 0 towards the negative one, in spreads of real comments."""

    name: ClassVar[str] = "contrasts"
    needs: ClassVar[frozenset[FeatureNeed]] = frozenset({"annotator"})

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the dimensions."""
        return self.space.ids

    @property
    def signature(self) -> str | None:
        """None: an annotator does not name all that its readings depend on."""
        return None

    def extract(self, prompts: Sequence[str], responses: Sequence[str]) -> Vectors:
        """Contrasts of shape (n, dimensions). Raises `RecipeError` if the annotator gives levels only."""
        if not responses:
            return np.zeros((0, 0), np.float32)
        reader = self.backends.need_reader("the feature `contrasts`")
        if not isinstance(reader, ContrastReader):
            raise RecipeError(
                f"the feature `contrasts` needs an annotator with continuous readings, and {type(reader).__name__} "
                "gives levels only: name the annotator `encoder`"
            )
        rows = reader.contrasts(prompts, responses)
        if rows.shape != (len(responses), len(self.space)):
            raise ScoreError(
                f"the annotator gave contrasts of shape {rows.shape} for {len(responses)} responses and "
                f"{len(self.space)} dimensions"
            )
        return rows.astype(np.float32)
