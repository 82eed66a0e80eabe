"""`posterior`: what the evidence says, knowing how often it errs, and silence where speaking would not pay.

Per dimension P(negative), P(neutral), P(positive) from all items, by `model.PreferenceModel`: confusion matrices by
source and dimension, fitted by EM on many users' unlabelled items (or from labels), a population prior that knows
which directions go together, items weighted by source and age, then calibrated on held-out users. A direction is
spoken only where the expected gain of speaking is positive:

    gain P(it is so) - claim P(neutral) - wrong P(the opposite) > 0

One source can never say more than `ceiling` nats about a dimension, whatever the number of its items: who floods one
source does not outvote the others.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.inferrers.base import NO_BACKENDS, ModelInferrer, Posterior
from persona_rm.inferrers.calibration import Calibration, CalibrationKind, fit_calibration
from persona_rm.inferrers.em import GENERIC, FitConfig, choose_model
from persona_rm.inferrers.evidence import behind, check_votes
from persona_rm.inferrers.model import EvidenceCounts, Floats, Ints, PreferenceModel
from persona_rm.inferrers.stored_answers import Belief, Perception, hear
from persona_rm.inferrers.tally import OTHER, Tally, read_tally
from persona_rm.io.weight_arrays import read_arrays
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona, UserState

MODEL = "model.safetensors"
CHUNK = 256
"""Users in one computation: what fits the cache."""


class PosteriorConfig(Config):
    """How evidence counts, what is learned, and when to speak."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"ugc": 1.0, "pair": 1.0, "demo": 1.0, "critique": 1.0}
    )
    """What an item of a source counts; a source that is not named counts as "other" (1). 0 leaves a source out."""
    half_life: float | None = Field(None, gt=0)
    """Days after which an item counts half; None: age does not matter."""
    ceiling: float = Field(8.0, gt=0)
    """Nats that one source can say about one dimension, at most."""
    gain: float = Field(1.0, gt=0)
    claim: float = Field(0.5, ge=0)
    """Cost of naming a direction where the user has none."""
    wrong: float = Field(2.0, ge=0)
    """Cost of naming the opposite. More than `gain`, so that contradictory evidence leaves neutral."""
    classes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of latent classes to choose from, by how well they predict held-out users; (1,): no correlations."""
    labels: bool = False
    """Learn error rates from users whose directions are known, instead of by EM."""
    calibrate: CalibrationKind = "temperature"
    calibration_share: float = Field(0.25, gt=0, lt=1)
    """Of the users whose directions are known: kept out of the fit, to calibrate on."""
    strength: float = Field(30.0, gt=0)
    pull: float = Field(3.0, gt=0)
    held: float = Field(0.1, gt=0, lt=1)
    """Before `fit`: the share of directions that are not neutral."""
    temperature: float = Field(0.8, gt=0)
    """Noise of answers to questions, in levels (`answers.Perception`)."""
    seed: int = 0


class PosteriorInferrer(ModelInferrer):
    """Before `fit` it works with generic error rates and an even prior; `fit` learns both from a population."""

    name: ClassVar[str] = "posterior"
    Config: ClassVar[type[Config]] = PosteriorConfig

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        super().__init__(config, space, backends)
        # "other" is always there, and last: an item of an unnamed source gets a confusion matrix too.
        self.sources = (*(source for source in config.weights if source != OTHER), OTHER)
        self.model = generic_model(self.sources, len(space), config.held)
        self.calibration = Calibration()
        self.fitted: dict[str, Any] = {}

    @property
    def perception(self) -> Perception:
        """How answers are understood."""
        return Perception(self.config.temperature)

    def fit(self, personas: Sequence[Persona]) -> None:
        """Error rates, prior and calibration from these users' evidence. Raises `DataError` if there is none."""
        if len(personas) < 10:
            problem = f"posterior learns from a population; {len(personas)} users are too few (10 or more)"
            raise DataError(f"{problem}: give more users, or name the inferrer vote, which learns nothing")
        counts = join([self.tally(persona).counts for persona in personas])
        labelled = np.array([persona.directions is not None for persona in personas])
        size, neutral = len(self.space), self.space.neutral
        known = (
            check_votes(neutral if p.directions is None else p.directions, f"user {p.user_id!r}, the user", size)
            for p in personas
        )
        # (users, D). Users without known directions get neutral as a placeholder: these rows are neither fitted with
        # labels nor calibrated on.
        labels = np.array(list(known), np.int64)
        held = self._held_out(labelled)
        # Users to calibrate on stay out of the fit: on its own users a model is more certain than it is right.
        use = ~held & (labelled if self.config.labels else True)
        if use.sum() < 10:
            raise DataError(f"posterior: {int(use.sum())} users are left to learn from, after those to calibrate on")
        rows = np.flatnonzero(use)
        config = FitConfig(strength=self.config.strength, pull=self.config.pull, seed=self.config.seed)
        given = labels[rows] if self.config.labels else None
        self.model, scores = choose_model(self.sources, counts.of(rows), config, self.config.classes, given)
        self.calibration = Calibration()
        if held.any():
            # Raw, because the calibration was just reset to none.
            raw = self.probabilities(counts.of(np.flatnonzero(held)))
            self.calibration = fit_calibration(self.config.calibrate, raw, labels[held])
        self.fitted = {
            "users": len(rows), "calibrated_on": int(held.sum()), "classes": len(self.model.shares),
            "log_evidence": {str(k): v for k, v in scores.items()}, "temperature": self.calibration.temperature,
        }  # fmt: skip

    def _held_out(self, labelled: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which users calibrate: a share of the labelled, if that makes ten."""
        known = np.flatnonzero(labelled)
        n = int(len(known) * self.config.calibration_share) if self.config.calibrate != "none" else 0
        held = np.zeros(len(labelled), np.bool_)
        if n >= 10:
            held[np.random.default_rng(self.config.seed).permutation(known)[:n]] = True
        return held

    def probabilities(self, counts: EvidenceCounts) -> Floats:
        """P(direction) of many users, (n, D, 3), calibrated."""
        if len(counts) <= CHUNK:
            return self.calibration(self.model.marginals(self.evidence(counts)))
        # Each part has at most CHUNK users, so the recursion is one level deep.
        parts = np.array_split(np.arange(len(counts)), len(counts) // CHUNK + 1)
        return np.concatenate([self.probabilities(counts.of(part)) for part in parts])

    def evidence(self, counts: EvidenceCounts) -> Floats:
        """log P(votes | direction), (n, D, 3): each source weighted, and no louder than `ceiling`."""
        # In memory as (3, n, D), like what `evidence_of` returns, so that the sums below run over long rows.
        out = np.zeros((3, len(counts), self.model.size)).transpose(1, 2, 0)
        heard = np.asarray(counts.totals.any(0))
        for s, source in enumerate(self.sources):
            if heard[s] and (weight := self.config.weights.get(source, 1.0)):
                out += _bounded(weight * self.model.evidence_of(s, counts), self.config.ceiling)
        return out

    def decide(self, probabilities: Floats) -> Ints:
        """Directions (..., D) by the expected gain of speaking; neutral where it is not positive."""
        no, none, yes = probabilities[..., 0], probabilities[..., 1], probabilities[..., 2]
        gain, claim, wrong = self.config.gain, self.config.claim, self.config.wrong
        up, down = gain * yes - claim * none - wrong * no, gain * no - claim * none - wrong * yes
        # Silence gains 0, so only the better of the two poles has to be compared with it.
        best = np.where(up >= down, 1, -1)
        return np.asarray(np.where(np.maximum(up, down) > 0, best, 0), np.int64)

    def empty(self) -> Tally:
        """The tally of a user of whom nothing is known."""
        return Tally(len(self.space), self.sources, self.config.half_life)

    def of(self, evidence: Tally, *, explain: bool = False) -> Posterior:
        """The posterior of a tally, in a time that does not depend on the number of its items.

        With `explain` it also names the items behind each direction, which takes a look at all of them.
        """
        tally = evidence
        if tally.answers:
            # An answer couples dimensions, so it needs the posterior by class; items alone need only the marginals,
            # which are cheaper.
            probabilities = self.calibration(self.belief(tally).marginals)
        else:
            probabilities = self.probabilities(tally.counts)[0]
        directions = self.decide(probabilities)
        spoken = np.flatnonzero(directions) if explain else ()
        named = {int(d): ids for d in spoken if (ids := self._behind(tally, int(d), int(directions[d])))}
        return Posterior(tuple(map(tuple, probabilities.tolist())), tuple(directions.tolist()), named, len(tally))

    def belief(self, tally: Tally) -> Belief:
        """What is known by class, after the items and, in the order of their ids, the answers."""
        weights, directions = self.model.posterior(self.evidence(tally.counts))
        belief = Belief(weights[0], directions[0])
        # Assumed-density filtering depends on the order, so the order is fixed: equal evidence gives equal directions.
        for _, answer in sorted(tally.answers.items()):
            difference = np.zeros(len(self.space), np.int64)
            difference[list(answer.dims)] = answer.by
            belief = hear(belief, difference, answer.grade, self.perception)
        return belief

    def of_many(self, evidence: Sequence[Tally]) -> list[Posterior]:
        """`of` for each. Tallies without answers are computed together; answers are heard one by one."""
        posteriors = {i: self.of(tally) for i, tally in enumerate(evidence) if tally.answers}
        plain = [i for i, tally in enumerate(evidence) if not tally.answers]
        if plain:
            probabilities = self.probabilities(join([evidence[i].counts for i in plain]))
            rows = zip(plain, probabilities.tolist(), self.decide(probabilities).tolist(), strict=True)
            for i, row, directions in rows:
                posteriors[i] = Posterior(tuple(map(tuple, row)), tuple(directions), n_items=len(evidence[i]))
        return [posteriors[i] for i in range(len(evidence))]

    def _behind(self, tally: Tally, dim: int, direction: int) -> tuple[str, ...]:
        """Ids of the items that vote for this direction, and by that for it rather than for neutral."""
        # (S, 3): log P(this vote | direction). `told` (S,) is how much one such item of each source favours the
        # direction over neutral.
        logs = np.log(self.model.tables[:, dim, :, direction + 1])
        told = logs[:, direction + 1] - logs[:, 1]
        worth = told * [self.config.weights.get(source, 1.0) for source in self.sources]
        items, answers = tally.entries.items(), tally.answers.items()
        # An item is as strong as the nats by which it favours the direction, faded by its age. An answer has no
        # confusion matrix: its strength is how clear it was, 1 or a half.
        said = [(id_, one.vote(dim), tally.weight(one) * float(worth[one.source])) for id_, one in items]
        return behind([*said, *((id_, one.vote(dim), abs(one.grade) / 2) for id_, one in answers)], direction)

    def resume(self, state: UserState) -> Tally:
        """The tally in a state. Raises `DataError` for another inferrer's state, an older layout, another space."""
        if state.method != self.name:
            raise DataError(f"a state of {state.method!r}, user {state.user_id!r}, was given to {self.name!r}")
        return read_tally(state, len(self.space), self.sources, self.config.half_life)

    def save(self, folder: Path) -> None:
        """config.json, and the model in safetensors."""
        from safetensors.numpy import save_file

        super().save(folder)
        arrays = {"tables": self.model.tables, "classes": self.model.classes, "shares": self.model.shares}
        arrays |= {f"knots{c}": knots for c, knots in enumerate(self.calibration.knots)}
        arrays["temperature"] = np.array([self.calibration.temperature])
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, folder / MODEL)

    def load_learned(self, folder: Path) -> None:
        """Take the model and the calibration that `save` wrote."""
        needed = {"tables": 4, "classes": 3, "shares": 1, "temperature": 1}
        arrays = read_arrays(folder / MODEL, f"the model of {self.name}", needed)
        model = PreferenceModel(self.sources, arrays["tables"], arrays["classes"], arrays["shares"])
        knots = tuple(arrays[f"knots{c}"] for c in range(3) if f"knots{c}" in arrays)
        if len(arrays["temperature"]) != 1 or any(one.ndim != 2 or len(one) != 2 for one in knots):
            raise DataError(f"not the model of {self.name}: its calibration has other shapes", file=folder / MODEL)
        calibration = Calibration(float(arrays["temperature"][0]), knots)
        size = len(self.space)
        # Without this check a model of another space would fail later, inside an array operation.
        if model.tables.shape != (len(self.sources), size, 3, 3):
            raise DataError(f"a model of shape {model.tables.shape} for {size} dimensions", file=folder / MODEL)
        self.model, self.calibration = model, calibration


def generic_model(sources: tuple[str, ...], size: int, held: float) -> PreferenceModel:
    """Before anything was learned: the same rates for every source and dimension, half of `held` at either pole."""
    prior = np.tile([held / 2, 1 - held, held / 2], (1, size, 1))
    return PreferenceModel(sources, np.tile(GENERIC, (len(sources), size, 1, 1)), prior, np.ones(1))


def join(counts: Sequence[EvidenceCounts]) -> EvidenceCounts:
    """The counts of many users in one."""
    return EvidenceCounts(np.concatenate([c.votes for c in counts]), np.concatenate([c.totals for c in counts]))


def _bounded(evidence: Floats, ceiling: float) -> Floats:
    """The same evidence, no direction more than `ceiling` nats below the best."""
    below = evidence - evidence.max(-1, keepdims=True)
    worst = -below.min(-1, keepdims=True)
    # Scaled and not clipped, so that the order of the directions and the ratios of their distances stay. Without any
    # evidence `worst` is 0.
    return np.asarray(below * np.minimum(1.0, ceiling / np.maximum(worst, 1e-12)))
