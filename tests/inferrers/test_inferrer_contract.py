"""What every inferrer promises, run over the whole zoo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc
from tests.inferrers.inferrer_samples import make, person, toy_backends

CASES = {
    "vote": ("vote", {}),
    "vote-forced": ("vote", {"force": True}),
    "golden": ("golden", {}),
    "posterior": ("posterior", {"classes": (1, 2)}),
    "posterior-aged": ("posterior", {"half_life": 30, "classes": (1,), "calibrate": "isotonic"}),
    "llm": ("llm", {}),
    "llm-again": ("llm", {"again": True}),
    "summary": ("summary", {}),
    "retrieval": ("retrieval", {}),
    "retrieval-posterior": ("retrieval", {"rule": {"name": "posterior", "classes": (1,)}}),
    "tastes": ("tastes", {"posterior": {"classes": (1,)}}),
}
NEED_BACKENDS = {"llm", "summary", "retrieval", "tastes"}
"""Ask for a model: an encoder, an annotator or a generator."""
NEEDS: dict[str, str] = {}
"""Members that no case covers yet, and what is missing: "needs X"."""
TAKES_DIRECTIONS = {"golden"}
"""Takes the persona's own directions, so there is no prior and items are not looked at."""
READS_TEXT = {"llm", "summary"}
"""Items need no directions, and `demo` is evidence."""


@pytest.fixture(params=list(CASES), scope="module")
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def name(case: str) -> str:
    return CASES[case][0]


@pytest.fixture(scope="module")
def backends(name: str, space: PreferenceSpace) -> Backends:
    return toy_backends(space) if name in NEED_BACKENDS else Backends()


@pytest.fixture
def inferrer(case: str, space: PreferenceSpace, backends: Backends) -> Inferrer:
    name, config = CASES[case]
    return make(name, space, backends, **config)


@pytest.fixture(scope="module")
def people(space: PreferenceSpace) -> list[Persona]:
    """Forty-four who lean to one pole or the other, some items dated, of one to eight items, all labelled."""
    rng = np.random.default_rng(0)
    return [_drawn(f"user{i}", 1 + i % 8, rng.choice([-1, 1]), rng, len(space)) for i in range(44)]


def _drawn(user: str, items: int, sign: int, rng: np.random.Generator, size: int) -> Persona:
    spoken = rng.choice([0, 1, -1], p=[0.6, 0.35, 0.05], size=(items, size)) * sign
    found = person(*(tuple(map(int, row)) for row in spoken), size=size, user=user)
    dated = tuple(replace(one, created=f"2024-01-{1 + i:02}") for i, one in enumerate(found.ugc))
    truth = tuple(int(sign) if d % 3 else 0 for d in range(size))
    return replace(found, ugc=dated, directions=truth)


@pytest.fixture(scope="module")
def fitted(case: str, space: PreferenceSpace, backends: Backends, people: list[Persona]) -> Inferrer:
    """Once for all tests: inferring changes nothing, which a test below proves."""
    name, config = CASES[case]
    found: Inferrer = make(name, space, backends, **config)
    found.fit(people)
    return found


def same(a: Posterior, b: Posterior) -> None:
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-9)
    assert (a.directions, a.n_items, a.cold) == (b.directions, b.n_items, b.cold)


def test_every_member_is_covered() -> None:
    covered = {name for name, _ in CASES.values()}
    assert covered | set(NEEDS) == set(INFERRERS.table)
    assert not covered & set(NEEDS), "covered now: take it out of NEEDS"
    for name in INFERRERS.table:
        assert INFERRERS.load(name).name == name


def test_no_evidence_is_the_prior_and_cold(case: str, name: str, fitted: Inferrer) -> None:
    ann, bob = Persona("ann"), Persona("bob", demo="A young executive.")
    if name in TAKES_DIRECTIONS:
        with pytest.raises(DataError, match="'ann' carries no directions"):
            fitted.infer(ann)
        return
    found = fitted.infer(ann)
    assert found.cold, case
    assert found.n_items == 0
    assert not any(found.evidence.values())
    same(found, fitted.infer(bob if name not in READS_TEXT else Persona("bob")))
    check(found, len(fitted.space))


def check(found: Posterior, size: int) -> None:
    """Right sizes, probabilities, intervals and evidence."""
    p = np.array(found.probabilities)
    assert p.shape == (size, 3)
    assert len(found.directions) == size
    assert set(found.directions) <= {-1, 0, 1}
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-9)
    for row, (low, high) in zip(p, found.intervals(0.9), strict=True):
        assert -1 <= low <= high <= 1
        assert row[low + 1 : high + 2].sum() >= 0.9 - 1e-9
        shorter = [row[i : i + high - low].sum() for i in range(4 - high + low)] if high > low else []
        assert all(held < 0.9 for held in shorter), "a shorter range holds as much"
    assert all(found.directions[d] for d in found.evidence), "nothing speaks for neutral"


def test_a_posterior_is_whole(fitted: Inferrer, people: list[Persona]) -> None:
    for who in people[:8]:
        found = fitted.infer(who)
        check(found, len(fitted.space))
        assert not found.cold
        assert 1 <= found.n_items <= who.n_items
        assert all(set(ids) <= {one.id for one in fitted.items(who)} for ids in found.evidence.values())


def test_the_person_matters(fitted: Inferrer, people: list[Persona]) -> None:
    assert len({fitted.infer(who).directions for who in people}) > 1


def test_the_same_persona_twice_is_the_same_answer(fitted: Inferrer, people: list[Persona]) -> None:
    first = fitted.infer(people[3])
    fitted.infer(people[4])
    assert fitted.infer(people[3]) == first


def test_fitting_again_is_the_same_inferrer(
    case: str, fitted: Inferrer, people: list[Persona], backends: Backends
) -> None:
    name, config = CASES[case]
    again = make(name, fitted.space, backends, **config)
    again.fit(people)
    assert again.infer_many(people) == fitted.infer_many(people)


def test_only_members_by_prompt_look_at_the_prompt(fitted: Inferrer, people: list[Persona]) -> None:
    prompts = [f"question {i}" for i in range(6)]
    for who in people[:8]:
        answers = [fitted.infer(who, prompt) for prompt in prompts]
        for found in answers:
            check(found, len(fitted.space))
        if not fitted.by_prompt:
            assert answers == [fitted.infer(who)] * len(prompts)


def test_a_missing_backend_is_named(case: str, name: str, space: PreferenceSpace, people: list[Persona]) -> None:
    if name not in NEED_BACKENDS:
        pytest.skip(f"{name} asks for no model")
    bare = replace(people[7], ugc=tuple(replace(one, directions=None) for one in people[7].ugc))
    with pytest.raises(RecipeError, match=rf"{name} needs"):
        make(name, space, Backends(), **CASES[case][1]).infer(bare if name in READS_TEXT else people[7], "a question")


def test_infer_many_is_infer(fitted: Inferrer, people: list[Persona]) -> None:
    together = fitted.infer_many(iter(people))
    assert len(together) == len(people)
    for found, who in zip(together, people, strict=True):
        same(found, fitted.infer(who))
    assert fitted.infer_many([]) == []


def test_inferring_teaches_nothing(fitted: Inferrer, people: list[Persona]) -> None:
    before = fitted.infer_many(people)
    fitted.infer_many(people[::-1])
    assert fitted.infer_many(people) == before


@pytest.mark.parametrize("broken", [None, (1, 0)], ids=["missing", "of another space"])
def test_items_without_directions_are_named(name: str, inferrer: Inferrer, broken: tuple[int, ...] | None) -> None:
    """And the error tells no text."""
    if name in READS_TEXT:
        pytest.skip(f"{name} reads texts itself")
    fine = Ugc("p", "c", inferrer.space.neutral)
    for ugc, pairs, where in [
        ((fine, Ugc("secret", "secret", broken)), (), r"ugc\[1\]"),
        ((fine,), (Pair("secret", "secret", "secret", broken),), r"pairs\[0\]"),
    ]:
        match = "'ann' carries" if name in TAKES_DIRECTIONS else rf"'ann', {where}"
        with pytest.raises(DataError, match=match) as caught:
            inferrer.infer(Persona("ann", ugc, pairs, directions=broken))
        assert "secret" not in str(caught.value)


def test_save_load_round_trip(
    fitted: Inferrer, people: list[Persona], space: PreferenceSpace, backends: Backends, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "saved")
    again = type(fitted).load(tmp_path / "saved", space, backends)
    assert again.config == fitted.config
    assert again.infer_many(people) == fitted.infer_many(people)
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors"}


def test_a_folder_of_something_else_is_refused(inferrer: Inferrer, space: PreferenceSpace, tmp_path: Path) -> None:
    member, config = type(inferrer), tmp_path / "config.json"
    with pytest.raises(DataError, match=r"config\.json"):
        member.load(tmp_path, space)
    inferrer.save(tmp_path)
    with pytest.raises(DataError, match=f"'{space.name}'"):
        member.load(tmp_path, replace(space, name="another"))
    config.write_text(config.read_text(encoding="utf-8").replace(f'"{member.name}"', '"stranger"'), encoding="utf-8")
    with pytest.raises(DataError, match="'stranger'"):
        member.load(tmp_path, space)


def test_only_learners_write_a_model(inferrer: Inferrer, tmp_path: Path) -> None:
    inferrer.save(tmp_path)
    assert any(path.suffix == ".safetensors" for path in tmp_path.iterdir()) is inferrer.learns


def test_constructor_touches_nothing(case: str, space: PreferenceSpace) -> None:
    name, config = CASES[case]
    member = INFERRERS.load(name)
    nothing: Backends = object()  # type: ignore[assignment]
    assert member(member.Config(**config), space, nothing).backends is nothing
