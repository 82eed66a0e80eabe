"""The population part is judged on users and texts that it has not seen."""

import numpy as np
import pytest

from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.pairwise import Floats
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import letter_backends
from tests.methods.test_personal import made, tastes


class Recorder(CrossFitMethod):
    """Keeps what it was taught, and rewards every user along the first column."""

    name = "recorder"

    def learn_population(self, users: list[UserRows]) -> None:  # type: ignore[override]
        self.__dict__.setdefault("taught", []).append([one.margins[0] for one in users])

    def direction(self, rows: UserRows, variant: float) -> Floats:
        return np.array([self.worth, 0.0])

    worth = 1.0
    vector_size = 2


def user_rows(user: int, margin: float = 0.0) -> UserRows:
    """Two comparisons that name their user in the margin."""
    return UserRows(np.array([[1.0, 0.0]] * 2), np.array([user + margin] * 2))


def recorder(space: PreferenceSpace, worth: float, **config: object) -> Recorder:
    method = Recorder(CrossFitConfig(**config), space, letter_backends(space))
    method.worth = worth
    return method


def episodes(folds: int = 2) -> list[Episode]:
    every = []
    for fold in range(folds):
        population = [user_rows(user, fold / 10) for user in range(6)]
        every += [
            Episode(user, population[user], UserRows(np.array([[1.0, 0.0]]), np.zeros(1)), population)
            for user in range(6)
        ]  # fmt: skip
    return every


def test_left_out_users_are_not_taught(space: PreferenceSpace) -> None:
    method = recorder(space, 1.0)
    method.learn([user_rows(user) for user in range(6)], episodes())
    # The users of fold 0 who are judged are 0, 2, 4; those of fold 1 are 1, 3, 5; then all are taught.
    assert method.__dict__["taught"] == [[1.0, 3.0, 5.0], [0.1, 2.1, 4.1], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


@pytest.mark.parametrize(("worth", "factor"), [(1.0, 1.5), (-1.0, 0.0), (0.0, 0.0)])
def test_the_factor_is_what_left_out_users_bear_out(space: PreferenceSpace, worth: float, factor: float) -> None:
    method = recorder(space, worth)
    method.learn([user_rows(user) for user in range(6)], episodes())
    assert method.strength is not None
    assert method.strength.tolist() == [factor, 0.0]
    assert method.user_vector(user_rows(0)).tolist() == [factor * worth, 0.0]


def test_without_episodes_the_reward_is_pooled(space: PreferenceSpace) -> None:
    method = recorder(space, 1.0)
    method.learn([user_rows(0)], [])
    assert method.user_vector(user_rows(0)).tolist() == [0.0, 0.0]
    given = recorder(space, 1.0, scale=0.5)
    given.learn([user_rows(0)], [])
    assert given.user_vector(user_rows(0)).tolist() == [0.5, 0.0]


def test_an_episode_knows_its_population_without_the_held_texts(space: PreferenceSpace) -> None:
    seen: list[Episode] = []
    method = made("knn_users", space)
    method.learn = lambda users, episodes: seen.extend(episodes)  # type: ignore[method-assign]
    rows = tastes(6, 12)
    method.fit(rows)
    assert seen
    for one in seen:
        assert len(one.population) == 6
        assert sum(len(user) for user in one.population) < len(rows)
        held = {tuple(row) for row in one.held.differences.tolist()}
        taught = {tuple(row) for user in one.population for row in (user.differences.tolist())}
        assert not held & taught
