"""The end of a reward actor: who waits is told, engines are let go of, and nothing starts them again."""

import asyncio
import os
import signal
import threading

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.backends.logprob.vllm_logprob import VllmLogProb
from persona_rm.bundle import User, write_bundle
from persona_rm.errors import Full, ScoreError
from persona_rm.methods.base import Method
from persona_rm.serving.actor import reward_actor as module
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Persona, RewardRequest


class Engine:
    """Log-probs at a gate; like vLLM's it starts again when it is asked after `close`."""

    def __init__(self):
        self.open, self.entered = threading.Event(), threading.Event()
        self.calls, self.ended, self.closed, self.runs = 0, 0, 0, False

    def logprob(self, prompts, responses, finished=None):
        self.calls, self.runs = self.calls + 1, True
        self.entered.set()
        self.open.wait(5)
        self.ended += 1
        return [SequenceLogProb(-float(len(r)), None, len(r) + 1) for r in responses]

    def close(self):
        self.closed, self.runs = self.closed + 1, False


class Even(Method):
    """Every response beats every other as often as not."""

    name = "even"

    def adapt(self, persona, state=None):
        return self.prior()

    def rewards(self, states, requests):
        return [self.result(state, request, 0.0) for state, request in zip(states, requests, strict=True)]

    def compare(self, states, groups):
        self.backends.logprob.logprob([""], [""])
        return [[[0.5] * len(group)] * len(group) for group in groups]


@pytest.fixture
def made(tmp_path, space):
    def make(**keys):
        write_bundle(
            tmp_path / "b", [User(Persona("ann", directions=space.neutral))], method={"name": "contrast"}, **keys
        )
        actor, engine = RewardActor(str(tmp_path / "b"), "reward-0"), Engine()
        actor.bundle.__dict__["_backends"] = Backends(logprob=engine)
        return actor, engine

    return make


async def entered(engine):
    while not engine.entered.is_set():
        await asyncio.sleep(0.001)


def test_who_waits_is_told_at_once_and_the_engine_closed_after_the_call_that_runs(made):
    actor, engine = made()

    async def main():
        one = asyncio.create_task(actor.score(RewardRequest("ann", "Hi", "Yes.")))
        await entered(engine)
        two = asyncio.create_task(actor.score(RewardRequest("ann", "Hi", "No.")))
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(actor.close())
        told = await asyncio.gather(one, two, return_exceptions=True)
        assert engine.closed == 0, "its call runs"
        engine.open.set()
        await closing
        late = await asyncio.gather(
            actor.score(RewardRequest("ann", "Hi", "?")), actor.profile("ann", "Hi"), return_exceptions=True
        )
        return [*told, *late]

    errors = asyncio.run(main())
    assert [(type(error), error.kind) for error in errors] == [(ScoreError, "down")] * 4
    assert (engine.closed, engine.runs, engine.calls) == (1, False, 1)


def test_a_call_that_hangs_does_not_keep_the_engine_alive(made, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)
    actor, engine = made()

    async def main():
        one = asyncio.create_task(actor.score(RewardRequest("ann", "Hi", "Yes.")))
        await entered(engine)
        await actor.close()
        assert (engine.ended, engine.closed) == (0, 1)
        engine.open.set()
        return await asyncio.gather(one, return_exceptions=True)

    assert [error.kind for error in asyncio.run(main())] == ["down"]


def test_a_comparison_that_waits_for_its_turn_does_not_start_the_engine_again(made):
    actor, engine = made(groups={"size": 2, "listwise": True})
    actor.bundle.__dict__["method"] = Even(None, None, actor.bundle._backends)

    async def main():
        asks = [RewardRequest("ann", prompt, response) for prompt in ("Hi", "Ho") for response in ("a", "b")]
        waiting = [asyncio.create_task(actor.score(ask)) for ask in asks]
        await entered(engine)
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(actor.close())
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        engine.open.set()
        await closing
        return errors

    assert [error.kind for error in asyncio.run(main())] == ["down"] * 4
    assert (engine.calls, engine.runs) == (1, False), "the loop's end has waited for the second one's thread"


def test_closing_opens_nothing_and_rays_hook_closes_too(made):
    actor, engine = made()
    del actor.bundle.__dict__["_backends"]
    asyncio.run(actor.close())
    assert "_backends" not in vars(actor.bundle)
    actor, engine = made()
    actor.__ray_shutdown__()
    assert engine.closed == 1


def test_vllms_engines_are_among_what_is_closed(made, monkeypatch):
    stopped = []
    monkeypatch.setattr("persona_rm.backends.logprob.vllm_logprob.stop_engine", stopped.append)
    actor, _ = made()
    logprob = VllmLogProb("policy", "reference")
    logprob.__dict__.update(_policy="one", _reference="two")
    actor.bundle.__dict__["_backends"] = Backends(logprob=logprob)
    asyncio.run(actor.close())
    assert stopped == ["one", "two"]


@pytest.fixture(scope="module")
def ask(tmp_path_factory, space):
    """Of a bundle that needs no model."""
    from tests.serving.pool.pool_samples import toy_bundle

    return toy_bundle(tmp_path_factory.mktemp("b") / "bundle", space), ("u0", "Prompt", "I like tea.")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["idle", "hangs", "SIGTERM"])
def test_an_actor_that_is_ended_closes_first(cluster, ask, tmp_path, end):
    import ray

    from persona_rm.serving.pool.named_actor import named
    from persona_rm.serving.pool.pool import start_pool
    from tests.serving.pool.pool_samples import inside, pid, slow, until

    pool = start_pool(ask[0], 1, namespace=f"close-{end}")
    mark = tmp_path / "closed"

    def hold(actor):
        actor.bundle.close = mark.touch

    ray.get(inside(pool.namespace, "reward-0", hold), timeout=60)
    if end == "hangs":
        slow(pool.namespace, "reward-0", 600)
        call = ray.get_actor("reward-0", namespace=pool.namespace).score.remote(RewardRequest(*ask[1]))
        assert ray.wait([call], timeout=0.5)[1] == [call], "it runs"
    if end == "SIGTERM":
        os.kill(pid(pool.namespace, "reward-0"), signal.SIGTERM)
        assert until(mark.is_file, 20)
    pool.stop()
    assert mark.is_file()
    assert named(pool.namespace) == []


@pytest.mark.slow
def test_the_kind_of_an_error_and_a_full_actor_in_a_real_cluster(cluster, ask):
    import ray

    from persona_rm.serving.pool.pool import start_pool
    from persona_rm.serving.pool.routing import ranked
    from tests.serving.pool.pool_samples import client, inside

    pool = start_pool(ask[0], 2, namespace="kinds")
    home, neighbour = ranked("u0", pool.names)

    def refuse(error):
        def work(actor):
            def score(items):
                raise error

            actor.bundle.score = score

        return work

    try:
        one = client(pool, deadline=3)
        ray.get(inside("kinds", home, refuse(Full("4096 rows wait"))), timeout=60)
        assert one.reward(RewardRequest(*ask[1])).status == "ok"
        for name, error in ((neighbour, Full("as many")), (home, ScoreError("9 tokens", (0,), "too_long"))):
            ray.get(inside("kinds", name, refuse(error)), timeout=60)
            with pytest.raises(ScoreError) as caught:
                one.reward(RewardRequest(*ask[1]))
            assert caught.value.kind == error.kind
        assert str(caught.value) == f"{home} could not score_batch: 9 tokens"
    finally:
        pool.stop()
