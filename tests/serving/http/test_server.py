"""Real servers in processes of their own: the host's client, bodies of every kind, and an orderly end."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.http.http_service_samples import HOST, served
from tests.serving.serving_samples import users_bundle

pytestmark = pytest.mark.slow
MIB = 1 << 20
BODIES, PADDING = 10_000, 16_384
"""So many malformed bodies, each of at least so many bytes: 156 MiB if the server kept what it is sent."""
GROWTH = 12 * MIB
"""How much the server may grow after the first fifth: a tenth of what one would that keeps bodies (125 MiB), and
ten times what an allocator and histograms that fill up take (0.8 MiB where this was measured)."""


@pytest.fixture(scope="module")
def toy():
    with served() as (url, process):
        yield url, process


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, space, tiny_model):
    return users_bundle(tmp_path_factory.mktemp("b") / "bundle", space, policy=str(tiny_model()), profiles=None)


class Tokens:
    """One token per letter."""

    def __call__(self, text, **_):
        import torch

        return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}

    def decode(self, ids, **_):
        return "".join(map(chr, ids))


async def executed(url, prompt, label, answer):
    """What the host's own executor makes of one sample."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    async def generate(_ids, _params, **_):
        output = SimpleNamespace(token_ids=[ord(letter) for letter in answer], finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])

    executor = SingleTurnAgentExecutor([f"{url}/get_reward"])
    params = SimpleNamespace(max_tokens=64, logprobs=None)
    return await executor.execute(prompt, label, params, 512, Tokens(), SimpleNamespace(generate=generate))


def experience(response):
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    return SamplesGenerator._process_response_into_experience(object.__new__(SamplesGenerator), response, max_len=512)


def test_the_hosts_own_executor_gets_rewards_that_its_trainer_can_batch(bundle):
    import torch

    experiences = pytest.importorskip("openrlhf.trainer.ppo_utils.experience")
    command = ["-m", "persona_rm.cli", "serve", "--bundle", str(bundle), "--port", "0"]

    async def main(url):
        people = [{"user": f"u{i % 2}"} if i % 3 else None for i in range(64)]
        rows = [executed(url, "Hello? ", label, f"I like the law {i}.</s>") for i, label in enumerate(people)]
        return await asyncio.gather(*rows)

    with served(*command, PERSONA_RM_TOKEN="right") as (url, _):
        found = asyncio.run(main(url.replace("http://", "http://any:right@")))
        metrics = httpx.get(f"{url}/metrics", headers={"authorization": "Bearer right"}).text
    assert all(len(one["reward"]) == len(one["scores"]) == 1 for one in found)
    assert all(0 <= one["scores"][0] <= 1 for one in found)
    assert [one["extra_logs"]["persona_rm/cold"] for one in found] == [[float(i % 3 == 0)] for i in range(64)]
    assert len({one["reward"][0] for one in found}) > 10
    batch = experiences.Experience.concat_experiences([experience(one) for one in found], 0)
    again = experiences.make_experience_batch(experiences.split_experience_batch(batch))
    assert again.rewards.numel() == 64
    assert torch.tensor(again.info["persona_rm/cold"]).numel() == 64
    assert torch.isfinite(again.rewards).all()
    batched = next(line for line in metrics.splitlines() if line.startswith("persona_rm_batch_rows_mean"))
    assert float(batched.split()[1]) > 2, "calls that come together are scored together"


def test_the_hosts_client_tries_five_times_and_then_goes_on_without_a_reward(toy):
    """What the module tells its readers; should a new host do better, tell them."""
    pytest.importorskip("openrlhf")
    url, _ = toy
    before = refused(url)
    assert asyncio.run(executed(url, "Hello?", "ann", " long"))["reward"] is None
    assert refused(url) - before == 5


def refused(url):
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(
        float(line.split()[1]) for line in lines if line.startswith('persona_rm_failures_total{kind="unscorable"')
    )


def test_curl_with_the_hosts_payload(toy):
    url, _ = toy
    command = ["curl", "-sS", f"{url}/get_reward", "-H", "Content-Type: application/json", "-d", json.dumps(HOST)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rewards"] == [0.5]


def test_a_caller_that_hangs_up_breaks_nothing(toy):
    url, _ = toy
    body = json.dumps({"prompt": "x", "responses": ["wait"] * 3}).encode()
    head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    for sent in (head.encode() + body, head.encode() + body[:5], head.encode()[:20]):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(sent)
            time.sleep(0.2)
    end = time.monotonic() + 10
    while "persona_rm_waiting_rows 0.0" not in (said := httpx.get(f"{url}/metrics").text) and time.monotonic() < end:
        time.sleep(0.1)
    assert "persona_rm_waiting_rows 0.0" in said
    assert 'persona_rm_failures_total{kind="gone"} 2.0' in said
    assert httpx.post(f"{url}/get_reward", json=HOST).json()["rewards"] == [0.5]


def test_sigterm_answers_what_is_under_way_and_ends_well():
    with served() as (url, process):
        found = []
        body = {"prompt": "x", "responses": ["nap"]}
        caller = threading.Thread(target=lambda: found.append(httpx.post(f"{url}/score", json=body, timeout=30)))
        caller.start()
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        caller.join(30)
        assert process.wait(30) == 0
    assert found[0].status_code == 200


def test_a_bundle_that_cannot_score_ends_the_server_with_the_reason(tmp_path, space):
    broken = users_bundle(tmp_path / "bundle", space, profiles=None)
    text = (broken / "bundle.yaml").read_text()
    (broken / "bundle.yaml").write_text(text + "policy: nowhere\n")
    command = [os.sys.executable, "-m", "persona_rm.cli", "serve", "--bundle", str(broken), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "http://" not in done.stdout


def test_the_same_over_a_pool_of_the_cluster(bundle, shared_ray):
    command = ["-m", "persona_rm.cli", "serve", "--bundle", str(bundle), "--port", "0", "--actors", "2"]
    with served(*command, PERSONA_RM_NAMESPACE="web", **shared_ray) as (url, process):
        assert httpx.get(f"{url}/ready").status_code == 200
        rows = {"query": ["Hello? a</s>", "Hello? b"], "prompts": ["Hello?"] * 2, "labels": ["u0", "u1"]}
        found = httpx.post(f"{url}/get_reward", json=rows, timeout=60).json()
        assert len(found["rewards"]) == 2
        assert found["extra_logs"]["persona_rm/cold"] == [0.0, 0.0]
        assert len(httpx.get(f"{url}/info").json()["actors"]) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_nothing_that_the_schema_allows_or_forbids_is_a_fault_of_the_service(toy):
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    seen = set()
    for operation in schemathesis.openapi.from_url(f"{toy[0]}/openapi.json").get_all_operations():
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not operation.ok().body:
                continue

            @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.ok().as_strategy(generation_mode=mode))
            def one(case):
                response = case.call_and_validate(checks=checks)
                seen.add((case.path, response.status_code))

            one()
    assert {("/get_reward", 200), ("/get_reward", 422), ("/v1/score", 200), ("/score", 422), ("/metrics", 200)} <= seen


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["query", "prompts", "labels", "user", "prompt", "responses", "version", "group"])
"""Of the real bodies, with values of any kind."""
BODY = st.dictionaries(KEYS, JSON, max_size=4).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)
TYPES = ("application/json", "application/json; charset=utf-16", "text/plain")


def torn(body, at):
    """A body, its parts, and what a bad line makes of it."""
    at %= len(body) + 1
    yield from (body, body[:at], body[at:], body[at:] + body[:at], body * 2)
    yield body[:at] + bytes([255 - byte for byte in body[at : at + 1]]) + body[at + 1 :]


def rss(process):
    """Bytes of memory that the process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_ten_thousand_malformed_bodies_crash_nothing_and_leave_nothing():
    calls = [(path, kind) for path in ("/get_reward", "/score") for kind in TYPES]
    with served() as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        seen, sizes = [], []

        @settings(max_examples=350, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(BODY, st.integers(0, 99))
        def sent(body, at):
            for (path, kind), content in itertools.product(calls, torn(body, at)):
                found = client.post(path, content=b" " * PADDING + content, headers={"content-type": kind})
                assert found.status_code < 500, (path, content)
                assert found.status_code == 200 or set(found.json()) == {"error", "kind"}
                seen.append(found.status_code)
            sizes.append(rss(process))

        sent()
        assert sum(status != 200 for status in seen) >= BODIES
        assert {400, 415, 422} <= set(seen)
        early = sizes[len(sizes) // 5]
        assert max(sizes[-10:]) - early < GROWTH, [size // MIB for size in sizes[:: len(sizes) // 10]]
        assert process.poll() is None
        assert client.post("/get_reward", json=HOST).json()["rewards"] == [0.5]
