import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from persona_rm.errors import Full, HostError, Late, ScoreError
from persona_rm.serving.client import RayTransport, RewardClient, Unreachable
from persona_rm.serving.failures import ALLOWED, Failures, SkipGroup, read_policy
from persona_rm.types import RewardRequest, RewardResult, RewardTrace

REQUEST = RewardRequest("u", "p", "r")


class Fake:
    """A transport whose actors answer, die or refuse as told."""

    def __init__(self, names=("reward-0", "reward-1"), *, bundle="/bundle", reward=1.0, dead=0, inference=None):
        self._names, self.bundle, self.value, self.dead = list(names), bundle, reward, dead
        self.calls, self._inference, self.serves, self.death = [], inference, bundle, None

    def names(self):
        return self._names

    def inference(self):
        return self._inference

    def call(self, name, method, args, timeout):
        self.calls.append((name, method, args))
        if method == "info":
            return {"bundle": self.serves if name == self._inference else self.bundle}
        if self.dead:
            self.dead -= 1
            raise self.death or Unreachable(f"{name}: ActorDiedError")
        if isinstance(self.value, Exception):
            raise self.value
        if method != "score_batch":
            return SimpleNamespace()
        return [RewardResult(self.value, RewardTrace(0.0, request_id=request.request_id)) for request in args[0]]


def client(fake, **kwargs):
    pauses = []
    made = RewardClient(fake, wait=pauses.append, **kwargs)
    made.pauses = pauses
    return made


def test_a_reward():
    assert client(Fake(reward=0.25)).reward(REQUEST).reward == 0.25


def test_a_user_keeps_to_one_actor():
    fake = Fake()
    one = client(fake)
    for _ in range(5):
        one.reward(REQUEST)
    assert len({name for name, _, _ in fake.calls}) == 1
    for i in range(40):
        one.reward(RewardRequest(f"u{i}", "p", "r"))
    assert {name for name, _, _ in fake.calls} == {"reward-0", "reward-1"}


def test_where_an_actor_is_dead_its_neighbour_is_asked_at_once_and_all_again_with_growing_pauses():
    fake = Fake(dead=5)
    one = client(fake)
    assert one.reward(REQUEST).reward == 1.0
    assert one.pauses == [0.1, 0.2]
    names = [name for name, _, _ in fake.calls]
    assert len(names) == 6
    assert all(set(names[i : i + 2]) == {"reward-0", "reward-1"} for i in (0, 2, 4)), "each once in a round"


def test_who_did_not_answer_is_asked_last_next_time():
    fake = Fake(dead=1)
    one = client(fake)
    one.reward(REQUEST)
    one.reward(REQUEST)
    (home, neighbour, again) = [name for name, _, _ in fake.calls]
    assert home != neighbour == again


class Hangs(Fake):
    """Remembers how long each actor had."""

    def call(self, name, method, args, timeout):
        self.given = [*getattr(self, "given", []), timeout]
        return super().call(name, method, args, timeout)


def test_an_actor_that_hangs_gets_half_of_the_time_while_others_are_left():
    fake = Hangs(("a", "b", "c"), dead=2)
    client(fake, deadline=100).reward(REQUEST)
    assert [round(seconds) for seconds in fake.given] == [50, 50, 100], "the last one gets all that is left"


def test_a_pool_that_grew_is_found():
    fake = Fake(names=("reward-0",))
    one = client(fake)
    one.roster.every = 0
    for i in range(20):
        one.reward(RewardRequest(f"u{i}", "p", "r"))
    fake._names = ["reward-0", "reward-1"]
    for i in range(20):
        one.reward(RewardRequest(f"u{i}", "p", "r"))
    assert {name for name, _, _ in fake.calls[:20]} == {"reward-0"}
    assert {name for name, _, _ in fake.calls[20:]} == {"reward-0", "reward-1"}


def test_after_the_deadline_there_is_an_error_and_no_number():
    with pytest.raises(
        ScoreError, match=r"no reward actor answered score_batch within 0 s; last: reward-\d: ActorDied"
    ):
        client(Fake(dead=10**9), deadline=0).reward(REQUEST)
    with pytest.raises(ScoreError, match="no actor is named"):
        client(Fake(names=()), deadline=0).reward(REQUEST)


@pytest.mark.parametrize("error", [ScoreError("no"), ScoreError("no", kind="too_long"), Late("no")])
def test_an_error_of_the_method_is_not_repeated(error):
    fake = Fake(reward=error)
    with pytest.raises(ScoreError, match="no") as caught:
        client(fake).reward(REQUEST)
    assert (len(fake.calls), caught.value.kind) == (1, error.kind)


def test_where_an_actor_has_no_room_its_neighbour_is_asked_and_the_person_stays_at_home():
    fake = Fake(dead=3)
    fake.death, one = Full("reward-0 could not score: 4096 rows wait"), client(fake)
    assert one.reward(REQUEST).reward == 1.0
    home, neighbour, *again = [name for name, _, _ in fake.calls]
    assert home != neighbour
    assert again == [home, neighbour]
    one.reward(REQUEST)
    assert fake.calls[-1][0] == home, "not in_cooldown"


def test_where_an_actor_is_closing_its_neighbour_is_asked_from_now_on():
    fake = Fake(dead=1)
    fake.death, one = ScoreError("the batcher was closed", kind="down"), client(fake)
    one.reward(REQUEST)
    one.reward(REQUEST)
    (home, neighbour, again) = [name for name, _, _ in fake.calls]
    assert home != neighbour == again


@pytest.mark.parametrize(("death", "kind"), [(Full("full"), "busy"), (None, "down")])
def test_after_the_deadline_the_kind_says_what_it_was(death, kind):
    fake = Fake(dead=10**9)
    fake.death = death
    with pytest.raises(ScoreError, match="no reward actor answered score_batch within 0 s; last: ") as caught:
        client(fake, deadline=0).reward(REQUEST)
    assert caught.value.kind == kind


def test_a_call_has_a_deadline_of_its_own():
    fake = Hangs(("a", "b", "c"), dead=2)
    client(fake, deadline=100).reward(REQUEST, deadline=10)
    assert [round(seconds) for seconds in fake.given] == [5, 5, 10]
    one = client(Fake(dead=10**9), deadline=2)
    with pytest.raises(ScoreError, match="within 0 s"):
        one.reward(REQUEST, deadline=0.01)
    assert max(one.pauses) <= 0.01, "no pause beyond the end"


def test_the_group_goes_along():
    fake = Fake()
    client(fake).reward(replace(REQUEST, group="g1"))
    assert fake.calls[-1][2][0][0].group == "g1"


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (ScoreError("9 tokens", (3,), "too_long"), "too_long", "reward-0 could not score: 9 tokens"),
        (Late("no result within 3 s"), "late", "reward-0 could not score: no result within 3 s"),
        (Full("4096 rows wait"), "busy", "reward-0 could not score: 4096 rows wait"),
        (ValueError("a private text"), "failed", "reward-0 could not score: ValueError"),
    ],
)
def test_the_kind_of_an_error_survives_the_journey_through_ray(monkeypatch, cause, kind, said):
    ray = pytest.importorskip("ray")
    sent = ray.exceptions.RayTaskError("score", "its traceback", cause).to_bytes()

    def get(ref, timeout):
        raise ray.exceptions.RayError.from_bytes(sent).as_instanceof_cause()

    monkeypatch.setattr(ray, "get", get)
    transport = RayTransport()
    transport._handles["reward-0"] = SimpleNamespace(score=SimpleNamespace(remote=lambda *_: None))
    with pytest.raises(ScoreError) as caught:
        transport.call("reward-0", "score", (), 1.0)
    assert caught.value.kind == kind
    assert str(caught.value).startswith(said)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1.0"])
def test_a_reward_that_is_no_finite_number_is_an_error(value):
    with pytest.raises(ScoreError, match="the reward of user 'u' is") as caught:
        client(Fake(reward=value)).reward(REQUEST)
    assert caught.value.kind == ("not_finite" if isinstance(value, float) else "failed")


def test_no_reply_is_an_error():
    class Silent(Fake):
        def call(self, name, method, args, timeout):
            return None

    with pytest.raises(ScoreError, match="an actor gave no results for 1 requests"):
        client(Silent()).reward(REQUEST)
    with pytest.raises(ScoreError, match="asked for the profile of user 'u', the actor answered nothing"):
        client(Silent()).profile("u", "p")


def test_the_default_stops():
    with pytest.raises(ScoreError) as caught:
        client(Fake(reward=ScoreError("too long"))).reward(REQUEST)
    assert type(caught.value) is ScoreError


def test_skip_group_says_so_and_is_still_an_error_for_those_who_do_not_know_it():
    fake = Fake(reward=math.nan)
    one = client(fake, on_failure="skip_group")
    with pytest.raises(SkipGroup, match="the reward of user 'u' is nan"):
        one.reward(REQUEST)
    with pytest.raises(ScoreError):
        one.reward(REQUEST)
    assert one.failures.total == 2


def test_many_failures_are_a_broken_service_and_stop_the_job_all_the_same():
    failures = Failures("skip_group")
    for _ in range(ALLOWED):
        assert isinstance(failures.failed(ScoreError("NaN")), SkipGroup)
    found = failures.failed(ScoreError("NaN"))
    assert type(found) is ScoreError
    assert str(found) == "11 of the last 11 rewards failed; skip_group allows 10. The last one: NaN"
    for _ in range(100):
        failures.passed()
    assert isinstance(failures.failed(ScoreError("NaN")), SkipGroup)
    assert failures.total == ALLOWED + 2


def test_policies_and_seconds_of_the_environment():
    assert (read_policy("stop"), read_policy("skip_group")) == ("stop", "skip_group")
    with pytest.raises(HostError, match=r"PERSONA_RM_ON_FAILURE is 'zero'; it is one of \['stop', 'skip_group'\]"):
        RewardClient.from_env({"PERSONA_RM_ON_FAILURE": "zero"})
    for text in ("soon", "0", "-1", "nan", "inf"):
        with pytest.raises(HostError, match=f"PERSONA_RM_DEADLINE is '{text}'"):
            RewardClient.from_env({"PERSONA_RM_DEADLINE": text})


@pytest.mark.parametrize(
    ("fake", "bundle", "message"),
    [
        (Fake(), None, "PERSONA_RM_BUNDLE does not say"),
        (Fake(names=()), "/bundle", "no reward actors in namespace"),
        (Fake(bundle="/other"), "/bundle", "serve /other, this job asks for /bundle"),
    ],
)
def test_a_set_up_that_cannot_work_is_refused_with_the_reason(fake, bundle, message):
    with pytest.raises(HostError, match=message):
        client(fake).check(bundle)


def test_a_good_set_up_passes():
    client(Fake()).check("/bundle")


def test_many_threads_at_once():
    one, out = client(Fake(dead=8)), []
    threads = [threading.Thread(target=lambda: out.append(one.reward(REQUEST).reward)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert out == [1.0] * 16


def test_the_inference_actor_is_asked_what_people_prefer_and_no_other():
    fake = Fake(inference="inference-0")
    one = client(fake)
    one.profile("u", "p")
    one.directions(["u", "v"], "p")
    one.reward(REQUEST)
    (first, second, third) = fake.calls
    assert first == ("inference-0", "profile", ("u", "p"))
    assert second == ("inference-0", "directions", (["u", "v"], "p"))
    assert third[0].startswith("reward-")


def test_where_no_inference_actor_runs_the_reward_actors_are_asked():
    fake = Fake()
    one = client(fake)
    one.profile("u", "p")
    assert fake.calls[0][0].startswith("reward-")
    with pytest.raises(HostError, match=r"no inference actor runs here: .* start BUNDLE --inference"):
        one.directions(["u"])


def test_an_inference_actor_that_died_is_waited_for_and_not_replaced():
    fake = Fake(inference="inference-0", dead=3)
    one = client(fake)
    one.profile("u", "p")
    assert [name for name, _, _ in fake.calls] == ["inference-0"] * 4
    assert one.pauses == [0.1, 0.2, 0.4]
    with pytest.raises(ScoreError, match="no inference actor answered profile within 0 s"):
        client(Fake(inference="inference-0", dead=10**9), deadline=0).profile("u", "p")


def test_an_inference_actor_of_another_bundle_is_refused():
    fake = Fake(inference="inference-0")
    client(fake).check("/bundle")
    fake.serves = "/old"
    with pytest.raises(HostError, match="the inference actor serves /old, this job asks for /bundle"):
        client(fake).check("/bundle")


def test_one_death_under_many_callers_is_one_line_in_the_log(caplog):
    """Each caller meets the death itself, and each has retries of its own."""
    fake = Fake(dead=200)
    one = client(fake)
    with ThreadPoolExecutor(50) as threads:
        results = list(threads.map(lambda i: one.reward(RewardRequest(f"u{i}", "p", "r")), range(200)))
    assert len(results) == 200
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("persona_rm.serving")]
    assert sum("others answer its calls until it is back" in line for line in lines) == 2, "one for each dead actor"
    assert sum("is retried until its deadline" in line for line in lines) <= 1
    assert len(lines) <= 3


def test_a_row_that_was_lost_with_an_actor_is_asked_again_as_a_suspect():
    fake = Fake(dead=1)
    client(fake).reward(REQUEST)
    assert [args[1:] for _, _, args in fake.calls] == [(), (True,)]


def test_a_row_that_ends_every_actor_is_not_tried_again():
    fake = Fake(dead=1)
    fake.value = ScoreError("two were lost", kind="fatal")
    with pytest.raises(ScoreError, match="two were lost"):
        client(fake).reward(REQUEST)
    assert len(fake.calls) == 2
