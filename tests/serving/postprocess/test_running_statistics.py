import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.serving.postprocess import PostprocessConfig, Postprocessor
from persona_rm.serving.postprocess.running_statistics import Joint, Running, RunningTable
from tests.serving.postprocess.postprocess_samples import applied, raw

CALM = settings(deadline=None, max_examples=50, database=None)
VALUES = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=50)
LOG = "persona_rm/postprocess/"


def running(values, memory=None):
    made = Running()
    for value in values:
        made = made.plus(value, memory)
    return made


@CALM
@given(VALUES)
def test_mean_and_variance_are_numpys(values):
    made = running(values)
    assert made.count == len(values)
    assert made.mean == pytest.approx(np.mean(values), abs=1e-7)
    assert made.var == pytest.approx(np.var(values), rel=1e-6, abs=1e-6)


@CALM
@given(VALUES, st.randoms())
def test_the_order_of_values_does_not_matter(values, random):
    shuffled = random.sample(values, len(values))
    assert running(values).mean == pytest.approx(running(shuffled).mean, abs=1e-7)
    assert running(values).var == pytest.approx(running(shuffled).var, rel=1e-6, abs=1e-6)


def test_small_spreads_on_a_large_mean_survive():
    values = 1e6 + np.random.default_rng(0).normal(size=1000)
    assert running(values).std == pytest.approx(values.std(), rel=1e-6)


def test_a_spread_that_is_rounding_is_none():
    assert Running(5, 1e6, 1e-8).std == 0.0
    assert Running(5, 0.0, 1e-8).std == 1e-4


def test_with_a_memory_old_values_fade():
    made = running([0.0] * 50 + [1.0] * 200, memory=20)
    assert made.count == 20
    assert made.mean == pytest.approx(1 - (19 / 20) ** 200)
    assert running([1.0, 2.0, 3.0], memory=3) == running([1.0, 2.0, 3.0])


def test_shrinking_is_by_weight():
    own, every = Running(4, 10.0, 4.0), Running(100, 0.0, 1.0)
    assert own.toward(every, 12) == Running(4, 2.5, 1.75)
    assert own.toward(every, 0) == own


@CALM
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=3, max_size=50))
def test_r2_is_numpys(pairs):
    x, y = np.array(pairs).T
    made = Joint()
    for a, b in pairs:
        made = made.plus(a, b)
    if min(x.std(), y.std()) > 1e-3:
        assert made.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-6)
    assert 0 <= made.r2 <= 1


def test_what_does_not_vary_explains_nothing():
    made = Joint()
    for i in range(5):
        made = made.plus(float(i), 0.3)
    assert made.r2 == 0.0
    assert Joint().r2 == 0.0


def test_statistics_go_through_json():
    made = Joint().plus(1.0, 2.0).plus(3.0, -1.0)
    assert Joint.from_json(made.to_json()) == made
    table = RunningTable(2)
    for key in "abca":
        table.add(key, 1.0)
    assert list(table.to_json()) == ["c", "a"]
    assert RunningTable.from_json(table.to_json(), 1).to_json() == {"a": [1, 1.0, 0.0]}


def test_echo_and_drift_are_numpys_on_a_batch():
    rng = np.random.default_rng(1)
    made = Postprocessor(PostprocessConfig(monitor=True, clip=(-2, 2), minimum=5))
    people = rng.integers(0, 4, 400)
    rewards, priors = people + rng.normal(size=400), rng.normal(size=400)
    given_, logs = [], {}
    last = {}
    for who, reward, prior in zip(people, rewards, priors, strict=True):
        out, logs = applied(made, raw(float(reward), f"u{who}", prior=float(prior)))
        given_.append(out)
        last = {key.removeprefix(LOG): value for key, value in logs.items()}
    final = np.clip(rewards, -2, 2)
    assert given_ == pytest.approx(final)
    assert last["echo_r2"] == pytest.approx(np.corrcoef(final, rewards - priors)[0, 1] ** 2)
    mine = people == people[-1]
    assert last["drift"] == pytest.approx((final[mine].mean() - final.mean()) / final.std())
    assert last["drift_raw"] == pytest.approx((rewards[mine].mean() - rewards.mean()) / rewards.std())
    assert last["drift_abs"] == abs(last["drift"])
    assert last["agreement"] == pytest.approx(rewards[-1] - priors[-1])


def test_drift_waits_for_enough_samples_and_strangers_have_none():
    made = Postprocessor(PostprocessConfig(monitor=True, minimum=3))
    for i in range(6):
        applied(made, raw(float(i), f"other{i}", prior=0.0))
    drifts = [applied(made, raw(9.0, "u", prior=0.0))[1][f"{LOG}drift"] for _ in range(3)]
    assert drifts[:2] == [0.0, 0.0]
    assert drifts[2] > 0.5
    assert applied(made, raw(50.0, None, prior=0.0))[1][f"{LOG}drift"] == 0.0


def test_a_policy_that_is_paid_for_agreeing_shows_and_one_that_is_not_does_not():
    rng = np.random.default_rng(2)
    flatter, honest = (Postprocessor(PostprocessConfig(monitor=True)) for _ in range(2))
    for prior, agreement in rng.normal(size=(500, 2)) * (0.1, 1.0):
        _, high = applied(flatter, raw(prior + agreement, "u", prior=prior))
    for prior, agreement in rng.normal(size=(500, 2)) * (1.0, 0.1):
        _, low = applied(honest, raw(prior + agreement, "u", prior=prior))
    assert high[f"{LOG}echo_r2"] > 0.9
    assert low[f"{LOG}echo_r2"] < 0.1


def test_standardising_by_person_hides_the_drift_that_the_methods_rewards_have():
    rng = np.random.default_rng(3)
    made = Postprocessor(PostprocessConfig(monitor=True, standardise="user", pooling=0))
    for i in range(2000):
        _, logs = applied(made, raw(float(10 * (i % 2) + rng.normal()), f"u{i % 2}", prior=0.0))
    assert logs[f"{LOG}drift_raw_abs"] > 0.9
    assert logs[f"{LOG}drift_abs"] < 0.2
