"""Bad input to personal methods, over every member: refused with a reason, or read as what it is worth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from persona_rm.backends.base import Backends, Vectors
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods import METHODS
from persona_rm.methods.personal import PersonalMethod
from persona_rm.methods.trained import TrainedMethod
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Pair, Persona, UserState
from tests.methods.method_samples import FAULT, ask, rewards, score
from tests.methods.test_personal import MEMBERS, history, made, tastes

LIKES = Pair("p", "yes", "no")
FITTED_PER_USER = [name for name in MEMBERS if not issubclass(METHODS.load(name), TrainedMethod)]
"""Members that fit a user with a penalty. A trained network promises no distance between a user and its prior."""


@pytest.fixture(scope="module", params=MEMBERS)
def method(request: pytest.FixtureRequest, space: PreferenceSpace) -> PersonalMethod:
    fitted = made(request.param, space)
    fitted.fit(tastes(12, 12))
    return fitted


@pytest.mark.parametrize(
    "pairs",
    [
        (replace(LIKES, strength=0),) * 4,
        (Pair("p", "same", "same"),) * 4,
        (Pair("p", "", ""),),
    ],
    ids=["only ties", "identical responses", "two empty responses"],
)
def test_what_says_nothing_changes_nothing(method: PersonalMethod, pairs: tuple[Pair, ...]) -> None:
    ann = Persona("ann", pairs=(LIKES,))
    state = method.adapt(ann)
    more = method.adapt(Persona("ann", pairs=pairs), state)
    assert (dict(more.payload), more.n_items, more.version) == (dict(state.payload), 1, 2)
    assert method.adapt(Persona("bob", pairs=pairs)).cold


@pytest.mark.parametrize("method", FITTED_PER_USER, indirect=True)
def test_a_user_who_contradicts_themselves_is_nearer_to_the_prior(method: PersonalMethod) -> None:
    once = method.adapt(Persona("ann", pairs=(LIKES,) * 3))
    both = method.adapt(Persona("ann", pairs=(LIKES, Pair("p", "no", "yes")) * 3))
    assert both.n_items == 6
    [one], [two], [prior] = ([a - b for a, b in rewards(method, ask(state, "yes", "no"))]
                             for state in (once, both, method.prior()))  # fmt: skip
    assert abs(two - prior) <= abs(one - prior) + 1e-9 or np.sign(two - prior) == -np.sign(prior)


def test_one_comparison_said_ten_thousand_times_is_bounded(method: PersonalMethod) -> None:
    state = method.adapt(Persona("ann", pairs=(LIKES,) * 10_000))
    assert state.n_items == 10_000
    assert np.isfinite(rewards(method, ask(state, "yes", "no", ""))[0]).all()


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_feature_that_is_not_finite_names_the_user(method: PersonalMethod, side: str) -> None:
    broken = Pair("p", FAULT, "no") if side == "chosen" else Pair("p", "yes", FAULT)
    with pytest.raises(ScoreError, match="not finite for user 'bob'"):
        method.adapt_all([Persona("ann", pairs=(LIKES,)), Persona("bob", pairs=(LIKES, broken))])
    state = method.adapt(Persona("ann", pairs=(LIKES,)))
    with pytest.raises(ScoreError) as caught:
        score(method, ask(state, "fine", FAULT))
    assert caught.value.rows == (1,)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_fit_on_features_that_are_not_finite_names_the_rows(name: str, space: PreferenceSpace) -> None:
    rows = tastes(4, 6)
    rows[5] = replace(rows[5], chosen=FAULT)
    with pytest.raises(ScoreError, match="not finite") as caught:
        made(name, space).fit(rows)
    assert caught.value.rows == (5,)
    with pytest.raises(DataError, match="was given none"):
        made(name, space).fit([])


def test_a_state_of_another_method_is_refused(method: PersonalMethod) -> None:
    foreign = replace(method.adapt(Persona("ann", pairs=(LIKES,))), method="other")
    with pytest.raises(ScoreError, match=rf"'other' was given to '{method.name}'"):
        score(method, ask(foreign, "x"))
    with pytest.raises(DataError, match="'other'"):
        method.adapt(Persona("ann", pairs=(LIKES,)), foreign)


def test_features_of_another_width_are_refused_with_both_numbers(
    method: PersonalMethod, space: PreferenceSpace
) -> None:
    class Narrow:
        def encode(self, texts: Sequence[str]) -> Vectors:
            return np.ones((len(texts), 3), np.float32)

    state = method.adapt(Persona("ann", pairs=(LIKES,)))
    own = method.backends
    method.backends = Backends(encoder=Narrow())
    try:
        with pytest.raises(ScoreError, match=r"give 3 numbers, the saved weights are 16"):
            score(method, ask(state, "x"))
        with pytest.raises(ScoreError, match=r"give 3 numbers, the saved weights are 16"):
            method.adapt(Persona("ann", pairs=(LIKES,)))
    finally:
        method.backends = own


def test_an_unknown_user_gets_the_pooled_reward(method: PersonalMethod) -> None:
    known = UserState(method.name, "never seen")
    for state in (known, method.prior()):
        [result] = score(method, ask(state, "an answer"))[0]
        assert (result.status, set(result.trace.parts)) == ("cold", {"pooled"})


@pytest.mark.parametrize("kind", ["one user", "all texts the same", "every comparison in both orders"])
@pytest.mark.parametrize("name", MEMBERS)
def test_populations_that_teach_nothing_about_users(name: str, kind: str, space: PreferenceSpace) -> None:
    rows = {
        "one user": [replace(row, user_id="u") for row in tastes(4, 8)],
        "all texts the same": [Comparison(f"u{i}", "p", "same text", "same text") for i in range(12)],
        "every comparison in both orders": [
            both for row in tastes(4, 6) for both in (row, replace(row, chosen=row.rejected, rejected=row.chosen))
        ],
    }[kind]
    method = made(name, space)
    method.fit(rows)
    state = method.adapt(Persona("ann", pairs=(LIKES,)))
    assert np.isfinite(rewards(method, ask(state, "yes", "no", ""))[0]).all()


def test_a_forgotten_user_was_never_seen(method: PersonalMethod) -> None:
    """A state is all that is kept of a new user: without it the user is unknown, and a new start is a first start."""
    rows = tastes(3, 10)
    first = method.adapt(history("u0", rows))
    for _ in range(2):
        method.adapt(history("u1", rows))
    assert method.adapt(history("u0", rows)) == first
    assert rewards(method, ask(UserState(method.name, "u0"), "x")) == rewards(method, ask(method.prior(), "x"))
