"""A row that ends every actor is refused after a few, and the rows beside it are not."""

import os
import signal

import pytest

from persona_rm.errors import ScoreError
from persona_rm.serving.pool.fatal_rows import KEPT, PROOF, FatalRows, fingerprint
from persona_rm.types import RewardRequest


def test_a_row_with_which_actors_end_when_it_is_scored_alone_is_fatal_the_second_time():
    rows = FatalRows()
    rows.begin("reward-0", ["bad"])
    assert rows.lost("reward-0", ["good", "bad"]) == [], "once may be the machine's doing"
    assert rows.lost("reward-0", ["bad"]) == [], "many callers were lost with one actor: that is one death"
    rows.begin("reward-1", ["bad"])
    assert rows.lost("reward-2", ["bad"]) == [], "another actor was lost"
    assert rows.lost("reward-1", ["good", "bad"]) == [1]
    assert rows.lost("reward-0", ["bad"]) == [0], "it stays known"
    assert rows.lost("reward-1", ["good"]) == []


def test_a_row_that_was_scored_is_innocent():
    rows = FatalRows()
    for _ in range(5):
        rows.begin("reward-0", ["good"])
        rows.lost("reward-0", ["good"])
        rows.begin("reward-1", ["good"])
        rows.done("reward-1")
    assert rows.lost("reward-0", ["good"]) == []


def test_an_actor_that_begins_again_without_an_end_has_died_meanwhile():
    rows = FatalRows()
    for _ in range(PROOF):
        rows.begin("reward-0", ["bad"])
    rows.begin("reward-0", ["good"])
    assert rows.lost("reward-1", ["bad", "good"]) == [0]


def test_memory_is_bounded():
    rows = FatalRows()
    for i in range(2 * KEPT):
        rows.begin("reward-0", [str(i)])
    assert len(rows._lost) <= KEPT


def test_a_fingerprint_holds_no_text_and_reads_any():
    one = fingerprint(RewardRequest("ann", "Hello \ud800?", "Yes."))
    assert one != fingerprint(RewardRequest("bob", "Hello \ud800?", "Yes."))
    assert "Hello" not in one


@pytest.mark.slow
def test_a_row_that_kills_its_actor_restarts_three_at_most_and_costs_others_nothing(cluster, bundle, asked):
    pytest.importorskip("ray")
    import ray

    from persona_rm.serving.pool.pool import Policy, start_pool
    from tests.serving.pool.pool_samples import ask_all, client, inside, pid

    rows, expected = asked
    pool = start_pool(bundle, 2, namespace="fatal", policy=Policy(2, 2, every=0.5))

    def poison(actor):
        quick = actor.bundle.score

        def score(requests):
            if any("poison" in request.response for request in requests):
                os.kill(os.getpid(), signal.SIGKILL)
            return quick(requests)

        actor.bundle.score = score

    def prepare():
        for name in pool.names:
            ray.get(inside("fatal", name, poison), timeout=60)

    try:
        prepare()
        one = client(pool, deadline=60)
        before = {name: pid("fatal", name) for name in pool.names}
        plain = one.transport.call
        deaths = []

        def call(name, method, args, timeout):
            try:
                return plain(name, method, args, timeout)
            except Exception:
                deaths.append(name)
                # The restarted process has a method that kills, too.
                until_poisoned(name)
                raise

        def until_poisoned(name):
            for _ in range(100):
                try:
                    ray.get(inside("fatal", name, poison), timeout=10)
                    return
                except ray.exceptions.RayError:
                    pass

        one.transport.call = call
        with pytest.raises(ScoreError, match="2 reward actors ended or stalled while they scored nothing but") as told:
            one.reward(RewardRequest("u1", "Hello?", "poison"))
        assert told.value.kind == "fatal"
        assert len(deaths) <= 3
        assert before.keys() == set(pool.names)
        one.transport.call = plain
        assert ask_all(one, rows[:64] * 1) == expected[:64]
    finally:
        pool.stop()
