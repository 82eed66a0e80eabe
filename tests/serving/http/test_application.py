import asyncio
import base64
import logging

import httpx
import pytest

from persona_rm.errors import RecipeError
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.labels import LabelPolicy
from tests.serving.http.http_service_samples import HOST, SECRET, Api

ASK = {"user": "ann", "prompt": "Hello?", "responses": [" Yes.", " No"]}


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_a_typed_score_says_what_it_knows_of_each_response(path):
    api = Api()
    found = api.post(path, {**ASK, "group": "g1"}).json()
    assert (found["version"], found["group"]) == (1, "g1")
    assert {ask.group for ask in api.actor.requests} == {"g1"}
    logs = {"persona_rm/cold": 0.0}
    parts = {"tea": 1.0, "coffee": 0.0}
    first = {"reward": 0.5, "parts": parts, "status": "ok", "user_known": True, "group": "all", "logs": logs}
    first["trace"] = None
    assert found["results"] == [first, {**first, "reward": 0.3, "parts": {"tea": 0.6, "coffee": 0.0}}]


@pytest.mark.parametrize(("path", "body"), [("/score", {"trace": True}), ("/v1/score?trace=true", {})])
def test_the_trace_of_a_reward_is_returned_on_request(path, body):
    api = Api()
    first, second = api.post(path, {**ASK, **body}).json()["results"]
    trace = first["trace"]
    assert trace.pop("request_id") != second["trace"]["request_id"]
    assert all(request.request_id for request in api.actor.requests)
    assert trace == {
        "user": "ann", "user_known": True, "group": "all", "status": "ok", "state_version": 3, "raw": 1.0,
        "parts": {"tea": 1.0}, "std": None, "inputs": {"n_items": 1},
        "steps": [{"name": "half", "before": 1.0, "after": 0.5}], "evidence": ["item"],
    }  # fmt: skip
    assert str(trace["inputs"]) == "{'n_items': 1}", "a whole number, as in the reward log"
    assert api.post("/score", {**ASK, "trace": "loud"}).status_code == 422
    schema = api.call("GET", "/openapi.json").json()
    assert schema["components"]["schemas"]["TraceOut"]["examples"][0].keys() == first["trace"].keys() | {"request_id"}
    assert "trace" in [one["name"] for one in schema["paths"]["/score"]["post"]["parameters"]]


def test_a_stranger_is_cold():
    (one,) = Api().post("/score", {"prompt": "Hello?", "responses": ["x"]}).json()["results"]
    assert (one["status"], one["user_known"]) == ("cold", False)


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        ({**HOST, "labels": []}, 422, "invalid", "lists of one length"),
        ({**HOST, "query": [3]}, 422, "invalid", "query.0"),
        ({**HOST, "query": None}, 422, "invalid", "query"),
        ({"query": [SECRET], "prompts": [SECRET]}, 422, "invalid", "labels: Field required"),
        ([SECRET], 422, "invalid", "body"),
        ({**HOST, "query": [SECRET]}, 422, "unscorable", "row 0: the query"),
        ({**HOST, "query": ["Hello? long"]}, 422, "unscorable", "row 0: prompt and response are too long"),
        ({**HOST, "query": ["Hello? nan"]}, 500, "not_finite", "row 0: the reward is not a finite number"),
        ({**HOST, "query": ["Hello? boom"]}, 500, "failed", "row 0: the service failed (RuntimeError)"),
    ],
)
def test_a_call_has_all_its_rewards_or_an_error_without_the_text(caplog, body, status, kind, said):
    caplog.set_level(logging.DEBUG)
    api = Api()
    found = api.post("/get_reward", body)
    assert (found.status_code, found.json()["kind"]) == (status, kind)
    assert {"error", "kind"} <= set(found.json()) <= {"error", "kind", "request_id"}
    if request_id := found.json().get("request_id"):
        assert f"request {request_id}, user {api.actor.log_ids.of('ann')}" in caplog.text or kind == "not_finite"
    assert "9 tokens" not in found.text
    assert "characters" not in found.text, "these are the error's own words"
    assert said in found.json()["error"]
    assert SECRET not in found.text + caplog.text
    assert "Hello" not in found.text + caplog.text


def test_one_row_that_fails_fails_the_call_and_cancels_the_others():
    api = Api()
    body = {"query": ["Q wait", "Q ok", "Q boom"], "prompts": ["Q"] * 3, "labels": ["ann"] * 3}
    found = api.post("/get_reward", body)
    assert (found.status_code, found.json()["error"][:6]) == (500, "row 2:")
    assert api.actor.cancelled == 1
    assert api.service.waiting == 0


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "invalid"),
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"[" * 60_000, 400, "malformed"),
        (b"[" * 200_000, 413, "too_large"),
        (b'{"prompt": "x", "responses": []}'.ljust(70_000).decode().encode("utf-16"), 400, "malformed"),
        (b'{"prompt": "x", "responses": [], "user": ' + b"9" * 6000 + b"}", 400, "malformed"),
        (b'{"prompt": "\\ud800", "responses": []}', 422, "invalid"),
        (b'{"prompt": "x", "responses": [], "' + SECRET.encode() + b'": 1}', 422, "invalid"),
        (b'{"prompt": "x", "responses": [], "version": 2}', 422, "invalid"),
        (b'{"prompt": "x", "responses": [NaN]}', 422, "invalid"),
        (b"null", 422, "invalid"),
    ],
)
def test_bodies_that_are_none(content, status, kind):
    found = Api().call("POST", "/score", {"content-type": "application/json"}, content=content)
    assert (found.status_code, found.json()["kind"]) == (status, kind)
    assert SECRET not in found.text
    assert "ud800" not in found.text


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [("GET", "/score", 405, "method"), ("GET", "/etc/passwd", 404, "not_found"), ("POST", "/ready", 405, "method")],
)
def test_other_routes_and_methods(method, path, status, kind):
    found = Api().call(method, path, {"content-type": "application/json"}, content=b"{}" if method == "POST" else None)
    assert (found.status_code, found.json()["kind"]) == (status, kind)
    assert (status != 405) or found.json()["error"] == f"this route takes {found.headers['allow']}"


def test_faults_of_a_body_name_their_keys_and_the_valid_ones():
    found = Api().post("/score", {"usr": "ann", "promt": "Hello?", "responses": ["Yes.", 3]})
    there = "there is no such key; there is: version, user, prompt, responses, finished, group, trace; did you mean"
    faults = found.json()["error"].split("; ")
    assert "; ".join(faults[:3]) == f"usr: {there} 'user'?"
    assert "; ".join(faults[3:6]) == f"promt: {there} 'prompt'?"
    assert [fault.partition(":")[0] for fault in faults[6:]] == ["prompt", "responses.1"]
    many = Api().post("/score", {"prompt": "x", "responses": [3] * 9}).json()["error"]
    assert many.endswith("; and 4 more faults")
    odd = Api().post("/score", {**ASK, SECRET: 1}).json()["error"]
    assert odd.startswith("body: one of its keys is unknown; there is: version, user,")


@pytest.mark.parametrize("form", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_is_json(form):
    found = Api().call("POST", "/score", {"content-type": form} if form else (), content=b"{}")
    assert (found.status_code, found.json()["kind"]) == (415, "media_type")


def test_the_limits_of_bytes_and_rows():
    api = Api(body_limit=300, row_limit=2)
    assert api.post("/score", {**ASK, "prompt": "x" * 300}).json()["kind"] == "too_large"
    found = api.post("/score", {**ASK, "responses": ["a"] * 3})
    assert (found.status_code, found.json()["kind"]) == (413, "too_large")
    assert api.post("/score", ASK).status_code == 200

    async def parts():
        for _ in range(9):
            yield b"x" * 50

    found = api.call("POST", "/score", {"content-type": "application/json"}, content=parts())
    assert found.status_code == 413, "also without a content length"
    assert held(api) == 0


def held(api):
    """Bytes of bodies that the guard believes to be under way."""
    layer = api.app.middleware_stack
    while not hasattr(layer, "held"):
        layer = layer.app
    return layer.held


def test_bodies_under_way_share_a_limit():
    api = Api(body_limit=200)

    async def main():
        async with api.client() as client:
            waits = [
                asyncio.create_task(client.post("/score", json={**ASK, "responses": ["wait"]})) for _ in range(90)
            ]
            while len(api.actor.requests) + sum(one.done() for one in waits) < 90:
                await asyncio.sleep(0.01)
            most = held(api)
            api.actor.go.set()
            return most, [(await one).status_code for one in waits]

    most, found = asyncio.run(main())
    assert 0 < most <= api.settings.memory
    assert set(found) == {200, 503}
    assert held(api) == 0


def test_a_body_that_does_not_come_is_not_waited_for():
    api = Api(body_seconds=0.05)

    async def slow():
        yield b"{"
        await asyncio.sleep(30)

    found = api.call("POST", "/score", {"content-type": "application/json"}, content=slow())
    assert (found.status_code, found.json()["kind"]) == (408, "slow")


def basic(password):
    return "Basic " + base64.b64encode(f"any:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("given", "status"),
    [("Bearer right", 200), (basic("right"), 200), ("bearer right", 200), ("Bearer wrong", 401), ("", 401),
     ("right", 401), (basic("wrong"), 401), ("Basic ???", 401), ("Basic /w==", 401), ("Bearer r\xefght", 401)],
)  # fmt: skip
def test_a_token_opens_everything_but_the_probes(given, status):
    api = Api(token="right")
    headers = {"authorization": given.encode("latin-1")} if given else {}
    found = api.call("POST", "/score", headers, json=ASK)
    assert found.status_code == status
    assert api.call("GET", "/metrics", headers).status_code == status
    assert api.call("GET", "/health").status_code == api.call("GET", "/ready").status_code == 200
    if status == 401:
        assert found.headers["www-authenticate"] == "Bearer"
        assert api.actor.requests == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.3", "example.org"])
def test_other_machines_need_a_token(host):
    with pytest.raises(RecipeError, match="PERSONA_RM_TOKEN"):
        Settings(host=host)
    assert Settings(host=host, token="t").token == "t"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_none(host):
    assert Settings(host=host).token is None
    for token in ("", " ", "a\nb", "\u00e9"):
        with pytest.raises(RecipeError, match="token"):
            Settings(host=host, token=token)


def test_until_the_bundle_is_loaded_nothing_is_scored():
    api = Api(opened=False)
    for found in (api.call("GET", "/ready"), api.post("/get_reward", HOST)):
        assert (found.status_code, found.json()["kind"], found.headers["retry-after"]) == (503, "not_ready", "5")
        assert "is being loaded" in found.json()["error"]
    assert api.call("GET", "/health").json()["status"] == "ok"


def test_a_full_service_says_so_and_when_to_try_again():
    found = Api(limit=1).post("/score", {**ASK, "responses": ["wait", "b"]})
    assert (found.status_code, found.json()["kind"], found.headers["retry-after"]) == (503, "busy", "1")


def test_a_row_that_comes_too_late_is_an_error():
    api = Api(deadline=0.05)
    found = api.post("/get_reward", {**HOST, "query": ["Hello? wait"]})
    assert (found.status_code, found.json()["kind"]) == (503, "late")
    assert api.actor.cancelled == 1
    assert api.post("/get_reward", HOST).status_code == 200


def test_a_service_that_hangs_is_not_ready_and_is_again_when_it_answers():
    api = Api(stuck_timeout=0.05)

    async def main():
        async with api.client() as client:
            hung = asyncio.create_task(client.post("/score", json={**ASK, "responses": ["wait"]}))
            await asyncio.sleep(0.2)
            states = [await client.get("/ready"), await client.post("/score", json=ASK), await client.get("/health")]
            api.actor.go.set()
            return [*states, await hung, await client.get("/ready")]

    found = asyncio.run(main())
    assert [one.status_code for one in found] == [503, 503, 200, 200, 200]
    assert "while rows wait" in found[0].json()["error"]


def test_strict_labels_refuse_samples_of_nobody_and_of_strangers():
    api = Api(labels=LabelPolicy(strict=True))
    assert api.post("/get_reward", HOST).status_code == 200
    for label in (None, 7, "zoe", {}):
        found = api.post("/get_reward", {**HOST, "labels": [label]})
        assert (found.status_code, found.json()["kind"]) == (422, "label")
        assert "zoe" not in found.text


def test_a_caller_that_goes_away_takes_its_rows_along():
    api = Api()

    async def main():
        sent, messages = [], asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": "/score", "raw_path": b"/score", "query_string": b"",
                 "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
                 "client": ("127.0.0.1", 1), "root_path": "",
                 "http_version": "1.1", "scheme": "http", "server": ("simulator", 80)}  # fmt: skip
        body = httpx.Request("POST", "http://test", json={**ASK, "responses": ["wait", "wait"]}).content
        messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(message):
            sent.append(message)

        call = asyncio.create_task(api.app(scope, messages.get, send))
        while len(api.actor.requests) < 2:
            await asyncio.sleep(0.01)
        messages.put_nowait({"type": "http.disconnect"})
        await call
        async with api.client() as client:
            return await client.post("/score", json=ASK), await client.get("/metrics")

    scored, metrics = asyncio.run(main())
    assert api.actor.cancelled == 2
    assert api.service.waiting == 0
    assert scored.status_code == 200
    assert 'persona_rm_failures_total{kind="gone"} 1.0' in metrics.text


def test_the_schema_has_examples_that_work_and_every_status_that_is_given():
    api = Api()
    schema = api.call("GET", "/openapi.json").json()
    for path, name in (("/get_reward", "RewardsIn"), ("/v1/score", "ScoreIn"), ("/score", "ScoreIn")):
        (example,) = schema["components"]["schemas"][name]["examples"]
        assert api.post(path, example).status_code == 200
        assert {"200", "400", "401", "408", "413", "415", "422", "500", "503"} == set(
            schema["paths"][path]["post"]["responses"]
        )
    assert "HTTPValidationError" not in schema["components"]["schemas"]


@pytest.mark.parametrize(
    ("user", "asked"), [(17, "17"), (17.0, "17"), ("17", "17"), (None, None), ("NaN", None), ("\u200b", None)]
)
def test_the_user_of_a_typed_score_is_read_as_a_label_is(user, asked):
    api = Api()
    assert api.post("/score", {**ASK, "user": user}).status_code == 200
    assert {request.user for request in api.actor.requests} == {asked}


@pytest.mark.parametrize("user", [1.5, True, ["ann"], {"user": "ann"}, 2**60 + 0.0])
def test_what_is_no_user_id_is_a_422_that_names_the_key(user):
    answer = Api().post("/score", {**ASK, "user": user})
    assert answer.status_code == 422
    assert "user" in answer.json()["error"]
    assert "ann" not in answer.text
