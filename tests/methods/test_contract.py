"""What every reward method promises, run over the whole zoo."""

from collections.abc import Callable
from pathlib import Path

import pytest

from persona_rm.backends.base import Backends
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace
from persona_rm.types import ScoreRequest, UserState
from tests.methods.method_samples import FAULT, ask, make, persona, toy_backends

CASES = {
    "ica": ("ica", {}),
    "ica-no-persona": ("ica", {"persona": "none"}),
    "ica-per-token": ("ica", {"normalise": "token", "prompts": "paper", "keep": "last"}),
    "pba": ("pba", {}),
    "pba-no-persona": ("pba", {"persona": "none"}),
    "contrast-pba": ("contrast", {}),
    "contrast-ica": ("contrast", {"persona_as": "ica", "normalise": "token"}),
    "pba_linear": ("pba_linear", {"scale": 2.0}),
    "bradley_terry": ("bradley_terry", {}),
}
IMPERSONAL = {"ica-no-persona", "pba-no-persona", "bradley_terry"}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def method(case: str, space: PreferenceSpace) -> Method:
    name, config = CASES[case]
    return make(name, space, **config)


@pytest.fixture
def requests(method: Method, space: PreferenceSpace) -> list[ScoreRequest]:
    """Two people and a stranger, one to three responses, one request without any, one asked twice."""
    ann, bob = method.adapt(persona(space, "ann")), method.adapt(persona(space, "bob", -1))
    return [
        ask(ann, "one", "two words", "three words here"),
        ask(method.prior(), "one", "two words"),
        ask(bob, "one", "two words", "three words here"),
        ask(bob),
        ask(ann, "{prompt} one", prompt="another {post}\n\n"),
        ask(ann, "one", "one"),
    ]


def test_every_member_is_covered() -> None:
    assert {name for name, _ in CASES.values()} == set(METHODS.table)
    for name in METHODS.table:
        assert METHODS.load(name).name == name


def test_same_length_same_order(method: Method, requests: list[ScoreRequest]) -> None:
    scores = method.score(requests)
    assert [len(score.rewards) for score in scores] == [3, 2, 3, 0, 1, 2]
    assert scores[5].rewards == (scores[0].rewards[0],) * 2
    for score in scores:
        assert all(len(values) == len(score.rewards) for values in score.dims.values())
    assert method.score([]) == []
    assert len({value for score in scores for value in score.rewards}) > 1


def test_scoring_together_equals_one_by_one(method: Method, requests: list[ScoreRequest]) -> None:
    for request, together in zip(requests, method.score(requests), strict=True):
        [alone] = method.score([request])
        assert together.rewards == pytest.approx(alone.rewards, abs=1e-5)
        assert together.status == alone.status
        backwards = method.score([ScoreRequest(request.state, request.prompt, request.responses[::-1])])[0]
        assert backwards.rewards[::-1] == pytest.approx(together.rewards, abs=1e-5)


def test_the_person_matters_except_in_controls(case: str, method: Method, requests: list[ScoreRequest]) -> None:
    ann, _, bob = method.score(requests)[:3]
    assert (ann.rewards == pytest.approx(bob.rewards)) is (case in IMPERSONAL)


def test_prior_is_defined_and_cold(method: Method, requests: list[ScoreRequest]) -> None:
    prior = method.prior()
    assert prior.cold
    assert prior.user_id is None
    assert prior.method == method.name
    assert method.score(requests)[1].status == "cold"


def test_adapt_is_deterministic_and_changes_no_score(method: Method, space: PreferenceSpace) -> None:
    ann = persona(space, "ann")
    first = method.adapt(ann)
    before = method.score([ask(first, "one", "two words"), ask(method.prior(), "one")])
    assert method.adapt(ann) == first
    method.adapt(persona(space, "bob", -1))
    assert method.score([ask(first, "one", "two words"), ask(method.prior(), "one")]) == before


def test_adapt_adds_to_a_state_of_the_same_person_only(method: Method, space: PreferenceSpace) -> None:
    ann = persona(space, "ann")
    state = method.adapt(ann)
    assert (state.version, state.user_id) == (1, "ann")
    assert method.adapt(ann, state).version == 2
    assert method.adapt(ann, method.prior()).user_id == "ann"
    with pytest.raises(DataError, match=r"'bob'.*'ann'"):
        method.adapt(persona(space, "bob"), state)
    with pytest.raises(DataError, match="'other'"):
        method.adapt(ann, UserState("other", "ann"))


def test_state_survives_json(method: Method, space: PreferenceSpace) -> None:
    state = method.adapt(persona(space, "ann"))
    back = UserState.from_json(state.to_json())
    assert back == state
    assert method.score([ask(back, "one", "two words")]) == method.score([ask(state, "one", "two words")])


def test_nan_is_an_error_that_names_the_request(method: Method, requests: list[ScoreRequest]) -> None:
    broken = [*requests, ask(requests[0].state, "fine", f"not {FAULT}"), requests[0]]
    with pytest.raises(ScoreError) as caught:
        method.score(broken)
    assert caught.value.rows == (len(requests),)


def test_a_state_of_another_method_is_refused(method: Method) -> None:
    with pytest.raises(ScoreError, match="'other'") as caught:
        method.score([ask(method.prior(), "one"), ask(UserState("other", "ann"), "one")])
    assert caught.value.rows == (1,)


def test_compare_is_a_probability(method: Method, requests: list[ScoreRequest]) -> None:
    for request, table in zip(requests, method.compare(requests), strict=True):
        n = len(request.responses)
        assert [len(row) for row in table] == [n] * n
        for i in range(n):
            assert table[i][i] == pytest.approx(0.5)
            for j in range(n):
                assert 0 <= table[i][j] <= 1
                assert table[i][j] + table[j][i] == pytest.approx(1)


def test_save_load_round_trip(
    method: Method, requests: list[ScoreRequest], space: PreferenceSpace, tmp_path: Path
) -> None:
    method.save(tmp_path / "saved")
    again = type(method).load(tmp_path / "saved", space, toy_backends(space))
    assert again.config == method.config
    assert again.score(requests) == method.score(requests)
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors"}


def test_load_refuses_what_another_method_saved(method: Method, space: PreferenceSpace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        type(method).load(tmp_path, space, toy_backends(space))
    (tmp_path / "config.json").write_text('{"method": "other", "config": {}}')
    with pytest.raises(DataError, match="'other'"):
        type(method).load(tmp_path, space, toy_backends(space))


def test_a_missing_backend_is_named_and_is_what_the_member_says_it_needs(case: str, space: PreferenceSpace) -> None:
    name, config = CASES[case]
    kinds = {"policy": "log-prob", "trained policy": "log-prob", "annotator": "annotator", "fitting": "text encoder"}
    member = METHODS.load(name)
    bare = member(member.Config(**config), space, Backends())
    bare.weights = getattr(bare, "weights", None) or [0.0]
    with pytest.raises(RecipeError, match=rf"{name} needs an? {kinds[member.needs]}"):
        bare.score([ask(bare.prior(), "one")])


def test_constructor_touches_nothing(case: str, space: PreferenceSpace) -> None:
    name, _ = CASES[case]
    member = METHODS.load(name)
    nothing: Backends = object()  # type: ignore[assignment]
    assert member(member.Config(), space, nothing).backends is nothing


@pytest.mark.parametrize("name", ["ica", "pba", "contrast"])
def test_on_a_real_model(name: str, space: PreferenceSpace, tiny_model: Callable[..., Path]) -> None:
    """Two tiny Llamas: the batch equals one by one, people differ, the order of a person's responses is kept."""
    models = TransformersLogProb(tiny_model(0), tiny_model(1), batch_tokens=4096)
    method = make(name, space, Backends(logprob=models))
    people = [method.adapt(persona(space, user, sign).first(1, 1)) for user, sign in (("ann", 1), ("bob", -1))]
    requests = [ask(state, "I like the law.", "No, and again no, never.") for state in (*people, method.prior())]
    scores = method.score(requests)
    assert len({score.rewards for score in scores}) == 3
    for request, score in zip(requests, scores, strict=True):
        assert method.score([request])[0].rewards == pytest.approx(score.rewards, abs=1e-5)
    with pytest.raises(ScoreError, match="limit of 1024 tokens") as caught:
        method.score([requests[0], ask(people[0], "far too long " * 999)])
    assert caught.value.rows == (1,)
