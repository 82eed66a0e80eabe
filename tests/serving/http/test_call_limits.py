"""The length of texts, and the name under which the service is called."""

import re
import socket

import pytest

from persona_rm.bundle.text_limits import TextLimits
from tests.serving.http.http_service_samples import HOST, Api

ASK = {"user": "ann", "prompt": "Hello?", "responses": [" Yes.", " No"]}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/score", {**ASK, "responses": ["Yes.", "x" * 51]}, "row 1: {}the response has 51 characters"),
        ("/score", {**ASK, "prompt": "x" * 41}, "row 0: {}the prompt has 41 characters"),
        (
            "/score",
            {**ASK, "prompt": [{"role": "user", "content": "x" * 41}]},
            "row 0: {}the prompt has 41 characters",
        ),
        ("/get_reward", {**HOST, "query": ["Hello?" + "x" * 51]}, "row 0: the response has 51 characters"),
        ("/get_reward", {**HOST, "prompts": ["x" * 41]}, "row 0: the prompt has 41 characters"),
    ],
    ids=["response", "prompt", "turns", "query", "prompts"],
)
def test_a_text_that_is_too_long_is_named_with_its_row_its_length_the_limit_and_the_setting(path, body, said):
    api = Api(limits=TextLimits(prompt=40, response=50))
    found = api.post(path, body)
    assert (found.status_code, found.json()["kind"]) == (422, "unscorable")
    assert found.json()["error"].startswith(said.format("prompt and response are too long: "))
    assert re.search(r"the limit is (40|50): shorten it, or raise limits\.\w+ in bundle\.yaml", found.json()["error"])
    assert api.actor.requests == [], "no actor has seen the call"


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "localhost", 200),
        ({}, "LOCALHOST:8000", 200),
        ({}, "127.0.0.1:8000", 200),
        ({}, "[::1]:8000", 200),
        ({}, "evil.example", 400),
        ({}, "localhost.evil.example", 400),
        ({}, "127.0.0.1:8000@evil.example", 400),
        ({}, "", 400),
        ({"allowed_hosts": ("rewards.example", "*.inside")}, "rewards.example:80", 200),
        ({"allowed_hosts": ("rewards.example", "*.inside")}, "a.inside", 200),
        ({"allowed_hosts": ("rewards.example", "*.inside")}, "b.example", 400),
        ({"allowed_hosts": ("*",)}, "evil.example", 200),
        ({"host": "10.1.2.3", "token": "right"}, "10.1.2.3:8000", 200),
        ({"host": "0.0.0.0", "token": "right"}, socket.gethostname(), 200),
        ({"host": "0.0.0.0", "token": "right"}, "evil.example", 400),
    ],
)
def test_the_host_header_names_this_service(settings, host, status):
    for path in ("/health", "/ready"):
        found = Api(**settings).call("GET", path, {"host": host})
        assert found.status_code == status
    if status == 400:
        assert found.json()["kind"] == "host"
        assert "--allowed-host NAME" in found.json()["error"]
