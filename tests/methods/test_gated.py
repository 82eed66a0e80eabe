"""The gate opens for users who differ, and stays shut where users do not."""

from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import MemberError
from persona_rm.methods import METHODS
from persona_rm.methods.gated import Gated
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison
from tests.methods.method_samples import LetterEncoder, ask, rewards
from tests.methods.test_personal import history, made, tastes


def gated(space: PreferenceSpace, rows: list[Comparison], **config: object) -> Gated:
    method = made("gated", space, **config)
    assert isinstance(method, Gated)
    method.fit(rows)
    return method


def alike(n_users: int = 30) -> list[Comparison]:
    """All users answer as a coin falls."""
    rng = np.random.default_rng(1)
    sides = [(f"answer {i} a", f"answer {i} b") for i in range(60)]
    return [
        Comparison(f"u{user}", f"prompt {i}", *(sides[i] if rng.random() < 0.5 else sides[i][::-1]))
        for user in range(n_users)
        for i in rng.choice(60, 20, replace=False)
    ]


def test_users_who_differ_get_their_own_reward(space: PreferenceSpace) -> None:
    rows = tastes()
    method = gated(space, rows)
    weights = [method.user_vector(one)[0] for one in method.read_users([history(f"u{i}", rows) for i in range(10)])]
    assert np.mean(weights) > 0.7


def test_where_users_do_not_differ_all_get_the_pooled_reward(space: PreferenceSpace) -> None:
    rows = alike()
    method = gated(space, rows)
    state = method.adapt(history("u0", rows))
    assert rewards(method, ask(state, "a", "b")) == rewards(method, ask(method.prior(), "a", "b"))


def test_a_user_whom_the_method_mispredicts_gets_less_of_it(space: PreferenceSpace) -> None:
    """The bar is open; one user is consistent, the other contradicts itself."""
    rows = tastes()
    method = gated(space, rows, bar=0.0)
    [clear] = method.read_users([history("u1", rows)])
    coin = clear.at(slice(None))
    signs = np.where(np.arange(len(coin)) % 2 == 0, 1.0, -1.0)
    torn = type(coin)(coin.differences * signs[:, None], coin.margins * signs)
    assert method.probability(torn) < method.probability(clear)


def test_the_inner_method_is_saved(space: PreferenceSpace, tmp_path: Path) -> None:
    rows = tastes()
    method = gated(space, rows, method={"name": "centroid"}, bar=0.0)
    method.save(tmp_path)
    again = Gated.load(tmp_path, space, Backends(encoder=LetterEncoder()))
    state = again.adapt(history("u0", rows))
    assert state == method.adapt(history("u0", rows))
    assert rewards(again, ask(state, "a", "b")) == rewards(method, ask(state, "a", "b"))


@pytest.mark.parametrize("inner", ["bradley_terry", "gated", "pba_linear"])
def test_only_personal_methods_on_features_are_gated(inner: str) -> None:
    with pytest.raises(MemberError, match=f"{inner} is no personal method on features"):
        METHODS.member({"name": "gated", "method": inner})
