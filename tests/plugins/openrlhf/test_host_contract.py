"""The contract with OpenRLHF 0.11.2, held by its own code: loaders, executors, rollout actor, samples, advantages.

Only the engine is a toy. Every sample must have its own person's reward, in the types that the host's tensors take,
whatever runs beside it; the recorded calls in payloads/openrlhf.json must be what the host sends, and be read right.
"""

import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("openrlhf.trainer.ray.vllm_engine", reason="the host is not installed", exc_type=ImportError)

import httpx
import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.hosts.common import where
from persona_rm.hosts.openrlhf.curves import group_curves
from persona_rm.maths import sigmoid
from persona_rm.prompts import ChatTemplate
from persona_rm.serving import client
from persona_rm.serving.pool.pool import start_pool
from persona_rm.types import Persona, RewardRequest
from tests.plugins.openrlhf.payloads.host_learner import (
    advantages,
    job,
    last_return,
    learner,
    samples_of,
    spoken,
    whole,
)
from tests.plugins.openrlhf.payloads.host_samples import (
    CHATML,
    PEOPLE,
    TOKENIZER,
    Engine,
    Local,
    answering,
    face,
    generate,
    params,
    read,
    rollout,
    tokens,
    write_users,
)
from tests.plugins.openrlhf.payloads.record_payloads import CASES, FILE, MAX_TOKENS, record
from tests.shared_ray import joined

DOORS = ("func", "agent", "http")
RECORDED = json.loads(FILE.read_text(encoding="utf-8"))["cases"]
by_case = pytest.mark.parametrize("case", RECORDED, ids=[case["name"] for case in RECORDED])


class Stopped(BaseException):
    """In place of the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, space):
    return write_users(tmp_path_factory.mktemp("people") / "bundle", space)


@pytest.fixture(scope="module")
def bundle(folder):
    return read(folder)


@pytest.fixture(scope="module")
def local(folder):
    """Real reward actors, which `RewardClient.from_env` of the plugins finds in place of Ray's."""
    actors = Local(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "RayTransport", lambda namespace: actors)
        patch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(Stopped(code)))
        patch.setenv("PERSONA_RM_BUNDLE", str(folder))
        for name in ("PERSONA_RM_RUN", "PERSONA_RM_LABELS", "PERSONA_RM_ON_FAILURE"):
            patch.delenv(name, raising=False)
        yield actors
    actors.close()


@pytest.fixture(scope="module")
def url(folder):
    with face(folder) as address:
        yield address


@pytest.fixture(scope="module")
def host():
    with learner() as found:
        yield found


@pytest.fixture
def reward_func(local):
    """As the host's executor loads it, by path."""
    return SingleTurnAgentExecutor(str(where("openrlhf"))).reward_func


def rows(n):
    """(prompt, label) of n samples, in all forms of labels; two of 26 users are strangers."""
    names = [f"p{i % (PEOPLE + 2)}" for i in range(n)]
    forms = [(name, {"user": name}, json.dumps({"user": name}))[i % 3] for i, name in enumerate(names)]
    return [(f"Question {i}, please:", form) for i, form in enumerate(forms)], names


def expected(bundle, names, prompts, answers):
    """What the bundle says in this process; no two known people's rewards are equal, or a mix-up would not show."""
    requests = [RewardRequest(*row) for row in zip(names, prompts, answers, strict=True)]
    found = [result.reward for result in bundle.score(requests)]
    known = [reward for reward, name in zip(found, names, strict=True) if name in bundle.users]
    assert len(set(known)) == len(known)
    return found


def answer_of(output):
    ((start, end),) = output["action_ranges"]
    return TOKENIZER.decode(output["observation_tokens"][start:end], skip_special_tokens=True)


def outputs_of(door, url, n, samples=2):
    """n prompts through a door, all at once, and the names of their people."""
    engine = answering(f" Answer {i}, of course." for i in itertools.count())
    asked, names = rows(n)
    outputs = generate(rollout(engine, door, url * (door == "http")), asked, samples=samples, threads=n)
    assert [output["prompt"] for output in outputs] == [prompt for prompt, _ in asked for _ in range(samples)]
    return outputs, [name for name in names for _ in range(samples)]


@pytest.mark.parametrize("threads", [1, 6, 16, 64])
def test_every_thread_gets_its_own_persons_reward(reward_func, bundle, threads):
    asked, names = rows(max(26, 2 * threads))
    answers = [f" Answer {i}." for i in range(len(asked))]
    together = threading.Barrier(threads)

    def call(i):
        if i < threads:
            together.wait(10)
        prompt, label = asked[i]
        return reward_func([prompt + answers[i] + "</s>"], [prompt], [label])

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(call, range(len(asked))))
    assert [one["rewards"] for one in found] == expected(bundle, names, [prompt for prompt, _ in asked], answers)
    assert all(type(one["rewards"]) is type(one["scores"]) is float for one in found)


@pytest.mark.parametrize("tasks", [1, 6, 16, 64])
@pytest.mark.parametrize("door", DOORS)
def test_every_sample_of_a_rollout_has_its_own_persons_reward(local, bundle, url, door, tasks):
    outputs, names = outputs_of(door, url, tasks)
    prompts = [output["prompt"] for output in outputs]
    rewards = expected(bundle, names, prompts, [answer_of(output) for output in outputs])
    pack = (lambda number: [number]) if door == "http" else float
    assert [output["reward"] for output in outputs] == [pack(reward) for reward in rewards]
    assert [output["scores"] for output in outputs] == [pack(sigmoid(reward)) for reward in rewards]
    assert [pack(0.0) if name in bundle.users else pack(1.0) for name in names] == [
        output["extra_logs"]["persona_rm/cold"] for output in outputs
    ]


@pytest.mark.parametrize("door", DOORS)
def test_the_types_are_those_that_the_host_reads(local, url, door):
    outputs, _ = outputs_of(door, url, 26)
    kinds = {"reward", "scores", "extra_logs", "observation_tokens", "action_ranges", "rollout_log_probs", "truncated"}
    assert all(kinds <= output.keys() for output in outputs)
    assert len({tuple(output["extra_logs"]) for output in outputs}) == 1, "concat_experiences needs one set of keys"
    for output in outputs:
        values = [output["reward"], output["scores"], *output["extra_logs"].values()]
        if door == "http":
            assert all(type(value) is list and len(value) == 1 for value in values)
            values = [value[0] for value in values]
        assert all(type(value) is float for value in values)
        assert 0 < float(torch.tensor(output["scores"])) < 1
        assert len(output["rollout_log_probs"]) == len(output["observation_tokens"])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("estimator", ["rloo", "group_norm"])
def test_the_hosts_tensors_and_advantages_hold_these_rewards(local, bundle, url, host, door, estimator):
    outputs, names = outputs_of(door, url, 26)
    answers = [answer_of(output) for output in outputs]
    rewards = expected(bundle, names, [output["prompt"] for output in outputs], answers)
    batches = advantages(host, samples_of(host, outputs), estimator)
    assert whole(batches, lambda batch: batch.rewards) == pytest.approx(rewards, abs=1e-6)
    assert whole(batches, lambda batch: batch.info["reward"]) == pytest.approx(rewards, abs=1e-6)
    assert whole(batches, lambda batch: batch.info["score"]) == pytest.approx([*map(sigmoid, rewards)], abs=1e-6)
    pairs = torch.tensor(rewards).reshape(-1, 2)
    by_hand = pairs - pairs.flip(1)
    if estimator == "group_norm":
        by_hand = (pairs - pairs.mean(1, keepdim=True)) / (pairs.std(1, keepdim=True) + 1e-9)
    assert whole(batches, last_return) == pytest.approx(by_hand.flatten().tolist(), abs=1e-5)


@pytest.mark.parametrize("door", DOORS)
def test_the_hosts_batches_and_means_keep_the_logs(local, bundle, url, host, door):
    """The trainer takes batches apart, mixes them, and writes the mean of each log: a group's curve is in there."""
    outputs, names = outputs_of(door, url, 26)
    items = [
        one
        for batch in advantages(host, samples_of(host, outputs), "rloo")
        for one in host.experience.split_experience_batch(batch)
    ]
    mixed = host.experience.make_experience_batch([*items[1::2], *items[::2]])
    means = {f"train/{key}": [(1, float(torch.tensor(v).float().mean()))] for key, v in mixed.info.items()}
    rewards = [float(torch.tensor(output["reward"])) for output in outputs]
    groups = {"cats": [], "dogs": [], "unknown": []}
    for name, reward in zip(names, rewards, strict=True):
        groups[bundle.users[name].group if name in bundle.users else "unknown"].append(reward)
    curves = group_curves(means)
    assert {name: curve[0][1] for name, curve in curves.items()} == {
        name: pytest.approx(sum(own) / len(own), abs=1e-5) for name, own in groups.items()
    }


def test_the_host_sends_what_was_recorded(bundle):
    """A host that calls otherwise, or a bundle that scores otherwise: record again, and read the difference."""
    assert [json.loads(json.dumps(record(case, bundle))) for case in CASES] == RECORDED


def asked_now(local):
    request = local.requests[-1]
    return {name: getattr(request, name) for name in ("user", "prompt", "response", "bad_label")}


@by_case
def test_a_recorded_call_to_reward_func(reward_func, local, case):
    found = reward_func(case["call"]["query"], case["call"]["prompts"], case["call"]["labels"])
    assert asked_now(local) == case["asked"]
    assert (found["rewards"], found["scores"]) == (case["reward"], sigmoid(case["reward"]))
    assert case["logs"].items() <= found["extra_logs"].items()


@by_case
def test_a_recorded_call_over_http(url, case):
    found = httpx.post(url, json=case["call"]).raise_for_status().json()
    assert (found["rewards"], found["scores"]) == ([case["reward"]], [sigmoid(case["reward"])])
    assert {key: [value] for key, value in case["logs"].items()}.items() <= found["extra_logs"].items()


@by_case
def test_the_same_sample_by_token_ids(local, bundle, case, monkeypatch):
    """The tokenizer knows its chat template, so a prompt that arrives rendered is asked for by its messages."""
    monkeypatch.setattr(TOKENIZER, "chat_template", CHATML)
    prompt, label = case["call"]["prompts"][0], case["call"]["labels"][0]
    actor = rollout(Engine(lambda _prompt: tokens(case["answer"])), "agent")
    limits = {"sampling_params": params(MAX_TOKENS), "max_length": case["max_len"]}
    (output,) = generate(actor, [(prompt, label)], **limits)
    bare = ChatTemplate(lambda: TOKENIZER).unwrap(case["asked"]["prompt"])
    asked = {**case["asked"], "prompt": bare, "response": case["by_tokens"]}
    assert asked_now(local) == asked
    assert (
        output["reward"] == bundle.score([RewardRequest(asked["user"], asked["prompt"], asked["response"])])[0].reward
    )
    assert output["extra_logs"]["persona_rm/bad_label"] == case["logs"]["persona_rm/bad_label"]


def test_a_prompt_that_was_cut_inside_a_character(local, bundle):
    """Half a character is decoded as U+FFFD, so the query begins with nothing of the prompt. By text the answer must
    be found right, or the job stop; by token ids there is no doubt."""
    prompt, ids = "\u4f60\u597d\U0001f642" * 12 + " What now?", tokens(" Wait.")
    truth = bundle.score([RewardRequest("p1", prompt, " Wait.")])[0].reward
    for cut in range(30, 38):
        limits = {"sampling_params": params(len(ids) + 1), "max_length": cut + len(ids) + 1}
        ends = Engine(lambda _prompt: [*ids, TOKENIZER.eos_token_id])
        try:
            found = generate(rollout(ends, "func"), [(prompt, "p1")], **limits)[0]["reward"]
        except Stopped:
            found = truth
        assert found == truth
        assert generate(rollout(ends, "agent"), [(prompt, "p1")], **limits)[0]["reward"] == truth


@pytest.fixture
def pool(tmp_path, space, monkeypatch, shared_ray):
    """Two real reward actors in a real cluster whose workers have the host's environment, over the packaged model."""
    people = [
        User(Persona(f"p{i}", directions=tuple(int(j in (i, 2 * i + 1)) - int(j == i + 3) for j in range(len(space)))))
        for i in range(12)
    ]
    policy = str(Path(TOKENIZER.name_or_path))
    folder = write_bundle(tmp_path / "bundle", people, method={"name": "contrast"}, policy=policy)
    environ = {"PERSONA_RM_BUNDLE": str(folder), "PERSONA_RM_NAMESPACE": "contract"}
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    with joined(shared_ray, runtime_env={"env_vars": environ}):
        actors = start_pool(folder, 2, namespace="contract")
        try:
            yield folder
        finally:
            actors.stop()


@pytest.mark.slow
def test_the_hosts_generator_with_a_real_pool(pool, host):
    """`SamplesGenerator.generate_samples` over a Ray actor of the host's rollout code, for both doors."""
    import ray
    from openrlhf.datasets import PromptDataset

    @ray.remote(num_cpus=0)
    class Rollout:
        async def __init__(self, door):
            from tests.plugins.openrlhf.payloads.host_samples import answering, rollout

            self.actor = rollout(answering(f" Answer {i}, my friend." for i in itertools.count()), door)

        def get_num_unfinished_requests(self):
            return self.actor.get_num_unfinished_requests()

        async def generate_responses(self, **keys):
            return await self.actor.generate_responses(**keys)

    args = job(samples=2, batch_size=13)
    args.data = SimpleNamespace(input_key="prompt", label_key="label")
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: False)
    data = PromptDataset([{"prompt": f"Is it {i}?", "label": f"p{i}"} for i in range(13)], TOKENIZER, strategy)
    bundle = load_bundle(pool)
    for door in ("func", "agent"):
        loader = torch.utils.data.DataLoader(data, 1, collate_fn=data.collate_fn)
        made = host.generator(strategy, loader, None, TOKENIZER, [Rollout.remote(door)])
        samples, _, consumed, _ = made.generate_samples(max_new_tokens=16, max_len=512)
        assert (len(samples), consumed) == (26, 13)
        requests = [RewardRequest(one.labels[0], one.prompts[0], spoken(one)) for one in samples]
        truth = [result.reward for result in bundle.score(requests)]
        assert len({round(reward, 2) for reward in truth}) > 13, "rewards too alike to tell a mix-up"
        assert [one.rewards.item() for one in samples] == pytest.approx(truth, abs=2e-3)
        assert whole(advantages(host, samples, "rloo"), last_return) == pytest.approx(
            [truth[i] - truth[i ^ 1] for i in range(len(truth))], abs=4e-3
        )
