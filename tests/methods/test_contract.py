"""What every reward method promises, run over the whole zoo."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from persona_rm.backends.base import Backends
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import reversed_directions
from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method, Need
from persona_rm.methods.personal import PersonalMethod
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example, Pair, Persona, RewardRequest, Ugc, UserState
from tests.methods.method_samples import (
    FAULT,
    LetterLogProb,
    SampleGroup,
    ask,
    letter_backends,
    make,
    persona,
    rewards,
    score,
)

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
    "centroid": ("centroid", {"scale": 2.0}),
    "map_linear": ("map_linear", {"variance": 3.0}),
    "eb_linear": ("eb_linear", {"scale": 1.0}),
    "knn_users": ("knn_users", {"scale": 1.0}),
    "lore": ("lore", {"scale": 1.0, "penalty": 0.0, "start": 30.0}),
    "pref": ("pref", {"scale": 1.0, "penalty": 0.0, "start": 30.0}),
    "mrm": ("mrm", {"scale": 1.0}),
    "reward_features": ("reward_features", {"scale": 1.0}),
    "rater_calibration": ("rater_calibration", {"variance": 100.0, "l2": 0.01}),
    "vpl": ("vpl", {"updates": 10}),
    "spl": ("spl", {"updates": 10}),
    "pal_a": ("pal_a", {"updates": 10}),
    "pal_b": ("pal_b", {"updates": 10}),
    "micro": ("micro", {"updates": 10}),
    "gated": ("gated", {"bar": 0.0, "method": {"name": "map_linear", "variance": 3.0}}),
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
def groups(method: Method, space: PreferenceSpace) -> list[SampleGroup]:
    """Two users and an unknown one, one to three responses, one group without any, one response twice."""
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


def test_same_length_same_order(method: Method, groups: list[SampleGroup]) -> None:
    results = score(method, *groups)
    assert [len(each) for each in results] == [3, 2, 3, 0, 1, 2]
    assert [result.reward for result in results[5]] == [results[0][0].reward] * 2
    assert method.score([], []) == []
    flat = [result for each in results for result in each]
    assert len({result.reward for result in flat}) > 1
    for result in flat:
        assert result.reward == result.trace.raw
        if result.trace.parts:
            assert sum(result.trace.parts.values()) == pytest.approx(result.trace.raw)


def test_the_trace_names_the_request_and_the_version_of_the_state(method: Method, space: PreferenceSpace) -> None:
    ann = persona(space, "ann")
    state = method.adapt(ann, method.adapt(ann))
    [result] = method.score([state], [RewardRequest("ann", "the post", "one", request_id="r1")])
    assert (result.trace.request_id, result.trace.state_version) == ("r1", 2)


def test_as_many_states_as_requests(method: Method) -> None:
    with pytest.raises(ScoreError, match="2 states for 1 requests"):
        method.score([method.prior()] * 2, [RewardRequest(None, "the post", "one")])


def test_scoring_together_equals_one_by_one(method: Method, groups: list[SampleGroup]) -> None:
    for group, together in zip(groups, score(method, *groups), strict=True):
        [alone] = score(method, group)
        values = [result.reward for result in together]
        assert values == pytest.approx([result.reward for result in alone], abs=1e-5)
        assert [result.status for result in together] == [result.status for result in alone]
        [backwards] = rewards(method, SampleGroup(group.state, group.requests[::-1]))
        assert list(backwards[::-1]) == pytest.approx(values, abs=1e-5)


def test_the_user_matters_except_in_controls(case: str, method: Method, groups: list[SampleGroup]) -> None:
    ann, _, bob = rewards(method, *groups)[:3]
    assert (ann == pytest.approx(bob)) is (case in IMPERSONAL)


def test_what_a_method_reads_is_what_its_state_depends_on(method: Method, space: PreferenceSpace) -> None:
    ann, other = persona(space, "ann"), replace(persona(space, "bob", -1), user_id="ann")
    bare = ann.with_directions(None)
    if method.reads == "directions":
        with pytest.raises(DataError, match="no directions"):
            method.adapt(bare)
    else:
        assert method.adapt(bare) == method.adapt(ann)
    assert (method.adapt(ann).payload == method.adapt(other).payload) is (method.reads == "nothing")


def test_settings_for_a_history_let_it_in(case: str, space: PreferenceSpace) -> None:
    name, config = CASES[case]
    settings = METHODS.load(name).settings_for(16)
    method = make(name, space, **{**config, **settings})
    items = tuple(Pair(f"ask {i}", f"yes {i}", f"no {i}") for i in range(8))
    ugc = tuple(Ugc(f"post {i}", f"comment {i}") for i in range(8))
    many = Persona("ann", ugc, items, directions=persona(space).directions)
    if method.reads == "items":
        # Methods on features read comparisons only.
        assert method.adapt(many).n_items == (8 if isinstance(method, PersonalMethod) else 16)


def test_the_declared_controls_change_the_state(method: Method, space: PreferenceSpace) -> None:
    if method.reads == "nothing":
        return
    ann = Case(Example("e", "p", "good", "bad", (), persona(space, "ann")))
    state = method.adapt(ann.example.persona)
    changed = {
        "flip": method.adapt(reversed_directions(ann).example.persona),
        "shuffled": method.adapt(replace(persona(space, "bob", -1), user_id="ann")),
        "no_user": method.prior(),
    }
    for control in method.controls - {"history"}:
        assert changed[control].payload != state.payload, control


def test_prior_is_defined_and_cold(method: Method, groups: list[SampleGroup]) -> None:
    prior = method.prior()
    assert prior.cold
    assert prior.user_id is None
    assert prior.method == method.name
    assert {result.status for result in score(method, *groups)[1]} == {"cold"}


def test_adapt_is_deterministic_and_changes_no_score(method: Method, space: PreferenceSpace) -> None:
    ann = persona(space, "ann")
    first = method.adapt(ann)
    asked = ask(first, "one", "two words"), ask(method.prior(), "one")
    before = score(method, *asked)
    assert method.adapt(ann) == first
    method.adapt(persona(space, "bob", -1))
    assert score(method, *asked) == before


def test_adapt_adds_to_a_state_of_the_same_user_only(method: Method, space: PreferenceSpace) -> None:
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
    assert score(method, ask(back, "one", "two words")) == score(method, ask(state, "one", "two words"))


def test_nan_is_an_error_that_names_the_request(method: Method, groups: list[SampleGroup]) -> None:
    broken = [*groups, ask(groups[0].state, "fine", f"not {FAULT}"), groups[0]]
    with pytest.raises(ScoreError) as caught:
        score(method, *broken)
    assert caught.value.rows == (sum(len(group.requests) for group in groups) + 1,)


def test_a_state_of_another_method_is_refused(method: Method) -> None:
    with pytest.raises(ScoreError, match="'other'") as caught:
        score(method, ask(method.prior(), "one"), ask(UserState("other", "ann"), "one"))
    assert caught.value.rows == (1,)


def test_compare_is_a_probability(method: Method, groups: list[SampleGroup]) -> None:
    tables = method.compare([group.state for group in groups], [group.requests for group in groups])
    for group, table in zip(groups, tables, strict=True):
        n = len(group.requests)
        assert [len(row) for row in table] == [n] * n
        for i in range(n):
            assert table[i][i] == pytest.approx(0.5)
            for j in range(n):
                assert 0 <= table[i][j] <= 1
                assert table[i][j] + table[j][i] == pytest.approx(1)


def test_save_load_round_trip(
    method: Method, groups: list[SampleGroup], space: PreferenceSpace, tmp_path: Path
) -> None:
    method.save(tmp_path / "saved")
    again = type(method).load(tmp_path / "saved", space, letter_backends(space))
    assert again.config == method.config
    assert score(again, *groups) == score(method, *groups)
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors"}


def test_load_refuses_what_another_method_saved(method: Method, space: PreferenceSpace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        type(method).load(tmp_path, space, letter_backends(space))
    (tmp_path / "config.json").write_text('{"method": "other", "config": {}}')
    with pytest.raises(DataError, match="'other'"):
        type(method).load(tmp_path, space, letter_backends(space))


BACKEND_OF: dict[Need, str] = {"policy": "logprob", "annotator": "reader", "encoder": "encoder"}


def test_the_declared_needs_are_exactly_what_scoring_asks_for(
    case: str, method: Method, space: PreferenceSpace, tmp_path: Path
) -> None:
    """A fitted method scores with the backends that it declares alone, and names each one that is missing."""
    every = letter_backends(space)
    declared = {field: getattr(every, field) for need, field in BACKEND_OF.items() if need in method.needs}
    method.save(tmp_path)

    def again(backends: dict[str, Any]) -> Method:
        return type(method).load(tmp_path, space, Backends(**backends))

    enough = again(declared)
    assert score(enough, ask(enough.prior(), "one")) == score(method, ask(method.prior(), "one"))
    words = {"logprob": "a log-prob", "reader": "an annotator", "encoder": "a text encoder"}
    for field in declared:
        bare = again({key: value for key, value in declared.items() if key != field})
        with pytest.raises(RecipeError, match=f"{method.name} needs {words[field]}"):
            score(bare, ask(bare.prior(), "one"))


def test_a_reference_is_declared_if_it_is_needed(method: Method, space: PreferenceSpace) -> None:
    method.backends = replace(letter_backends(space), logprob=LetterLogProb(reference=False))
    if "reference" not in method.needs:
        assert score(method, ask(method.prior(), "one"))
        return
    with pytest.raises(RecipeError, match=f"{method.name} compares a policy with a reference model"):
        score(method, ask(method.prior(), "one"))


def test_fit_is_declared_if_it_is_needed(case: str, space: PreferenceSpace) -> None:
    name, config = CASES[case]
    member = METHODS.load(name)
    bare: Method = member(member.Config(**config), space, letter_backends(space))
    if "fit" not in bare.needs:
        assert score(bare, ask(bare.prior(), "one"))
        return
    with pytest.raises(ScoreError, match=f"{name} has learned nothing yet"):
        score(bare, ask(bare.prior(), "one"))


def test_constructor_touches_nothing(case: str, space: PreferenceSpace) -> None:
    name, _ = CASES[case]
    member = METHODS.load(name)
    nothing: Backends = object()  # type: ignore[assignment]
    assert member(member.Config(), space, nothing).backends is nothing


@pytest.mark.parametrize("name", ["ica", "pba", "contrast"])
def test_on_a_real_model(name: str, space: PreferenceSpace, tiny_model: Callable[..., Path]) -> None:
    """Two tiny Llamas: the batch equals one by one, users differ, the order of a user's responses is kept."""
    models = TransformersLogProb(tiny_model(0), tiny_model(1), batch_tokens=4096)
    method = make(name, space, Backends(logprob=models))
    users = [method.adapt(persona(space, user, sign).first(1, 1)) for user, sign in (("ann", 1), ("bob", -1))]
    groups = [ask(state, "I like the law.", "No, and again no, never.") for state in (*users, method.prior())]
    together = rewards(method, *groups)
    assert len(set(together)) == 3
    for group, values in zip(groups, together, strict=True):
        assert rewards(method, group)[0] == pytest.approx(values, abs=1e-5)
    with pytest.raises(ScoreError, match="limit of 1024 tokens") as caught:
        score(method, groups[0], ask(users[0], "far too long " * 999))
    assert caught.value.rows == (2,)
