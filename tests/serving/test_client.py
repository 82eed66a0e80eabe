import math
import threading

import pytest

from persona_rm.errors import HostError, ScoreError
from persona_rm.serving.client import RewardClient, Unreachable
from persona_rm.serving.replies import Reply


class Toy:
    """A transport whose actors answer, die or refuse as told."""

    def __init__(self, names=("reward-0", "reward-1"), *, bundle="/bundle", reward=1.0, dead=0, inference=None):
        self._names, self.bundle, self.value, self.dead = list(names), bundle, reward, dead
        self.calls, self._inference, self.serves = [], inference, bundle

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
            raise Unreachable(f"{name}: ActorDiedError")
        if isinstance(self.value, Exception):
            raise self.value
        return Reply(self.value, {}, "ok", True, "all")


def client(toy, **kwargs):
    pauses = []
    made = RewardClient(toy, wait=pauses.append, **kwargs)
    made.pauses = pauses
    return made


def test_a_reward():
    assert client(Toy(reward=0.25)).reward("u", "p", "r").reward == 0.25


def test_a_user_keeps_to_one_actor():
    toy = Toy()
    one = client(toy)
    for _ in range(5):
        one.reward("u", "p", "r")
    assert len({name for name, _, _ in toy.calls}) == 1
    for i in range(40):
        one.reward(f"u{i}", "p", "r")
    assert {name for name, _, _ in toy.calls} == {"reward-0", "reward-1"}


def test_a_dead_actor_is_asked_again_with_growing_pauses_and_its_neighbour_too():
    toy = Toy(dead=4)
    one = client(toy)
    assert one.reward("u", "p", "r").reward == 1.0
    assert one.pauses == [0.1, 0.2, 0.4, 0.8]
    assert [name for name, _, _ in toy.calls[:2]] != [toy.calls[0][0]] * 2


def test_after_the_deadline_there_is_an_error_and_no_number():
    with pytest.raises(ScoreError, match=r"no reward actor answered score within 0 s; last: reward-\d: ActorDied"):
        client(Toy(dead=10**9), deadline=0).reward("u", "p", "r")
    with pytest.raises(ScoreError, match="no actor is named"):
        client(Toy(names=()), deadline=0).reward("u", "p", "r")


def test_an_error_of_the_method_is_not_repeated():
    toy = Toy(reward=ScoreError("too long"))
    with pytest.raises(ScoreError, match="too long"):
        client(toy).reward("u", "p", "r")
    assert len(toy.calls) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_an_error(value):
    with pytest.raises(ScoreError, match="the reward of user 'u' is"):
        client(Toy(reward=value)).reward("u", "p", "r")


@pytest.mark.parametrize(
    ("toy", "bundle", "message"),
    [
        (Toy(), None, "PERSONA_RM_BUNDLE does not say"),
        (Toy(names=()), "/bundle", "no reward actors in namespace"),
        (Toy(bundle="/other"), "/bundle", "serve /other, this job asks for /bundle"),
    ],
)
def test_a_set_up_that_cannot_work_is_refused_with_the_reason(toy, bundle, message):
    with pytest.raises(HostError, match=message):
        client(toy).check(bundle)


def test_a_good_set_up_passes():
    client(Toy()).check("/bundle")


def test_many_threads_at_once():
    one, out = client(Toy(dead=8)), []
    threads = [threading.Thread(target=lambda: out.append(one.reward("u", "p", "r").reward)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert out == [1.0] * 16


def test_the_inference_actor_is_asked_what_people_prefer_and_no_other():
    toy = Toy(inference="inference-0")
    one = client(toy)
    one.profile("u", "p")
    one.directions(["u", "v"], "p")
    one.reward("u", "p", "r")
    (first, second, third) = toy.calls
    assert first == ("inference-0", "profile", ("u", "p"))
    assert second == ("inference-0", "directions", (["u", "v"], "p"))
    assert third[0].startswith("reward-")


def test_where_no_inference_actor_runs_the_reward_actors_are_asked():
    toy = Toy()
    one = client(toy)
    one.profile("u", "p")
    assert toy.calls[0][0].startswith("reward-")
    with pytest.raises(HostError, match=r"no inference actor runs here: .* start BUNDLE --inference"):
        one.directions(["u"])


def test_an_inference_actor_that_died_is_waited_for_and_not_replaced():
    toy = Toy(inference="inference-0", dead=3)
    one = client(toy)
    one.profile("u", "p")
    assert [name for name, _, _ in toy.calls] == ["inference-0"] * 4
    assert one.pauses == [0.1, 0.2, 0.4]
    with pytest.raises(ScoreError, match="no inference actor answered profile within 0 s"):
        client(Toy(inference="inference-0", dead=10**9), deadline=0).profile("u", "p")


def test_an_inference_actor_of_another_bundle_is_refused():
    toy = Toy(inference="inference-0")
    client(toy).check("/bundle")
    toy.serves = "/old"
    with pytest.raises(HostError, match="the inference actor serves /old, this job asks for /bundle"):
        client(toy).check("/bundle")
