"""The echo-chamber monitor: does the policy earn its rewards by agreeing with users? It changes no reward.

A reward per user removes the averaging that holds sycophancy in check; a system can then learn to flatter each user
as recommender systems do. Two numbers say how far it went.

*Agreement* of a sample is r_user - r_prior: what the method's reward for this user adds to its reward for an unknown
user, both as the method gave them. `echo_r2` is the squared correlation of the reward that was given (after
every other step) with it, over all samples so far: 0 if agreeing pays nothing, 1 if nothing else pays.

*Drift* of a user is (their mean - the mean of all samples) / the standard deviation of all samples, of the reward
that was given (`drift`) and of the method's (`drift_raw`; standardising by user hides it in the other). It is 0 until
the user has `minimum` samples, and for unknown users. The host averages each log over samples, where signs cancel:
read the `_abs` ones there.
"""

from collections.abc import Mapping
from typing import Any

from persona_rm.bundle.postprocess_config import PostprocessConfig
from persona_rm.errors import DataError
from persona_rm.serving.postprocess.running_statistics import Joint, Running, RunningTable


class Drift:
    """How far each user's mean is from the mean of all, in standard deviations of all."""

    def __init__(self, config: PostprocessConfig) -> None:
        self.config, self.users, self.every = config, RunningTable(config.users), Running()

    def seen(self, user: str | None, reward: float) -> float:
        """The user's drift, this sample included."""
        self.every = self.every.plus(reward, self.config.memory)
        # For an unknown user `add` returns empty statistics, and a count of 0 gives a drift of 0.
        own = self.users.add(user, reward, self.config.memory)
        if own.count < self.config.minimum or not self.every.std:
            return 0.0
        return (own.mean - self.every.mean) / self.every.std

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"every": self.every.to_json(), "users": self.users.to_json()}

    def restore(self, given: object) -> None:
        """The inverse. Raises `DataError`."""
        saved = part(given, "every", "users")
        every, users = Running.from_json(saved["every"]), RunningTable.from_json(saved["users"], self.config.users)
        self.every, self.users = every, users


class Monitor:
    """Sees every sample after the last step."""

    def __init__(self, config: PostprocessConfig) -> None:
        self.config, self.echo = config, Joint()
        self.drift, self.drift_raw = Drift(config), Drift(config)

    def seen(self, user: str | None, raw: float, prior: float, reward: float) -> dict[str, float]:
        """The logs of one sample, this sample included."""
        # Agreement is of the method's own rewards; what it earns is of the reward that is given.
        self.echo = self.echo.plus(raw - prior, reward, self.config.memory)
        drift, drift_raw = self.drift.seen(user, reward), self.drift_raw.seen(user, raw)
        return {
            "agreement": raw - prior,
            "echo_r2": self.echo.r2,
            "drift": drift,
            "drift_abs": abs(drift),
            "drift_raw": drift_raw,
            "drift_raw_abs": abs(drift_raw),
        }

    def forget(self, user: str) -> None:
        """Forget the statistics of this user; those of all users stay."""
        self.drift.users.forget(user)
        self.drift_raw.users.forget(user)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "echo": self.echo.to_json(), "drift": self.drift.to_json(), "drift_raw": self.drift_raw.to_json(),
        }  # fmt: skip

    def restore(self, given: object) -> None:
        """The inverse. Raises `DataError`."""
        saved = part(given, "echo", "drift", "drift_raw")
        self.echo = Joint.from_json(saved["echo"])
        self.drift.restore(saved["drift"])
        self.drift_raw.restore(saved["drift_raw"])


def part(given: object, *keys: str) -> Mapping[str, Any]:
    """A mapping with these keys. Raises `DataError` naming those it lacks."""
    if not isinstance(given, Mapping) or (missing := [key for key in keys if key not in given]):
        raise DataError(f"the saved statistics lack {missing if isinstance(given, Mapping) else list(keys)}")
    return given
