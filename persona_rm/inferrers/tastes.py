"""`tastes`: a user may be several; the prompt decides who speaks.

One vector averages a user who likes one thing in the kitchen and another at the office. Here the items of a user
are split into at most `most` tastes (`mixture`), each with a posterior of its own from the counts of its items, under
the model of `posterior`. At a prompt

    P(direction) = sum_m w_m(prompt) P(direction | taste m)

AMP-CF's idea for recommendations: several vectors per user, and attention that depends on the candidate. A user
whose evidence pays for one taste only gets the answer of `posterior`, unchanged. So does a prompt that does not tell
the tastes apart (no w_m reaches `sure`): half of each taste would be silence, where one vector is right about half.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.inferrers.base import NO_BACKENDS, Inferrer, Posterior
from persona_rm.inferrers.contexts import contexts_of, texts_of, unit
from persona_rm.inferrers.evidence import Item, behind, distinct
from persona_rm.inferrers.lens import Lens, fit_lens
from persona_rm.inferrers.mixture import Gate, Mixture, choose_mixture, single, split
from persona_rm.inferrers.model import EvidenceCounts, Floats
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.inferrers.tally import Tally
from persona_rm.io.weight_arrays import read_arrays
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona

LENS = "lens.safetensors"


class TastesConfig(Config):
    """How many tastes, and when evidence pays for them. Tuned on users of the simulator's train side."""

    most: int = Field(2, ge=1)
    """Tastes of one user; 1 is `posterior`, and needs no encoder."""
    temperature: float = Field(0.1, gt=0)
    """Of the attention over items, in cosines."""
    doubt: float = Field(0.05, gt=0, lt=1)
    """How much of the gate is the shares of the tastes, whatever the prompt."""
    penalty: float = Field(1.0, ge=0)
    """Times log(items): nats that a further taste must gain."""
    sure: float = Field(0.8, ge=0, le=1)
    """The weight that one taste must have at a prompt; below it the one vector of the user speaks."""
    iterations: int = Field(12, gt=0)
    lens: int = Field(120, ge=0)
    """Principal components of contexts in which `fit` looks for what tells tastes apart; 0: contexts as they are."""
    users: int = Field(2000, gt=0)
    """From whom the lens is learned, at most."""
    posterior: PosteriorConfig = PosteriorConfig()


class Tastes(Inferrer):
    """`infer` directions for a prompt; `mixture` gives the tastes of one user."""

    name: ClassVar[str] = "tastes"
    Config: ClassVar[type[Config]] = TastesConfig
    by_prompt: ClassVar[bool] = True

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        super().__init__(config, space, backends)
        self.posterior = PosteriorInferrer(config.posterior, space, backends)
        self.gate = Gate(config.temperature, config.doubt)
        self.lens: Lens | None = None

    def fit(self, personas: Sequence[Persona]) -> None:
        """The posterior's model, then the lens. Raises `DataError` for too few users, `RecipeError` without an
        encoder."""
        if self.config.most > 1:
            self.backends.need_encoder(self.name)
        self.posterior.fit(personas)
        learn = self.config.most > 1 and self.config.lens > 0
        self.lens = self._fit_lens(personas[: self.config.users]) if learn else None

    def _fit_lens(self, personas: Sequence[Persona]) -> Lens | None:
        """From users' items, split by what they say alone."""
        contexts, parts = [], []
        for persona in personas:
            items = _in_order(self.items(persona))
            vectors = self._raw(items, persona)
            # A split into two tastes needs two items for each, as in `choose_mixture`. The lens needs all texts.
            if len(items) >= 4 and vectors.any(-1).all():
                # Contexts of zeros hide the texts from the split, or the lens would learn from what it is to predict.
                blind = np.zeros((len(items), 1))
                halves = split(self.posterior.model, self._rows(items), blind, self.gate, 2, self.config.iterations)
                contexts.append(vectors)
                parts.append(halves.responsibilities)
        return fit_lens(contexts, parts, self.config.lens, self.config.posterior.seed) if contexts else None

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The posterior at this prompt; without one every taste has its share of the user."""
        once = _in_order(items)
        mixture = self._split(once, persona)
        weights = self._weights(mixture, prompt)
        # Below `sure` no taste is the obvious one for this prompt, so the posterior of the whole user answers.
        if mixture.responsibilities.shape[1] == 1 or (prompt and weights.max() < self.config.sure):
            return self.posterior.read(items, persona, prompt)
        probabilities = np.asarray(np.tensordot(weights, self._directions(once, mixture), 1), np.float64)
        directions = self.posterior.decide(probabilities)
        # An item counts as evidence by its share in the tastes that this prompt calls for.
        worth = list(zip(once, (mixture.responsibilities @ weights).tolist(), strict=True))
        named = {
            int(d): behind(((item.id, item.votes[d], strength) for item, strength in worth), int(directions[d]))
            for d in np.flatnonzero(directions)
        }
        return Posterior(tuple(map(tuple, probabilities.tolist())), tuple(directions.tolist()), named, len(once))

    def mixture(self, persona: Persona) -> list[tuple[float, Floats]]:
        """The user's tastes, the largest first: share of the items, and P(direction) (D, 3), calibrated."""
        items = _in_order(self.items(persona))
        mixture = self._split(items, persona)
        pairs = list(zip(mixture.shares.tolist(), self._directions(items, mixture), strict=True))
        return sorted(pairs, key=lambda pair: -pair[0])

    def _directions(self, items: Sequence[Item], mixture: Mixture) -> Floats:
        """(M, D, 3)."""
        # Not weighted by source here, because `posterior.evidence` does that.
        return self.posterior.probabilities(mixture.counts(self._rows(items, weigh=False)))

    def _split(self, items: Sequence[Item], persona: Persona) -> Mixture:
        config, rows = self.config, self._rows(items)
        if config.most == 1:
            return single(self.posterior.model, rows, np.zeros((len(items), 1)))
        seen = self._seen(self._raw(items, persona))
        return choose_mixture(
            self.posterior.model, rows, seen, self.gate, config.most, config.penalty, config.iterations
        )

    def _weights(self, mixture: Mixture, prompt: str) -> Floats:
        if not prompt or mixture.responsibilities.shape[1] == 1:
            return mixture.shares
        asked = self.backends.need_encoder(self.name).encode([prompt]).astype(np.float64)
        return mixture.weights(self._seen(asked)[0], self.gate)

    def _raw(self, items: Sequence[Item], persona: Persona) -> Floats:
        return contexts_of(items, texts_of(persona), self.backends.need_encoder(self.name))

    def _seen(self, vectors: Floats) -> Floats:
        return self.lens(vectors) if self.lens is not None and vectors.any() else unit(vectors)

    def _rows(self, items: Sequence[Item], *, weigh: bool = True) -> EvidenceCounts:
        """One row for each item, faded by age; with `weigh` also weighted by source, as `posterior` does later."""
        base = self.posterior
        tally = Tally(len(self.space), base.sources, base.config.half_life)
        tally.add(items)
        # votes (n, S, D, 2) and totals (n, S): each item is a row of its own, as if it were a user.
        votes, totals = np.zeros((len(items), *tally.dated.shape)), np.zeros((len(items), len(base.sources)))
        for row, item in enumerate(items):
            entry = tally.entries[item.id]
            source = base.config.weights.get(base.sources[entry.source], 1.0) if weigh else 1.0
            worth = tally.weight(entry) * source
            votes[row, entry.source, entry.negative, 0] = worth
            votes[row, entry.source, entry.positive, 1] = worth
            totals[row, entry.source] = worth
        return EvidenceCounts(votes, totals)

    def save(self, folder: Path) -> None:
        """config.json, and the posterior's model and the lens in safetensors."""
        from safetensors.numpy import save_file

        # The posterior is saved first: both write config.json, and the one of this class must remain.
        self.posterior.save(folder)
        super().save(folder)
        # The folder may hold the lens of an earlier fit, which `load_learned` would take.
        (folder / LENS).unlink(missing_ok=True)
        if self.lens is not None:
            save_file({"centre": self.lens.centre, "view": self.lens.view}, folder / LENS)

    def load_learned(self, folder: Path) -> None:
        """The posterior's model, and the lens if one was learned."""
        self.posterior.load_learned(folder)
        if (folder / LENS).is_file():
            arrays = read_arrays(folder / LENS, f"the lens of {self.name}", {"centre": 1, "view": 2})
            if len(arrays["centre"]) != len(arrays["view"]):
                raise DataError(f"not the lens of {self.name}: its two arrays do not fit", file=folder / LENS)
            self.lens = Lens(arrays["centre"], arrays["view"])


def _in_order(items: Iterable[Item]) -> list[Item]:
    """Distinct items by id: what is found does not depend on the order of arrival."""
    return sorted(distinct(items), key=lambda item: item.id)
