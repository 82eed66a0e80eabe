import asyncio
import math
import time
from dataclasses import replace
from typing import get_args

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.backends.logprob.row_logprob import check_rows
from persona_rm.bundle import write_bundle
from persona_rm.errors import DataError, ErrorKind, Full, Late, ScoreError
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.client import RewardClient, Unreachable
from persona_rm.serving.http.http_errors import KINDS, RequestError, request_error_of
from persona_rm.serving.http.service import ActorService, PoolService, RequestFlow
from persona_rm.serving.pool.pool import Pool
from persona_rm.types import Persona, RewardRequest, RewardResult, RewardTrace
from tests.serving.http.http_service_samples import HOST, RUNNER, SECRET, Api
from tests.serving.serving_samples import users_bundle


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ScoreError(SECRET, (0,), "too_long"), "unscorable"),
        (ScoreError(SECRET, kind="no_token"), "unscorable"),
        (ScoreError(SECRET, kind="not_finite"), "not_finite"),
        (ScoreError(SECRET, kind="group"), "late"),
        (ScoreError(SECRET, kind="down"), "down"),
        (ScoreError(f"{SECRET}: too long for the limit of 8 tokens, not finite, no reward actor answered"), "failed"),
        (Late(SECRET), "late"),
        (Full(SECRET), "busy"),
        (TimeoutError(SECRET), "late"),
        (DataError(f"{SECRET} is no evidence"), "failed"),
        (ValueError(f"{SECRET} is not finite"), "failed"),
        (RequestError("busy", "full"), "busy"),
    ],
)
def test_errors_have_kinds_and_keep_their_words(error, kind):
    refusal = request_error_of(error)
    assert (refusal.kind, refusal.status) == (kind, KINDS[kind])
    assert SECRET not in refusal.problem


def test_every_kind_of_error_has_an_answer():
    kinds = {kind: request_error_of(ScoreError("x", kind=kind)).kind for kind in get_args(ErrorKind)}
    assert [kind for kind, refused in kinds.items() if refused == "failed"] == ["failed"]
    assert kinds["busy"] == "busy"


@pytest.mark.parametrize(
    ("row", "kind"), [(((1,) * 9, 4), "too_long"), (((1, 2), 2), "no_token"), (((1, 2), 0), "no_token")]
)
def test_what_the_backends_refuse_has_its_kind(row, kind):
    with pytest.raises(ScoreError) as caught:
        check_rows([row], 8, 100)
    assert caught.value.kind == kind


def test_bad_input_is_never_the_services_fault():
    assert [kind for kind in ("malformed", "too_large", "invalid", "label", "unscorable") if KINDS[kind] >= 500] == []
    assert all(400 <= status < 600 for status in KINDS.values())


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_rows_that_fail_are_answers_and_rows_that_come_too_late_are_none():
    clock = Clock()
    flow = RequestFlow(9, 10, clock)
    with flow.row():
        clock.now = 11
        assert flow.stuck
        with pytest.raises(RequestError, match="nothing was scored for 10 s"), flow.row():
            pass
        for none in (TimeoutError(), Late("x"), ScoreError("x", kind="down")):
            with pytest.raises(type(none)):
                leave(flow, clock, none)
            assert flow.stuck
        with pytest.raises(ScoreError):
            leave(flow, clock, ScoreError("x"))
        assert not flow.stuck
    assert (flow.waiting, flow.stuck) == (0, False)


def test_a_store_that_is_away_makes_the_service_unready_until_a_row_is_scored_or_for_ten_seconds():
    clock = Clock()
    flow = RequestFlow(9, 60, clock)
    service = ActorService(lambda: None)
    service.flow, service.opened = flow, True
    for end in ("row", "time"):
        with pytest.raises(ScoreError), flow.row():
            raise ScoreError("x", kind="down")
        assert (service.ready(), service.reason()) == (
            False,
            "the profile store or the reward actors did not answer just now",
        )
        if end == "row":
            with flow.row():
                pass
        else:
            clock.now += 10
        assert (service.ready(), service.reason()) == (True, "")


def leave(flow, clock, error):
    """A row that was let in before the service hung ends now."""
    now, clock.now = clock.now, 0
    with flow.row():
        clock.now = now
        raise error


class Letters:
    """log p = minus the letters of prompt and response; too long from 50 on."""

    def logprob(self, prompts, responses, finished=None):
        if any(len(r) > 50 for r in responses):
            raise ScoreError("51 tokens", kind="too_long")
        return [
            SequenceLogProb(math.nan if "nan" in r else -0.01 * len(p) - len(r), None, len(r) + 1)
            for p, r in zip(prompts, responses, strict=True)
        ]


@pytest.fixture
def api(tmp_path, space):
    """The API over a real actor, whose users are in a users file and in SQLite."""

    def make():
        actor = RewardActor(str(users_bundle(tmp_path / "bundle", space)), "http", str(tmp_path / "run"))
        actor.bundle.__dict__["_backends"] = Backends(logprob=Letters())
        return actor

    made = Api()
    made.service = ActorService(make)
    made = rebuilt(made)
    RUNNER.run(made.service.open())
    made.actor = made.service._actor
    return made


def rebuilt(api):
    from persona_rm.hosts.openrlhf.routes import GET_REWARD
    from persona_rm.serving.http.application import make_app

    api.app = make_app(api.service, api.settings, [GET_REWARD])
    return api


EVIL = [
    "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "users.jsonl", "bundle.yaml", "sqlite:people.sqlite",
    "u0/u1", "u0' OR '1'='1", "%", "u_", "u0\x00", " u0", "U0", "u0\n", "{{u0}}", "${HOME}", "u0'; DROP TABLE people",
]  # fmt: skip


@pytest.mark.parametrize("label", EVIL)
def test_a_label_is_an_id_and_nothing_else(api, tmp_path, label):
    before = sorted(tmp_path.rglob("*"))
    found = api.post("/get_reward", {**HOST, "labels": [{"user": label}]})
    assert found.status_code == 200
    assert found.json()["extra_logs"]["persona_rm/cold"] == [1.0]
    assert found.json()["rewards"] == api.post("/get_reward", {**HOST, "labels": [None]}).json()["rewards"]
    known = api.post("/get_reward", {**HOST, "labels": [{"user": "u0"}]}).json()
    assert known["extra_logs"]["persona_rm/cold"] == [0.0]
    assert known["rewards"] != found.json()["rewards"]
    assert [
        path
        for path in sorted(tmp_path.rglob("*"))
        if path not in before and "sqlite" not in path.name and path.name != "http.jsonl"
    ] == []


def test_another_persons_id_gives_that_persons_reward_and_no_word_of_them(api):
    asked = {"prompt": "Hi", "responses": ["Yes."]}
    ids = ("u0", "u1", None)
    one, other, nobody = (api.post("/score", {**asked, "user": user}).json()["results"][0] for user in ids)
    assert (one["user_known"], other["user_known"], nobody["user_known"]) == (True, True, False)
    assert set(one) == {"reward", "parts", "status", "user_known", "group", "logs", "trace"}
    assert one["trace"] is None, "only on request"
    assert all(isinstance(value, float) for value in one["logs"].values())


@pytest.mark.parametrize(("response", "status", "kind"), [("x" * 51, 422, "unscorable"), ("nan", 500, "not_finite")])
def test_what_the_method_refuses(api, response, status, kind):
    found = api.post("/get_reward", {**HOST, "query": [f"Hello?{response}"]})
    assert (found.status_code, found.json()["kind"]) == (status, kind)
    assert api.post("/get_reward", HOST).status_code == 200


def test_a_set_up_that_cannot_score_fails_when_it_is_opened(tmp_path, space):
    folder = users_bundle(tmp_path / "bundle", space)
    service = ActorService(lambda: RewardActor(str(folder), "http"))
    with pytest.raises(Exception, match="log-prob"):
        RUNNER.run(service.open())
    assert not service.ready()


class Transport:
    """Two actors; "dead" ones do not answer."""

    def __init__(self):
        self.error, self.asks, self.timeouts = None, [], []

    def names(self):
        return ["reward-0", "reward-1"]

    def inference(self):
        return None

    def call(self, name, method, args, timeout):
        self.asks.append((name, *args))
        self.timeouts.append(timeout)
        if self.error:
            raise self.error
        return [RewardResult(len(request.response) / 10, RewardTrace(0.0)) for request in args[0]]


class Actors(Pool):
    def info(self, timeout=60):
        figures = {"mean_batch": 3.0, "rows": {"scored": 10}, "engine": {"tokens_cached": 100}}
        inference = {"name": "inference-0", "inferrer": "posterior", "mean_batch": 900.0}
        return [*({"name": name, **figures} for name in self.names), inference]


@pytest.fixture
def pooled():
    transport = Transport()
    client = RewardClient(transport, deadline=1000, wait=lambda _: time.sleep(0.01))
    service = PoolService(client, Actors("simulator", ("reward-0", "reward-1")))
    RUNNER.run(service.open())
    api = Api(deadline=0.3)
    api.service = service
    yield rebuilt(api), transport
    RUNNER.run(service.close())


def test_the_pool_is_asked_in_threads_each_person_at_one_actor(pooled):
    api, transport = pooled
    body = {"prompt": "Hi", "responses": [" a"] * 20, "user": "ann", "group": "g1"}
    found = api.post("/score", body)
    assert [one["reward"] for one in found.json()["results"]] == [0.2] * 20
    assert len({name for name, _ in transport.asks}) == 1
    requests = [request for _, (request,) in transport.asks]
    assert {replace(request, request_id="") for request in requests} == {RewardRequest("ann", "Hi", " a", group="g1")}
    assert len({request.request_id for request in requests}) == 20
    names = [one["name"] for one in api.call("GET", "/info").json()["actors"]]
    assert names == ["reward-0", "reward-1", "inference-0"]
    metrics = api.call("GET", "/metrics").text.splitlines()
    assert "persona_rm_batch_rows_mean 3.0" in metrics
    assert 'persona_rm_rows_total{outcome="scored"} 20.0' in metrics
    assert 'persona_rm_engine_total{what="tokens_cached"} 200.0' in metrics


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Unreachable("reward-0: ActorDiedError"), 503, "down"),
        (Full("reward-0 could not score: 4096 rows wait"), 503, "busy"),
        (ScoreError("reward-0 could not score: 9 tokens", kind="too_long"), 422, "unscorable"),
        (Late("reward-0 could not score: no result within 3 s"), 503, "late"),
    ],
)
def test_a_pool_that_does_not_answer_and_one_that_refuses(pooled, error, status, kind):
    api, transport = pooled
    transport.error = error
    found = api.post("/get_reward", HOST)
    assert (found.status_code, found.json()["kind"]) == (status, kind)
    transport.error = None
    assert api.post("/get_reward", HOST).json()["rewards"] == [0.5]
    assert max(transport.timeouts) <= 0.3, "the call's deadline, not the client's"


def test_closing_tells_who_waits_and_closes_the_actor(api):
    service, actor = api.service, api.service._actor

    async def main():
        with actor._bundle_lock:
            ask = asyncio.create_task(service.score(RewardRequest("u0", "Hi", "Yes."), caller="", deadline=2))
            await asyncio.sleep(0.05)
            closing = asyncio.create_task(service.close())
            with pytest.raises(RequestError) as told:
                await ask
        await closing
        return told.value.kind

    assert RUNNER.run(main()) == "down"
    assert api.post("/get_reward", HOST).json()["kind"] == "not_ready"
    assert actor._closed


def test_a_user_who_cannot_be_scored_is_a_422_with_the_cause_and_the_log_has_the_request(tmp_path, space, caplog):
    users = [Persona("ann", directions=space.parse("Likes Science")), Persona("theodora")]
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, "inferrer": None}
    folder = write_bundle(tmp_path / "bundle", users, **keys)
    made = Api()
    made.service = ActorService(lambda: RewardActor(str(folder), "http"))
    made = rebuilt(made)
    made.service._actor, made.service.opened = RewardActor(str(folder), "http"), True
    found = made.post("/score", {"user": "theodora", "prompt": SECRET, "responses": [SECRET]})
    body, hashed = found.json(), made.service.log_ids.of("theodora")
    assert (found.status_code, body["kind"]) == (422, "unscorable")
    assert body["error"] == (
        f"row 0: what is known about this user cannot be used: pba_linear: user {hashed} has no directions; run an "
        "inferrer first (vote, golden)"
    )
    line = f"request {body['request_id']}, user {hashed}: user, pba_linear: user {hashed} has no directions"
    assert [line in record.getMessage() for record in caplog.records] == [True, True], "the actor's, then the API's"
    assert "theodora" not in (found.text + caplog.text).replace(SECRET, "").lower()
    assert SECRET not in found.text + caplog.text
    assert made.post("/score", {"user": "ann", "prompt": "Hi", "responses": ["Yes."]}).status_code == 200


def test_the_service_opens_only_if_known_users_can_be_scored(tmp_path, space):
    users = [Persona("ann", directions=space.parse("Likes Science")), Persona("bob")]
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, "inferrer": None}
    folder = write_bundle(tmp_path / "bundle", users, **keys)
    service = ActorService(lambda: RewardActor(str(folder), "http"))
    with pytest.raises(ScoreError, match="cannot score a response for user 'bob': pba_linear: user 'bob' has no dir"):
        RUNNER.run(service.open())
    assert not service.ready()
