"""The base of personal methods: states, their parts, and what is learned on training users as new ones."""

from dataclasses import replace

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods import METHODS
from persona_rm.methods.block_directions import block_directions
from persona_rm.methods.gaussian_map import map_estimate
from persona_rm.methods.pairwise import TextPairs, fit_weights, newton
from persona_rm.methods.penalties import choose_penalties
from persona_rm.methods.personal import PersonalMethod
from persona_rm.methods.text_folds import TextFolds
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Pair, Persona
from tests.methods.method_samples import LetterEncoder, ask, rewards

NO_NEW_DIRECTION = {"rater_calibration"}
"""A user is a scale of the pooled reward: who prefers what the population does not know about cannot be served."""
MEMBERS = sorted(name for name in METHODS.table if issubclass(METHODS.load(name), PersonalMethod))


def tastes(n_users: int = 30, n: int = 20, seed: int = 0) -> list[Comparison]:
    """Users of two opposite tastes, on one direction of the letter encoder; texts of 60 prompts."""
    rng, encoder = np.random.default_rng(seed), LetterEncoder()
    hidden = rng.normal(size=16)
    rows = []
    for user in range(n_users):
        sign = 1 if user % 2 else -1
        for i in rng.choice(60, n, replace=False):
            a, b = f"answer {i} a", f"answer {i} b"
            x, y = encoder.encode([a, b]) @ hidden * sign
            first = rng.random() < 1 / (1 + np.exp(-3 * (x - y)))
            rows.append(Comparison(f"u{user}", f"prompt {i}", *((a, b) if first else (b, a))))
    return rows


def made(name: str, space: PreferenceSpace, **config: object) -> PersonalMethod:
    if "updates" in METHODS.load(name).Config.model_fields:
        # Networks: a short training suffices here.
        config = {"updates": 150, "rate": 0.01, **config}
    cls, checked = METHODS.member({"name": name, "features": [{"name": "encoder", "text": "response"}], **config})
    method: PersonalMethod = cls(checked, space, Backends(encoder=LetterEncoder()))
    return method


def history(user: str, rows: list[Comparison]) -> Persona:
    return Persona(user, pairs=tuple(Pair(r.prompt, r.chosen, r.rejected) for r in rows if r.user_id == user))


@pytest.fixture(scope="module")
def rows() -> list[Comparison]:
    return tastes()


@pytest.fixture(scope="module", params=MEMBERS)
def method(request: pytest.FixtureRequest, space: PreferenceSpace, rows: list[Comparison]) -> PersonalMethod:
    fitted = made(request.param, space)
    fitted.fit(rows)
    return fitted


def test_opposite_users_get_opposite_orders(method: PersonalMethod, rows: list[Comparison]) -> None:
    one, two = method.adapt(history("u0", rows)), method.adapt(history("u1", rows))
    states = {"u0": one, "u1": two}
    swapped = {"u0": two, "u1": one}
    own, other, n = 0, 0, 0
    for row in tastes(2, 30):
        for states_of in (states, swapped):
            asked = ask(states_of[row.user_id], row.chosen, row.rejected, prompt=row.prompt)
            [(chosen, rejected)] = rewards(method, asked)
            own += states_of is states and chosen > rejected
            other += states_of is swapped and chosen > rejected
        n += 1
    if method.name in NO_NEW_DIRECTION:
        return
    assert own / n > 0.6
    assert other / n < 0.4


def test_evidence_in_parts_is_evidence_at_once(method: PersonalMethod, rows: list[Comparison]) -> None:
    whole = history("u3", rows)
    state = method.adapt(replace(whole, pairs=whole.pairs[:5]))
    state = method.adapt(replace(whole, pairs=whole.pairs[5:]), state)
    once = method.adapt(whole)
    assert (dict(state.payload), state.n_items, state.version) == (dict(once.payload), 20, 2)


@pytest.mark.parametrize(
    "pairs",
    [
        (Pair("p", "yes", "no"),),
        (Pair("p", "yes", "no"), Pair("p", "no", "yes")),
        tuple(Pair("p", f"yes {i % 7}", f"no {i % 5}") for i in range(10_000)),
        (Pair("p", "", "no"),),
    ],
    ids=["one", "contradiction", "many", "empty response"],
)
def test_odd_histories(method: PersonalMethod, pairs: tuple[Pair, ...]) -> None:
    state = method.adapt(Persona("ann", pairs=pairs))
    assert state.n_items == len(pairs)
    assert len(state.to_json()) < 200_000
    assert np.isfinite(rewards(method, ask(state, "yes", "no", ""))[0]).all()


@pytest.mark.parametrize("pairs", [(), (Pair("p", "x", "x"),), (Pair("p", "a", "b", strength=0),)])
def test_no_evidence_is_the_prior(method: PersonalMethod, pairs: tuple[Pair, ...]) -> None:
    state = method.adapt(Persona("ann", pairs=pairs))
    assert (state.n_items, state.cold, dict(state.payload)) == (0, True, {})
    assert rewards(method, ask(state, "a")) == rewards(method, ask(method.prior(), "a"))


def test_a_state_of_another_fit_is_refused(method: PersonalMethod, space: PreferenceSpace) -> None:
    state = method.adapt(Persona("ann", pairs=(Pair("p", "yes", "no"),)))
    other = made(method.name, space, features=["surface"])
    other.fit(tastes(6, 10))
    with pytest.raises(ScoreError, match=r"numbers where \d+ are expected|fit '\w+' where"):
        rewards(other, ask(state, "x"))
    with pytest.raises(ScoreError, match=r"rows of (27|53)"):
        other.adapt(Persona("ann"), state)
    with pytest.raises(DataError, match="does not hold"):
        rewards(method, ask(replace(state, payload={"n": 1}), "x"))


@pytest.mark.parametrize("kind", ["one user", "one text pair", "one comparison"])
def test_thin_populations_leave_the_pooled_reward(kind: str, space: PreferenceSpace) -> None:
    few = {
        "one user": [replace(row, user_id="u") for row in tastes(2, 10)],
        "one text pair": [Comparison(f"u{i}", "p", *(("a", "b") if i % 2 else ("b", "a"))) for i in range(8)],
        "one comparison": [Comparison("u", "p", "a", "b")],
    }[kind]
    for name in MEMBERS:
        method = made(name, space)
        method.fit(few)
        state = method.adapt(Persona("ann", pairs=(Pair("q", "yes", "no"),)))
        assert np.isfinite(rewards(method, ask(state, "yes", "no"))[0]).all()


def test_the_order_of_the_data_does_not_matter(
    method: PersonalMethod, rows: list[Comparison], space: PreferenceSpace
) -> None:
    again = made(method.name, space)
    again.fit(rows[::-1])
    [one], [two] = (rewards(each, ask(each.adapt(history("u0", rows)), "a", "b")) for each in (method, again))
    assert one == pytest.approx(two, abs=1e-4)


def test_the_mode_is_the_maximum() -> None:
    rng = np.random.default_rng(0)
    rows, margins = rng.normal(size=(12, 5)), rng.normal(size=12)
    covariance = np.diag([1.0, 2.0, 0.5, 1.0, 3.0])
    mode = map_estimate(rows, margins, covariance).mode
    assert mode == pytest.approx(map_estimate(rows, margins, np.diag(covariance)).mode)
    gradient = rows.T @ (1 / (1 + np.exp(margins + rows @ mode))) - np.linalg.solve(covariance, mode)
    assert np.abs(gradient).max() < 1e-6
    # The covariance of Laplace's approximation is the inverse of the Hessian.
    p = 1 / (1 + np.exp(-(margins + rows @ mode)))
    hessian = (rows.T * (p * (1 - p))) @ rows + np.linalg.inv(covariance)
    reduction = map_estimate(rows, margins, covariance).reduction()
    assert covariance - reduction == pytest.approx(np.linalg.inv(hessian), abs=1e-6)


def test_the_ways_of_the_fit_agree() -> None:
    rng = np.random.default_rng(0)
    vectors, n = rng.normal(size=(30, 8)), 4000
    chosen, rejected = rng.integers(30, size=n), rng.integers(30, size=n)
    keep = chosen != rejected
    pairs = TextPairs([("p", str(i)) for i in range(30)], chosen[keep], rejected[keep])
    by_text = fit_weights(vectors, pairs, 0.01, 100)
    assert by_text == pytest.approx(newton(pairs.differences(vectors), 0.01, 100), abs=1e-7)
    left_out = fit_weights(vectors, pairs, np.array([0.01] * 7 + [np.inf]), 100)
    assert left_out[7] == 0
    assert left_out[:7] == pytest.approx(fit_weights(vectors[:, :7], pairs, 0.01, 100))


def test_a_block_of_noise_is_left_out_or_held_down() -> None:
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(200, 3)) / 3**0.5, rng.normal(size=(200, 60)) / 60**0.5
    pairs = [(i, j) for i, j in rng.integers(200, size=(600, 2)) if i != j]
    rows = []
    for i, j in pairs:
        first = rng.random() < 1 / (1 + np.exp(-4 * (signal[i] - signal[j]).sum()))
        rows.append(Comparison("u", f"p{min(i, j) % 20}", *((f"{i}", f"{j}") if first else (f"{j}", f"{i}"))))
    texts = TextPairs.of(rows)
    index = [int(text) for _, text in texts.texts]
    vectors = np.concatenate([signal, noise], axis=1)[index]
    penalties = choose_penalties(vectors, texts, (3, 60), TextFolds.of(rows, texts, 5), 100)
    assert penalties[0] < penalties[1]
    assert penalties[0] < 0.1 < penalties[1]


def test_folds_hold_out_whole_prompts_or_texts() -> None:
    rows = [Comparison("u", f"p{i % 6}", f"a{i}", f"b{i}") for i in range(30)]
    pairs = TextPairs.of(rows)
    folds = TextFolds.of(rows, pairs, 3)
    assert len(folds) == 3
    for seen, held in zip(folds.seen, folds.held, strict=True):
        assert not {rows[i].prompt for i in seen} & {rows[i].prompt for i in held}
    assert sorted(i for held in folds.held for i in held.tolist()) == list(range(30))
    one = [replace(row, prompt="only") for row in rows]
    pairs = TextPairs.of(one)
    folds = TextFolds.of(one, pairs, 3)
    assert len(folds) >= 2
    for seen, held in zip(folds.seen, folds.held, strict=True):
        assert not {t for i in seen for t in (pairs.chosen[i], pairs.rejected[i])} & {
            t for i in held for t in (pairs.chosen[i], pairs.rejected[i])
        }  # fmt: skip


def test_directions_stay_inside_their_block() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    directions = block_directions(vectors, [6, 3], 4)
    assert directions.shape == (9, 7)
    assert not directions[6:, :4].any()
    assert directions[6:, 4:].tolist() == np.eye(3).tolist()
    assert directions.T @ directions == pytest.approx(np.eye(7), abs=1e-9)
