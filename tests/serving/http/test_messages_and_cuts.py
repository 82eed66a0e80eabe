"""Prompts of messages and cut responses through the HTTP API."""

import pytest

from persona_rm.types import Message
from tests.serving.http.http_service_samples import SECRET, Api

ASK = {"user": "ann", "prompt": "Hello?", "responses": [" Yes.", " No"]}


def test_a_prompt_of_messages_and_cut_responses_reach_the_actor():
    api = Api()
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert api.post("/score", {**ASK, "prompt": turns, "finished": [True, False]}).status_code == 200
    assert {request.prompt for request in api.actor.requests} == {tuple(Message(**turn) for turn in turns)}
    assert [request.finished for request in api.actor.requests] == [True, False]
    api.post("/score", ASK)
    assert [request.finished for request in api.actor.requests[2:]] == [True, True]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"finished": [True]}, "responses and finished are lists of one length; found 2 and 1"),
        ({"prompt": []}, "prompt: the list of chat messages is empty; it must have at least one"),
        (
            {"prompt": [{"role": "assistant", "content": SECRET}]},
            "prompt: a prompt in chat messages ends with a message of the user",
        ),
        (
            {"prompt": [{"role": "tutor", "content": SECRET}]},
            "prompt: message 1 has the unknown role 'tutor'; a role is one of: system, user, assistant",
        ),
    ],
)
def test_messages_that_no_response_can_follow_are_invalid(keys, said):
    found = Api().post("/score", {**ASK, **keys})
    assert (found.status_code, found.json()["kind"]) == (422, "invalid")
    assert said in found.json()["error"]
    assert SECRET not in found.text


def test_the_hosts_route_knows_a_cut_answer():
    api = Api()
    api.post(
        "/get_reward", {"query": ["Hello? Yes.</s>", "Hello? Ye"], "prompts": ["Hello?"] * 2, "labels": ["ann"] * 2}
    )
    assert [request.finished for request in api.actor.requests] == [True, False]
