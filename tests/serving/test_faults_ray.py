"""Actors that die or hang on a real cluster. Who asks gets the right reward, or an error in time."""

import os
import signal
import time

import pytest

pytest.importorskip("ray")

import ray

from persona_rm.errors import ScoreError
from persona_rm.serving.pool.named_actor import SUPERVISOR
from persona_rm.serving.pool.pool import Policy, pool_names, start_pool
from persona_rm.serving.pool.routing import ranked
from persona_rm.types import RewardRequest
from tests.serving.pool.pool_samples import ask_all, client, inside, pid, ready, slow, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

QUICK = {"silent_after": 4.0, "stuck_after": 4.0, "every": 0.5}


@pytest.fixture(scope="module")
def pair(cluster, bundle):
    """Two actors, for the tests that leave a pool as they found it."""
    pool = start_pool(bundle, 2, namespace="pair", policy=Policy(2, 2, every=0.5))
    yield pool
    pool.stop()


def kill(pool, names):
    for one in [pid(pool.namespace, name) for name in names]:
        os.kill(one, signal.SIGKILL)


def test_an_actor_killed_in_the_middle_of_a_batch_costs_nobody_a_reward(pair, asked):
    rows, expected = asked
    ready(pair, 2)
    for name in pair.names:
        slow("pair", name, 0.3)
    (victim,), one = pair.names[:1], client(pair)
    dead = pid("pair", victim)

    def strike():
        time.sleep(0.5)
        os.kill(dead, signal.SIGKILL)

    assert ask_all(one, rows, strike) == expected
    assert one.transport.met > 0, "nobody waited for the one that died"
    until(lambda: pid("pair", victim) != dead)


def test_all_actors_killed_at_once_are_waited_for(pair, asked):
    rows, expected = asked
    ready(pair, 2)
    for name in pair.names:
        slow("pair", name, 0.3)
    dead, one = [pid("pair", name) for name in pair.names], client(pair)

    def strike():
        time.sleep(0.5)
        for each in dead:
            os.kill(each, signal.SIGKILL)

    assert ask_all(one, rows, strike) == expected
    assert one.transport.met > 0


def test_one_actor_killed_in_each_of_several_rounds(pair, asked):
    rows, expected = asked
    one = client(pair)
    for turn in range(3):
        ready(pair, 2)
        victim = pid("pair", pair.names[turn % 2])
        assert ask_all(one, rows, lambda victim=victim: os.kill(victim, signal.SIGKILL)) == expected


def test_people_keep_their_actor_and_come_back_to_it(pair, asked):
    rows, expected = asked
    ready(pair, 2)
    one, seen = client(pair), {}
    plain = one.transport.call

    def call(name, method, args, timeout):
        seen.setdefault(args[0][0].user, []).append(name)
        return plain(name, method, args, timeout)

    one.transport.call = call
    assert [one.reward(RewardRequest(*row)).reward for row in rows[:80]] == expected[:80]
    assert {user: set(names) for user, names in seen.items()} == {user: {ranked(user, pair.names)[0]} for user in seen}


def test_an_actor_that_died_for_good_is_created_again(pair, asked):
    rows, expected = asked
    ready(pair, 2)
    ray.kill(ray.get_actor("reward-0", namespace="pair"), no_restart=True)
    one = client(pair)
    assert ask_all(one, rows) == expected
    until(lambda: pair.health()["counts"].get("created") == 1 and pool_names("pair") == ["reward-0", "reward-1"])
    ready(pair, 2)


def test_a_supervisor_that_died_goes_on(pair, asked):
    rows, expected = asked
    ready(pair, 2)
    dead = pid("pair", SUPERVISOR)
    os.kill(dead, signal.SIGKILL)
    until(lambda: pid("pair", SUPERVISOR) != dead)
    ray.kill(ray.get_actor("reward-1", namespace="pair"), no_restart=True)
    assert ask_all(client(pair), rows) == expected
    ready(pair, 2)


@pytest.mark.parametrize("fault", ["stuck", "silent"])
def test_an_actor_that_hangs_is_started_again_and_the_request_answered(bundle, asked, fault):
    """stuck: the method does not return; silent: the whole process stands still."""
    rows, expected = asked
    pool = start_pool(bundle, 1, namespace=fault, policy=Policy(1, 1, **QUICK))
    try:
        before = pid(fault, "reward-0")
        if fault == "stuck":
            slow(fault, "reward-0", 600)
        else:
            inside(fault, "reward-0", lambda _actor: time.sleep(600))
        assert ask_all(client(pool), rows) == expected
        assert until(lambda: pool.health()["counts"].get("restarted", 0))
        assert pid(fault, "reward-0") != before
    finally:
        pool.stop()


def test_who_asks_one_that_hangs_is_answered_by_its_neighbour_or_told_in_time(bundle, asked):
    rows, expected = asked
    pool = start_pool(bundle, 2, namespace="hangs", policy=Policy(2, 2, silent_after=600, stuck_after=600))
    try:
        home, neighbour = ranked("u1", pool.names)
        slow("hangs", home, 600)
        assert client(pool, deadline=10).reward(RewardRequest(*rows[1])).reward == expected[1]
        slow("hangs", neighbour, 600)
        started = time.monotonic()
        with pytest.raises(
            ScoreError, match=r"no reward actor answered score_batch within 4 s; last: .*GetTimeoutError"
        ):
            client(pool, deadline=4).reward(RewardRequest(*rows[1]))
        assert time.monotonic() - started < 30
    finally:
        pool.stop()


def test_an_error_inside_an_actor_is_an_error_without_the_texts(pair, asked):
    """Not repeated, and no number."""
    rows, _ = asked
    ready(pair, 2)

    def break_it(actor):
        def score(requests):
            raise ValueError(f"cannot read {requests[0].response}")

        actor.bundle.score = score

    for name in pair.names:
        ray.get(inside("pair", name, break_it), timeout=60)
    with pytest.raises(
        ScoreError, match=r"reward-\d could not score_batch: ValueError in test_faults_ray\.py:\d+"
    ) as caught:
        client(pair).reward(RewardRequest(*rows[0]))
    assert rows[0][2] not in str(caught.value)
    kill(pair, pair.names)
