"""The base of personal methods whose population part is a small network, trained on users as tasks.

    r(u, x, y) = w . f(x, y) + added(v_u, z(x, y)),     v_u = user_vector(the user's comparisons)

The pooled reward w stays fixed; the network is trained on what it leaves (`user_tasks`), by Adam with a fixed seed on
one thread of torch. A fifth of the training users are left out of the training, and the network is kept as it was when
their held-out comparisons were most probable. With fewer than ten users none is left out.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.errors import ScoreError
from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.network import (
    Net,
    Shapes,
    TensorAdam,
    distinct_rows,
    drawn_parameters,
    one_thread,
    packed_parameters,
    unpacked_parameters,
)
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.personal import PersonalConfig, PersonalMethod
from persona_rm.methods.user_tasks import Shaped, TaskBatch, Tensor, UserTasks, shaped
from persona_rm.types import UserState, content_id

FEWEST_USERS = 10
"""From so many training users on a fifth of them is left out, to say when to stop."""
CHECKS = 8
"""How often the left-out users are asked during the training."""
MOST_CHECKED = 48
"""Most episodes of left-out users that a check reads."""


class TrainedConfig(PersonalConfig):
    """`hidden`: the width of hidden layers. Training: `updates` of Adam with learning rate `rate` and weight decay
    `decay`, each on `batch` users, from the seed `seed`."""

    hidden: int = Field(32, ge=1)
    updates: int = Field(400, ge=1)
    rate: float = Field(3e-3, gt=0)
    decay: float = Field(1e-3, ge=0)
    batch: int = Field(32, ge=1)
    seed: int = 0


class TrainedMethod(PersonalMethod):
    """A member defines the `shapes` of its network, its `loss`, its `vector`, and the `reward` it adds."""

    personal_arrays: ClassVar[tuple[str, ...]] = ("network", "unit")
    network: Floats | None = None
    """The parameters, flat; empty if there was nothing to train on: then the reward is the pooled one."""
    unit: Floats | None = None
    """One number: the inputs of the network are z times it, of mean square 1 on the training comparisons."""

    _open: tuple[Floats, Net, str] | None = None

    @abstractmethod
    def shapes(self, users: int) -> Shapes:
        """The parameters of the network. `users`: the training users, for parameters of their own; 0 for inference."""

    @abstractmethod
    def loss(self, net: Net, batch: TaskBatch, draw: np.random.Generator) -> Tensor:
        """The loss of a batch of tasks, in nats, a scalar."""

    @abstractmethod
    def vector(self, net: Net, rows: Shaped) -> Tensor:
        """v_u of each user from the comparisons shown, shape (B, p)."""

    @abstractmethod
    def reward(self, net: Net, vectors: Tensor, responses: Tensor) -> Tensor:
        """What users add to the pooled reward of responses, in log-odds: (B, p) and (B, K, q) to (B, K)."""

    def margins(self, net: Net, vectors: Tensor, rows: Shaped) -> Tensor:
        """r(chosen) - r(rejected), shape (B, K)."""
        return rows.margins + self.reward(net, vectors, rows.chosen) - self.reward(net, vectors, rows.rejected)

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Train the network. Without episodes there is none, and the reward is the pooled one."""
        self.network, self.unit = np.zeros(0), np.ones(1)
        if not episodes:
            return
        size = np.mean([np.mean(one.held.differences**2) for one in episodes])
        self.unit = np.array([1 / max(float(size) ** 0.5, 1e-6)])
        every = sorted({one.user for one in episodes})
        left_out = set(every[::5]) if len(every) >= FEWEST_USERS else set()
        training = [self._scaled_episode(one) for one in episodes if one.user not in left_out]
        checked = [one for one in episodes if one.user in left_out]
        with one_thread():
            self._train(UserTasks(training), checked[:: len(checked) // MOST_CHECKED + 1])

    def _train(self, tasks: UserTasks, checked: Sequence[Episode]) -> None:
        """Adam; keeps the network under which the held-out comparisons of `checked` are most probable."""
        rng = np.random.default_rng(self.config.seed)
        kept, trained = self.shapes(0), self.shapes(len(tasks))
        net = unpacked_parameters(drawn_parameters(trained, rng), trained)
        for tensor in net.values():
            tensor.requires_grad_()
        optimiser = TensorAdam(list(net.values()), self.config.rate, self.config.decay)
        best = np.inf
        for update in range(1, self.config.updates + 1):
            optimiser.step(self.loss(net, tasks.batch(rng, self.config.batch), rng))
            last = update == self.config.updates
            if last or update % max(1, self.config.updates // CHECKS) == 0:
                before, self.network = self.network, packed_parameters(net, kept)
                loss = self.episode_losses(checked).mean() if checked else -update
                if loss < best:
                    best = loss
                else:
                    self.network = before
        if not self.is_trained:
            problem = f"the loss of its training is not finite: lower `rate` (now {self.config.rate})"
            raise ScoreError(f"{self.name}: {problem}")

    @property
    def is_trained(self) -> bool:
        """False before `fit`, and if there was nothing to train on."""
        return self.network is not None and len(self.network) > 0

    @property
    def both_sides(self) -> bool:
        """True: networks are not linear."""
        return True

    @property
    def net(self) -> Net:
        """The named parameters of the trained network."""
        return self._opened()[1]

    @property
    def fingerprint(self) -> str:
        """A hash of what was trained: a vector means something to this network alone, whatever its length."""
        return self._opened()[2] if self.is_trained else "untrained"

    def _opened(self) -> tuple[Floats, Net, str]:
        """The flat network, its tensors and its hash, made once per network."""
        if self.network is None or not self.is_trained:
            raise ValueError(f"{self.name} has no network: there was nothing to train on")
        if self._open is None or self._open[0] is not self.network:
            net = unpacked_parameters(self.network, self.shapes(0))
            self._open = (self.network, net, content_id(self.network.tobytes().hex()))
        return self._open

    def _state(self, user: str, new: UserRows, version: int, before: UserState | None) -> UserState:
        state = super()._state(user, new, version, before)
        return replace(state, payload={**state.payload, "fit": self.fingerprint}) if state.payload else state

    def _kept(self, state: UserState) -> tuple[Floats | None, int]:
        kept = super()._kept(state)
        self._check_fit(state)
        return kept

    def vector_of(self, state: UserState) -> Floats | None:
        """The user's vector; None for an unknown user. Raises `DataError` and `ScoreError` as the base does, and
        `ScoreError` for a state of a network that was trained at another time."""
        vector = super().vector_of(state)
        self._check_fit(state)
        return vector

    def _check_fit(self, state: UserState) -> None:
        if state.payload and state.payload.get("fit") != self.fingerprint:
            raise self._foreign(state, f"the fit {state.payload.get('fit')!r} where {self.fingerprint!r} is expected")

    @property
    def scale(self) -> float:
        """What z is multiplied by for the network."""
        return 1.0 if self.unit is None else float(self.unit[0])

    def _scaled_episode(self, one: Episode) -> Episode:
        return Episode(one.user, self._scaled(one.shown), self._scaled(one.held))

    def _scaled(self, rows: UserRows) -> UserRows:
        return UserRows(rows.differences * self.scale, rows.margins, rows.sides[1] * self.scale)

    def shaped_rows(self, rows: UserRows) -> Shaped:
        """A user's comparisons as the network reads them."""
        return shaped(*self._scaled(rows).sides, rows.margins)

    def user_vector(self, rows: UserRows) -> Floats:
        """v_u, shape (p,); zeros without a network."""
        import torch

        if not self.is_trained:
            return np.zeros(self.vector_size)
        with torch.no_grad():
            vector = self.vector(self.net, self.shaped_rows(rows))
        return np.asarray(vector.numpy()[0], np.float64)

    def added(self, vector: Floats, features: Floats, pooled: Floats) -> Floats:
        """What the user adds to the pooled reward, shape (n,)."""
        import torch

        if not self.is_trained or not len(features):
            return np.zeros(len(features))
        rows, index = distinct_rows(features * self.scale)
        with torch.no_grad():
            values = self.reward(self.net, torch.from_numpy(vector[None].copy()), torch.from_numpy(rows[None]))[0]
        return np.asarray(values.numpy()[index], np.float64)

    def margin(self, vector: Floats, rows: UserRows) -> Floats:
        """r(chosen) - r(rejected) for the user of this vector, shape (n,)."""
        chosen, rejected = rows.sides
        both = self.added(vector, np.concatenate([chosen, rejected]), np.zeros(2 * len(rows)))
        return np.asarray(rows.margins + both[: len(rows)] - both[len(rows) :])
