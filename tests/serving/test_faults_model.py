"""Models that fail for real, in real actors: weights that are not finite, memory that runs out on one long answer."""

import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("ray")

import ray
from safetensors.torch import load_file, save_file

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import HostError, ScoreError
from persona_rm.serving.pool.named_actor import named
from persona_rm.serving.pool.pool import start_pool
from persona_rm.types import Persona, RewardRequest
from tests.serving.pool.pool_samples import client, inside, pid

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

WIDE = {"intermediate_size": 16384, "num_hidden_layers": 1, "max_position_embeddings": 16384}
"""A token of an answer takes 64 KiB and more while the model reads it."""
SHORT = [f"I like the law{' very much' * i}." for i in range(8)]
PROMPT = "What is law? "


def spoilt(model, folder, spoil):
    """The model with a weight of its file changed."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    spoil(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def bundle_of(folder, space, policy, reference):
    people = [User(Persona(f"u{i}", directions=tuple((i + 1) * (d == i) for d in range(len(space))))) for i in (0,)]
    return write_bundle(folder, people, method={"name": "pba"}, policy=str(policy), reference=str(reference))


def ask_together(pool, responses):
    """A reward or an error for each, all asked at once."""

    def ask(response):
        try:
            return one.reward(RewardRequest("u0", PROMPT, response)).reward
        except ScoreError as error:
            return error

    one = client(pool, deadline=60)
    with ThreadPoolExecutor(len(responses)) as threads:
        return list(threads.map(ask, responses))


def alone(bundle, responses):
    return [load_bundle(bundle).score([RewardRequest("u0", PROMPT, response)])[0].reward for response in responses]


def test_a_row_that_is_not_finite_fails_alone(tmp_path, space, tiny_model):
    policy, reference = tiny_model(0), tiny_model(1)

    def spoil(weights):
        from transformers import AutoTokenizer

        (token,) = AutoTokenizer.from_pretrained(policy)("Z")["input_ids"]
        weights["model.embed_tokens.weight"][token] = float("nan")

    bad = spoilt(policy, tmp_path / "bad", spoil)
    bundle = bundle_of(tmp_path / "bundle", space, bad, reference)
    pool = start_pool(bundle, 1, namespace="nan", max_wait=0.3)
    try:
        before = pid("nan", "reward-0")
        found = ask_together(pool, [*SHORT, "I like Zorro."])
        assert found[:-1] == pytest.approx(alone(bundle, SHORT), abs=1e-5)
        assert isinstance(found[-1], ScoreError)
        assert "not finite" in str(found[-1])
        assert "Zorro" not in str(found[-1])
        (info,) = pool.info()
        assert info["batcher"]["batches"] < info["batcher"]["submitted"], "they were together"
        assert pid("nan", "reward-0") == before
    finally:
        pool.stop()


def test_a_model_that_is_never_finite_does_not_start(tmp_path, space, tiny_model):
    bad = spoilt(tiny_model(0), tmp_path / "bad", lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    bundle = bundle_of(tmp_path / "bundle", space, bad, tiny_model(1))
    with pytest.raises(HostError, match=r"did not start .*: the model gave a log-probability that is not finite"):
        start_pool(bundle, 1, namespace="never")
    assert named("never") == []


def test_memory_that_runs_out_on_one_answer_costs_the_others_nothing(tmp_path, space, tiny_model):
    def limit(_actor):
        """A quarter of a GiB more than the process has, and no more."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

    bundle = bundle_of(tmp_path / "bundle", space, tiny_model(0, **WIDE), tiny_model(1, **WIDE))
    pool = start_pool(bundle, 1, namespace="memory", max_wait=0.3)
    try:
        expected, before = alone(bundle, SHORT), pid("memory", "reward-0")
        assert ask_together(pool, SHORT) == pytest.approx(expected, abs=1e-5)
        ray.get(inside("memory", "reward-0", limit), timeout=60)
        found = ask_together(pool, [*SHORT[:4], "I like the law. " * 1200, *SHORT[4:]])
        assert [*found[:4], *found[5:]] == pytest.approx(expected, abs=1e-5)
        assert isinstance(found[4], ScoreError)
        assert "out of memory on a row of" in str(found[4])
        assert ask_together(pool, [f"{text} Indeed." for text in SHORT]) != expected
        assert pid("memory", "reward-0") == before
    finally:
        pool.stop()
