"""Ray as the construction job and the launcher start it, where starting fails."""

import pytest
import ray

from persona_rm.construct.job import start_ray
from persona_rm.errors import HostError


def starts(monkeypatch, *outcomes):
    """What `ray.init` does, call by call; returns the options of each call."""
    calls, left = [], list(outcomes)

    def init(**options):
        calls.append(options)
        if error := left.pop(0):
            raise error

    monkeypatch.setattr(ray, "init", init)
    return calls


def test_a_busy_machine_on_which_ray_starts_too_late_is_tried_again(monkeypatch):
    late = Exception("The current node timed out during startup. This could happen because ...")
    calls = starts(monkeypatch, late, late, None)
    start_ray(address="local")
    assert [call["address"] for call in calls] == ["local"] * 3


def test_ray_that_is_never_in_time_is_given_up(monkeypatch):
    calls = starts(monkeypatch, *[Exception("The current node timed out during startup.")] * 3)
    with pytest.raises(HostError, match="timed out during startup"):
        start_ray()
    assert len(calls) == 3


def test_ray_that_cannot_start_is_one_error_that_says_why(monkeypatch):
    calls = starts(monkeypatch, ConnectionError("no such address"))
    with pytest.raises(HostError, match="no Ray cluster could be started here: no such address"):
        start_ray(address="elsewhere")
    assert len(calls) == 1
