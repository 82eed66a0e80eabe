"""`HttpGenerator` against a real server in a thread that misbehaves in every way that servers do."""

import asyncio
import json
import logging
import time

import pytest
from aiohttp import web
from pydantic import ValidationError

from persona_rm.backends.openai_http import HttpConfig, HttpGenerator, read_body, request_body, seconds_of
from persona_rm.errors import HostError, RecipeError
from tests.http_samples import Server, chat

KEY = "sk-very-secret"
FAST = {"backoff": 0.01, "retries": 3, "timeout": 0.4, "deadline": 10.0}


@pytest.fixture
def serve():
    servers = []

    def start(script):
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def generator(url, **config):
    return HttpGenerator(HttpConfig(base_url=url, model="m", **{**FAST, **config}))


async def too_late(request):
    await asyncio.sleep(5)
    return chat("late")


async def dies_midway(request):
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    request.transport.abort()
    return response


def test_answers_in_order_with_tokens_and_logprobs(serve):
    server = serve(lambda prompt, n: chat(prompt.upper()))
    found = generator(server.url).generate(["a", "bc", "d"], max_tokens=5)
    assert [answer.text for answer in found] == ["A", "BC", "D"]
    assert found[1].tokens == ("B", "C")
    assert found[1].logprob == (-0.5, -0.5)
    assert (found[1].prompt_tokens, found[1].cached_tokens, found[1].output_tokens) == (7, 3, 2)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: web.Response(status=429),
        lambda: web.Response(status=408),
        lambda: web.Response(status=500, text=json.dumps({"choices": [{"message": {"content": "1"}}]})),
        lambda: web.Response(status=503),
        lambda: web.Response(text="<html>rubbish</html>"),
        lambda: web.Response(text="[" * 100_000),
        lambda: web.json_response({"error": {"message": "overloaded"}}),
        lambda: web.json_response({"choices": []}),
        lambda: web.json_response({"choices": [{"message": {"content": None}}]}),
        lambda: too_late,
        lambda: dies_midway,
    ],
)
def test_what_may_pass_is_tried_again_and_never_taken_as_data(serve, bad):
    server = serve(lambda prompt, n: bad() if n < 2 else chat("good"))
    assert [answer.text for answer in generator(server.url).generate(["a", "b"], max_tokens=5)] == ["good"] * 2
    assert server.tries == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (lambda: web.Response(status=500, text="secret body"), "HTTP 500"),
        (lambda: web.Response(text="secret body"), "not of the OpenAI form"),
        (lambda: too_late, "did not answer in time"),
        (lambda: dies_midway, "connection failed"),
    ],
)
def test_one_bad_row_is_its_own_error_after_the_retries(serve, bad, problem):
    server = serve(lambda prompt, n: bad() if prompt == "bad" else chat("good"))
    found = generator(server.url, retries=1).generate(["a", "bad", "c"], max_tokens=5)
    assert [answer.text for answer in found] == ["good", "", "good"]
    assert problem in found[1].error
    assert "secret" not in found[1].error
    assert server.tries["bad"] == 1


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 422])
def test_other_refusals_are_errors_at_once(serve, status):
    headers = {"Location": "/v1/elsewhere"} if status == 302 else {}
    server = serve(lambda prompt, n: web.Response(status=status, text="secret body", headers=headers))
    (found,) = generator(server.url).generate(["a"], max_tokens=5)
    assert found.error == f"the server said HTTP {status}"
    assert server.tries == {"a": 0}


def test_the_server_says_when_to_come_back(serve):
    server = serve(lambda prompt, n: chat("good") if n else web.Response(status=429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    assert generator(server.url).generate(["a"], max_tokens=5)[0].text == "good"
    assert 1.0 <= time.monotonic() - started < 3


def test_retry_after_may_be_a_date():
    assert seconds_of("Thu, 01 Jan 1970 00:01:40 GMT", "Thu, 01 Jan 1970 00:00:40 GMT") == 60
    assert seconds_of("Thu, 01 Jan 1970 00:01:40 GMT") == 0, "without the server's date by the clock of this machine"
    assert [seconds_of(text) for text in ("", "soon", "-1", "nan")] == [0.0] * 4


def test_no_more_requests_at_once_than_told(serve):
    async def slow(request):
        await asyncio.sleep(0.02)
        return chat("x")

    server = serve(lambda prompt, n: slow)
    found = generator(server.url, concurrency=3).generate([str(i) for i in range(20)], max_tokens=5)
    assert {answer.text for answer in found} == {"x"}
    assert server.most == 3


def test_the_deadline_of_a_call_holds(serve):
    server = serve(lambda prompt, n: web.Response(status=503) if prompt == "bad" else chat("good"))
    started = time.monotonic()
    found = generator(server.url, retries=1000, backoff=0.05, deadline=0.6).generate(["a", "bad"], max_tokens=5)
    assert time.monotonic() - started < 3
    assert (found[0].text, found[1].error) == ("good", "no answer within the deadline of the call")


def test_a_dead_server_stops_the_caller():
    dead = generator("http://127.0.0.1:9/v1", retries=1, down_after=4)
    assert "connection failed" in dead.generate(["a", "b", "c"], max_tokens=5)[0].error
    with pytest.raises(HostError, match=r"127\.0\.0\.1:9 is down.* 4 requests in a row.*connection failed"):
        dead.generate(["d", "e"], max_tokens=5)


def test_a_server_that_dies_in_the_middle_stops_the_caller(serve):
    server = serve(lambda prompt, n: chat("good") if int(prompt) < 10 else dies_midway)
    with pytest.raises(HostError, match="6 requests in a row"):
        generator(server.url, concurrency=2, retries=0, down_after=6).generate(list(map(str, range(40))), max_tokens=5)
    assert len(server.tries) < 25


def test_one_good_answer_closes_the_count(serve):
    server = serve(lambda prompt, n: chat("good") if int(prompt) % 3 == 0 else web.Response(status=400))
    client = generator(server.url, concurrency=1, down_after=3)
    assert sum(not answer.error for answer in client.generate(list(map(str, range(30))), max_tokens=5)) == 10


def test_the_key_is_sent_and_never_told(serve, monkeypatch, caplog):
    monkeypatch.setenv("TEAM_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server = serve(lambda prompt, n: web.Response(status=401, text=f"bad key {KEY}"))
    client = generator(server.url, api_key_env="TEAM_KEY", down_after=2)
    (row,) = client.generate(["a"], max_tokens=5)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(HostError) as caught:
        client.generate(["b"], max_tokens=5)
    told = [row.error, str(caught.value), repr(client.__dict__), caplog.text, repr(caught.value.__cause__)]
    assert not any(KEY in text for text in told)


@pytest.mark.parametrize(
    ("value", "problem"), [("", "set the environment variable TEAM_KEY"), ("a\nb", "no HTTP header")]
)
def test_a_key_that_is_not_there_or_cannot_be_sent(monkeypatch, value, problem):
    monkeypatch.setenv("TEAM_KEY", value)
    with pytest.raises(RecipeError, match=problem) as caught:
        generator("http://127.0.0.1:9/v1", api_key_env="TEAM_KEY").generate(["a"], max_tokens=5)
    assert "a\nb" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", f"http://me:{KEY}@x/v1", f"http://x/v1?key={KEY}"])
def test_an_address_is_plain(url):
    with pytest.raises(ValidationError) as caught:
        HttpConfig(base_url=url, model="m")
    assert KEY not in str(caught.value)


def test_what_is_asked_for():
    config = HttpConfig(
        base_url="http://x/v1/", model="m", extra={"seed": 1}, max_tokens_field="max_completion_tokens"
    )
    body = request_body(config, "hi", 9, choices=["1", "2"])
    assert config.base_url == "http://x/v1"
    assert body["structured_outputs"] == {"choice": ["1", "2"]}
    assert (body["temperature"], body["seed"], body["max_completion_tokens"], body["logprobs"]) == (0, 1, 9, True)
    schema = request_body(config, "hi", 9, schema={"type": "object"})["response_format"]["json_schema"]
    assert (schema["schema"], schema["strict"]) == ({"type": "object"}, False)
    bare = request_body(config.model_copy(update={"structured": "none"}), "hi", 9, schema={"type": "object"})
    assert "response_format" not in bare
    with pytest.raises(RecipeError, match="not both"):
        HttpGenerator(config).generate(["a"], max_tokens=1, schema={}, choices=[])


def test_the_completions_form(serve):
    logprobs = {"tokens": ["1"], "token_logprobs": [-0.25]}
    server = serve(lambda prompt, n: web.json_response({"choices": [{"text": "1", "logprobs": logprobs}]}))
    (found,) = generator(server.url, api="completions").generate(["a"], max_tokens=5)
    assert (found.text, found.logprob, found.output_tokens) == ("1", (-0.25,), 1)
    assert server.bodies[0][0] == "/v1/completions"


def test_log_probs_that_are_no_numbers_are_none():
    nan = {"choices": [{"text": "1", "logprobs": {"tokens": ["1"], "token_logprobs": [float("nan")]}}]}
    assert read_body(nan, "completions").logprob is None


def test_it_may_be_called_from_a_running_loop(serve):
    server = serve(lambda prompt, n: chat("good"))

    async def inside():
        return generator(server.url).generate(["a"], max_tokens=5)[0].text

    assert asyncio.run(inside()) == "good"


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" " * 4096)
    return response


def test_an_endless_answer_is_given_up(serve, monkeypatch):
    monkeypatch.setattr("persona_rm.backends.openai_http.LONGEST_ANSWER", 50_000)
    server = serve(lambda prompt, n: endless)
    (answer,) = generator(server.url).generate(["a"], max_tokens=5)
    assert "longer than 50,000 bytes" in answer.error
