"""`Method.score` checks what a method returns: a member from outside may be wrong in many ways."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import ScoreError
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona, RewardRequest, RewardResult, RewardTrace, UserState


class Returning(Method):
    """Returns what it was made with."""

    name = "returning"
    returned: Callable[["Returning", UserState, RewardRequest], Any]

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        return UserState(self.name, evidence.user_id, {}, 1)

    def rewards(self, states: Any, requests: Any) -> Any:
        return type(self).returned(self, states[0], requests[0])


def score(
    space: PreferenceSpace, returned: Callable[[Returning, UserState, RewardRequest], Any]
) -> list[RewardResult]:
    kind = type("Made", (Returning,), {"returned": staticmethod(returned)})
    method = kind(Config(), space, Backends())
    return method.score([method.adapt(Persona("ann"))], [RewardRequest("ann", "P", "R", request_id="r1")])


def test_numbers_of_numpy_become_floats_that_json_takes(space):
    (result,) = score(
        space, lambda m, s, r: [m.result(s, r, np.float32(1.5), {"a": np.float32(1.0), "b": np.float64(0.5)})]
    )
    assert json.loads(json.dumps(result.trace.to_row()))["parts"] == {"a": 1.0, "b": 0.5}
    assert type(result.reward) is float


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda m, s, r: None, "must return a list of RewardResult"),
        (lambda m, s, r: [1.0], "must return a list of RewardResult"),
        (lambda m, s, r: (m.result(s, r, 1.0) for _ in range(1)), "must return a list of RewardResult"),
        (lambda m, s, r: [m.result(s, r, 1.0)] * 2, "returned 2 results for 1 requests"),
        (lambda m, s, r: [m.result(s, r, None)], "is no number"),
        (lambda m, s, r: [m.result(s, r, 1.0, {"a": "x"})], "is no number"),
        (lambda m, s, r: [RewardResult(True, RewardTrace(1.0))], "is no float: bool"),
        (lambda m, s, r: [RewardResult(np.float32(1), RewardTrace(1.0))], "is no float: float32"),
        (lambda m, s, r: [m.result(s, r, float("inf"))], "is not finite"),
        (lambda m, s, r: [m.result(s, r, 1.0, {"a": float("nan")})], "do not add up"),
        (lambda m, s, r: [m.result(s, r, 1.0, {"a": 5.0})], "do not add up"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_an_error_that_names_the_method(space, returned, message):
    with pytest.raises(ScoreError, match=f"returning.*{message}"):
        score(space, returned)


def test_rounding_is_no_fault(space):
    parts = {str(i): 0.1 for i in range(10)}
    (result,) = score(space, lambda m, s, r: [m.result(s, r, 1.0, parts)])
    assert sum(result.trace.parts.values()) == pytest.approx(result.trace.raw)
