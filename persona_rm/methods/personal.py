"""The base of personal methods on features: the pooled reward, plus what a user's own comparisons add to it.

    r(u, x, y) = w . f(x, y) + added(v_u, z(x, y)),     v_u = user_vector(the user's comparisons)

f are the standardised features and w the pooled reward (`pooled`); z are the principal directions of each block of f,
so that a user is described by tens of numbers and not by hundreds. A method says three things, each a pure function of
arrays: what it learns from the population (`learn`), what a user's comparisons become (`user_vector`), and what that
adds to a reward (`added`; linear by default). All the rest stands here: reading texts, cross-validation over texts,
states, incremental `adapt`, batches, saving.

Hyper-parameters are chosen on training users alone. `Episode`s treat each of them as a new user: comparisons under
some texts are shown, those under other texts are held out, and the pooled reward behind both was fitted without the
held-out texts.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field

from persona_rm.backends.base import Vectors
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods.base import Control
from persona_rm.methods.block_directions import block_directions
from persona_rm.methods.coded_arrays import CODED, decoded, encoded
from persona_rm.methods.episodes import Episode, Population, UserRows, least_loss, rows_at, whole_users
from persona_rm.methods.pairwise import Floats, TextPairs
from persona_rm.methods.pooled import FeatureList, PooledConfig, PooledMethod
from persona_rm.methods.states import next_version
from persona_rm.methods.text_folds import TextFolds
from persona_rm.types import Comparison, Persona, RewardRequest, RewardResult, UserState

T = TypeVar("T")


class PersonalConfig(PooledConfig):
    """`rank`: the principal directions of each block of features that a user is described by (a block with fewer
    columns keeps them all). `memory`: a state keeps its newest so many comparisons. `validation`: what is learned
    about users is learned on whole users with at most so many comparisons together.
    """

    features: FeatureList = Field(default=("encoder", "surface"), validate_default=True)
    l2: float | None = Field(None, gt=0)
    rank: int = Field(32, ge=1)
    memory: int = Field(256, ge=1)
    validation: int = Field(20_000, gt=0)


class PersonalMethod(PooledMethod):
    """What every personal method on features shares. A member defines `user_vector`, and `learn` if it learns."""

    Config: ClassVar[type[Config]] = PersonalConfig
    controls: ClassVar[frozenset[Control]] = frozenset({"history", "shuffled", "no_user"})
    projection: Floats | None = None
    """z = f projection, shape (width, q)."""
    personal_arrays: ClassVar[tuple[str, ...]] = ()
    """The attributes that `learn` sets to arrays of numbers; they are saved and loaded."""

    def __init_subclass__(cls, **extra: object) -> None:
        super().__init_subclass__(**extra)
        cls.learned = (*PooledMethod.learned, "projection", *cls.personal_arrays)

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Learn the population's part: `users` are the training users with all their comparisons, `episodes` the same
        users as new ones. Sets the attributes `personal_arrays`. The default learns nothing."""

    @abstractmethod
    def user_vector(self, rows: UserRows) -> Floats:
        """v_u from one or more comparisons, shape (p,). A pure function of `rows` and of what was learned."""

    def added(self, vector: Floats, features: Floats, pooled: Floats) -> Floats:
        """What the user adds to the pooled reward of responses with these z, shape (n, q), in log-odds: shape (n,).

        `pooled` are their pooled rewards, shape (n,). The default is z . v_u, and is linear: the personal part of a
        difference is the difference of the personal parts. A method that is not linear overrides `margin` too.
        """
        # Row by row, because a matrix product rounds differently for other batch sizes.
        return np.asarray((features * vector).sum(1))

    def margin(self, vector: Floats, rows: UserRows) -> Floats:
        """r(chosen) - r(rejected) for the user of this vector, shape (n,)."""
        return rows.margins + self.added(vector, rows.differences, rows.margins)

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Learn w, the principal directions, and the population's part. Raises as `bradley_terry` does."""
        pairs, vectors = self.fit_pooled(comparisons)
        widths = self.widths.tolist() if self.widths is not None else []
        self.projection = block_directions(vectors, widths, self.config.rank)
        rows = whole_users(comparisons, self.config.validation)
        population = Population([comparisons[row] for row in rows], pairs.rows(rows), vectors @ self.projection)
        folds = TextFolds.of(population.comparisons, population.pairs, self.config.folds)
        episodes = population.episodes(
            folds, lambda seen: vectors @ self.refitted(vectors, population.pairs.rows(seen))
        )  # fmt: skip
        self.learn(population.users(vectors @ self.fitted_weights), episodes)

    @property
    def block_sizes(self) -> list[int]:
        """How many columns of z each block of features has."""
        widths = [] if self.widths is None else self.widths.tolist()
        return [min(width, self.config.rank) for width in widths]

    def choose(self, settings: Sequence[T], episodes: Sequence[Episode], apply: Callable[[T], None]) -> T:
        """The setting under which held-out comparisons of episodes are most probable; the first one if there are none.

        `apply` makes a setting take effect; the chosen one is in effect afterwards. Put the setting that adds least to
        the pooled reward first: it is kept unless another one lowers the loss by more than one standard error of the
        difference (by user).
        """
        losses = []
        for setting in settings:
            apply(setting)
            losses.append(self.episode_losses(episodes))
        best = least_loss(losses, episodes)
        apply(settings[best])
        return settings[best]

    def episode_losses(self, episodes: Sequence[Episode]) -> Floats:
        """Mean log loss of the held-out comparisons of each episode, in nats, shape (episodes,)."""
        return np.array([
            float(np.logaddexp(0, -self.margin(self.user_vector(one.shown), one.held)).mean()) for one in episodes
        ])  # fmt: skip

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The user's vector from all comparisons, those behind `state` too. Ties and equal responses are ignored."""
        version = next_version(self.name, evidence, state)
        [new] = self.read_users([evidence])
        return self._state(evidence.user_id, new, version, state)

    def adapt_all(self, evidence: Sequence[Persona]) -> list[UserState]:
        """The state of each user; a text that many of them compared is read once."""
        read = self.read_users(evidence)
        return [self._state(one.user_id, rows, 1, None) for one, rows in zip(evidence, read, strict=True)]

    def read_users(self, evidence: Sequence[Persona]) -> list[UserRows]:
        """The comparisons of each user, in order. Raises `ScoreError` naming the user if a feature is not finite."""
        decided = [(row, pair) for row, one in enumerate(evidence) for pair in one.pairs if pair.is_decided]
        pairs = TextPairs.of([Comparison("", pair.prompt, pair.chosen, pair.rejected) for _, pair in decided])
        vectors, users = self.standardised(pairs.texts), np.array([row for row, _ in decided], np.int64)
        if not np.isfinite(vectors).all():
            broken = np.asarray(~np.isfinite(vectors).all(1))
            first = int(users[np.flatnonzero(broken[pairs.chosen] | broken[pairs.rejected])[0]])
            raise ScoreError(f"a feature is not finite for user {evidence[first].user_id!r}")
        reduced, pooled = vectors @ self._fitted_projection, (vectors * self.fitted_weights).sum(1)
        # Users come in order, so each one's comparisons are one slice.
        ends = np.cumsum(np.bincount(users, minlength=len(evidence))).tolist()
        slices = [np.arange(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        return [rows_at(pairs, part, reduced, pooled) for part in slices]

    @property
    def both_sides(self) -> bool:
        """True if the method reads both responses of a comparison (`UserRows.sides`); states then keep them."""
        return False

    @property
    def _fitted_projection(self) -> Floats:
        if self.projection is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        return self.projection

    def _state(self, user: str, new: UserRows, version: int, before: UserState | None) -> UserState:
        old, n_before = (None, 0) if before is None else self._kept(before)
        columns = [new.differences, new.margins, *([new.sides[1]] if self.both_sides else [])]
        rows = np.column_stack(columns).astype(CODED)
        if old is not None:
            rows = np.concatenate([old, rows])
        n, rows = n_before + len(new), rows[-self.config.memory :]
        if not n:
            return UserState(self.name, user, {}, 0, version)
        # From the numbers that are stored, so that evidence in parts gives the state of all evidence at once.
        kept, q = rows.astype(np.float64), new.differences.shape[1]
        vector = self.user_vector(
            UserRows(kept[:, :q], kept[:, q], kept[:, q + 1 :] if self.both_sides else None)
        )  # fmt: skip
        payload = {"vector": encoded(vector), "rows": encoded(rows), "n": n}
        return UserState(self.name, user, payload, n, version)

    def _kept(self, state: UserState) -> tuple[Floats | None, int]:
        """The comparisons in a state, and how many there were. Raises `DataError`, or `ScoreError` by the width."""
        if not state.payload:
            return None, 0
        flat = decoded(state, "rows")
        width = self._fitted_projection.shape[1] * (2 if self.both_sides else 1) + 1
        if len(flat) % width or not len(flat):
            raise self._foreign(state, f"{len(flat)} numbers in rows of {width}")
        n = state.payload.get("n")
        if type(n) is not int or n < 1:
            raise DataError(f"the state of user {state.user_id!r} does not hold {self.name}'s comparisons: n is {n!r}")
        return flat.reshape(-1, width).astype(CODED), n

    def kept_rows(self, state: UserState) -> UserRows:
        """The newest comparisons behind a state; none for an unknown user. Raises as `adapt` does."""
        rows, _ = self._kept(state)
        if rows is None:
            return UserRows(np.zeros((0, self._fitted_projection.shape[1])), np.zeros(0))
        return UserRows(rows[:, :-1].astype(np.float64), rows[:, -1].astype(np.float64))

    def _foreign(self, state: UserState, what: str) -> ScoreError:
        return ScoreError(
            f"the state of user {state.user_id!r} has {what}, which is not of this fit of {self.name}: adapt the user "
            "again"
        )

    def vector_of(self, state: UserState) -> Floats | None:
        """The user's vector; None for an unknown user. Raises `DataError` for a payload of another kind, `ScoreError`
        for one of another fit."""
        if not state.payload:
            return None
        vector, expected = decoded(state, "vector"), self.vector_size
        if len(vector) != expected:
            raise self._foreign(state, f"a vector of {len(vector)} numbers where {expected} are expected")
        return vector

    @property
    def vector_size(self) -> int:
        """The length of a user's vector; that of z by default."""
        return int(self._fitted_projection.shape[1])

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The pooled and the personal part of every response. Raises `ScoreError` as `bradley_terry` does."""
        vectors, pooled = self.read(requests)
        reduced, values = self._reduced(requests, vectors), np.asarray(pooled)
        rows_of: dict[int, list[int]] = {}
        for row, state in enumerate(states):
            rows_of.setdefault(id(state), []).append(row)
        personal: list[float | None] = [None] * len(requests)
        for rows in rows_of.values():
            vector = self.vector_of(states[rows[0]])
            if vector is not None:
                for row, value in zip(rows, self.added(vector, reduced[rows], values[rows]).tolist(), strict=True):
                    personal[row] = value
        results = []
        for state, request, base, own in zip(states, requests, pooled, personal, strict=True):
            parts = {"pooled": base} if own is None else {"pooled": base, "personal": own}
            results.append(self.result(state, request, sum(parts.values()), parts))
        return results

    def _reduced(self, requests: Sequence[RewardRequest], vectors: Vectors) -> Floats:
        """z of the responses. Equal texts get equal numbers to the last digit: each is multiplied once."""
        place: dict[tuple[str, str], int] = {}
        first: list[int] = []
        index = []
        for row, request in enumerate(requests):
            key = (request.prompt_text, request.response)
            if key not in place:
                place[key] = len(first)
                first.append(row)
            index.append(place[key])
        return np.asarray((vectors[first] @ self._fitted_projection)[index])
