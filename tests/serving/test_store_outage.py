"""A profile store that is away for a while delays rewards and loses none."""

import asyncio
import shutil
import subprocess
import time
from threading import Timer

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.errors import ScoreError, StoreDown
from persona_rm.profiles import open_store
from persona_rm.serving.actor.inference_actor import InferenceActor
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.client import RayTransport, RewardClient
from persona_rm.types import RewardRequest
from tests.profiles.conftest import answers, free_port
from tests.serving.serving_samples import items, users_bundle

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server on PATH")


class Letters:
    """log p = minus the letters."""

    def logprob(self, prompts, responses, finished=None):
        return [SequenceLogProb(-float(len(p) + len(r)), None, len(r) + 1) for p, r in zip(prompts, responses)]  # noqa: B905


class OneActor:
    """A transport to an actor in this process."""

    def __init__(self, actor, loop):
        self.actor, self.loop, self.failed = actor, loop, []

    def names(self):
        return ["reward-0"]

    def inference(self):
        return None

    def call(self, name, method, args, timeout):
        try:
            return self.loop.run(getattr(self.actor, method)(*args))
        except ScoreError as error:
            self.failed.append(error.kind)
            raise


class Server:
    """A Redis server that keeps its data on disk, so that it can be away and come back."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None

    def start(self):
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self.process = subprocess.Popen(["redis-server", *own], stdout=subprocess.DEVNULL)
        while not answers(self.port):
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def test_rewards_wait_for_the_store_and_are_those_of_the_user(tmp_path, space, server):
    url = f"redis://127.0.0.1:{server.port}/0"
    open_store(url, create=True).close()
    folder = str(users_bundle(tmp_path / "bundle", space, profiles=url, refresh=0))
    with asyncio.Runner() as loop:
        assert loop.run(InferenceActor(folder).observe("ann", items(space, 7))) == 1
        actor = RewardActor(folder, "reward-0")
        actor.bundle.__dict__["_backends"] = Backends(logprob=Letters())
        transport = OneActor(actor, loop)
        client = RewardClient(transport, deadline=60)
        request = RewardRequest("ann", "Hi", "Yes.")
        before = client.reward(request)
        assert before.trace.user_known
        server.stop()
        back = Timer(3, server.start)
        back.start()
        after = client.reward(request)
        back.join()
        assert (after.reward, after.trace.user_known) == (before.reward, True)
        assert set(transport.failed) == {"down"}
        server.stop()
        short = RewardClient(transport, deadline=0.5)
        with pytest.raises(ScoreError, match=r"no reward actor answered score_batch within 0 s; last:.*Redis") as late:
            short.reward(request)
        assert late.value.kind == "down"
        server.start()


def test_what_an_actor_raises_about_a_store_is_retried(monkeypatch):
    import ray
    from ray.exceptions import RayTaskError

    class Handle:
        class profile:
            @staticmethod
            def remote():
                return "ref"

    def fails(ref, timeout):
        raise RayTaskError("profile", "traceback", StoreDown("away"))

    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: Handle)
    monkeypatch.setattr(ray, "get", fails)
    with pytest.raises(ScoreError) as caught:
        RayTransport().call("inference-0", "profile", (), 1.0)
    assert caught.value.kind == "down"
