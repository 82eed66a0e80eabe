"""Users who prefer opposite texts get opposite rewards, and what cross-validation cannot support is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods.centroid import Centroid, CentroidConfig
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Pair, Persona
from tests.methods.method_samples import FAULT, LetterEncoder, ask, letter_backends, make, rewards, score

SHORT, LONG = "Yes.", "Yes, and there is a great deal more to be said about it."


def opposed(n: int = 8, noise: bool = False) -> list[Comparison]:
    """Two users prefer short answers and two long ones; with noise they choose by a coin."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(4):
        for i in range(n):
            short, long = f"{SHORT} {i}", f"{LONG} {i} {user}"
            first = rng.random() < 0.5 if noise else user < 2
            rows.append(Comparison(f"u{user}", f"prompt {i}", *((short, long) if first else (long, short))))
    return rows


def fitted(space: PreferenceSpace, rows: list[Comparison], **config: object) -> Centroid:
    method = Centroid(CentroidConfig(**config), space, Backends(LetterEncoder()))  # type: ignore[arg-type]
    method.fit(rows)
    return method


def history(user: str, rows: list[Comparison]) -> Persona:
    return Persona(user, pairs=tuple(Pair(r.prompt, r.chosen, r.rejected) for r in rows if r.user_id == user))


def test_opposite_users_are_rewarded_oppositely(space: PreferenceSpace) -> None:
    rows = opposed()
    method = fitted(space, rows)
    assert method.scale is not None
    assert method.scale[0] > 0
    short, long = (method.adapt(history(user, rows)) for user in ("u0", "u3"))
    groups = [ask(state, "No.", f"{LONG} Indeed it is so.", prompt="new") for state in (short, long, method.prior())]
    (a, b), (c, d), _ = rewards(method, *groups)
    assert a > b
    assert c < d
    [own, _], _, [prior, _] = score(method, *groups)
    assert set(own.trace.parts) == {"pooled", "personal"}
    assert own.trace.parts["pooled"] == prior.reward
    assert set(prior.trace.parts) == {"pooled"}


def test_choices_by_a_coin_leave_nothing_personal(space: PreferenceSpace) -> None:
    assert fitted(space, opposed(30, noise=True)).scale == [0.0]
    scale = fitted(space, opposed(30)).scale
    assert scale is not None
    assert scale[0] > 0


def test_under_one_prompt_texts_are_held_out(space: PreferenceSpace) -> None:
    rows = [replace(row, prompt="the only prompt", group="") for row in opposed(30)]
    scale = fitted(space, rows).scale
    assert scale is not None
    assert scale[0] > 0


def test_two_texts_cannot_be_held_out(space: PreferenceSpace) -> None:
    rows = [Comparison(f"u{i % 4}", "p", *(("a", "b") if i % 4 < 2 else ("b", "a"))) for i in range(16)]
    assert fitted(space, rows).scale == [0.0]


def test_evidence_in_parts_is_evidence_at_once(space: PreferenceSpace) -> None:
    rows = opposed()
    method, whole = fitted(space, rows), history("u0", rows)
    first, rest = replace(whole, pairs=whole.pairs[:3]), replace(whole, pairs=whole.pairs[3:])
    state = method.adapt(rest, method.adapt(first))
    assert (state.n_items, state.version) == (8, 2)
    [one], [two] = rewards(method, ask(state, "x"), ask(method.adapt(whole), "x"))
    assert one == pytest.approx(two, abs=1e-6)


def test_all_users_at_once_are_each_alone(space: PreferenceSpace) -> None:
    rows = opposed()
    method, users = fitted(space, rows), [history(f"u{i}", rows) for i in range(4)]
    everyone = [*users, Persona("silent")]
    assert method.adapt_all(everyone) == [method.adapt(user) for user in everyone]
    assert method.adapt_all([]) == []


def test_ties_and_equal_responses_are_no_evidence(space: PreferenceSpace) -> None:
    method = fitted(space, opposed())
    state = method.adapt(Persona("ann", pairs=(Pair("x", "same", "same"), Pair("x", "a", "b", strength=0))))
    assert (state.n_items, dict(state.payload)) == (0, {})


def test_the_order_of_comparisons_does_not_matter(space: PreferenceSpace) -> None:
    rows = opposed()
    one, two = fitted(space, rows), fitted(space, rows[::-1])
    assert one.scale == two.scale
    assert one.centre == pytest.approx(two.centre)


def test_settings_replace_what_is_learned(space: PreferenceSpace, tmp_path: Path) -> None:
    method = fitted(space, opposed(), scale=3.0)
    assert method.scale == [3.0]
    method.save(tmp_path)
    again = Centroid.load(tmp_path, space, letter_backends(space))
    state = again.adapt(history("u0", opposed()))
    assert rewards(again, ask(state, "x", "yy")) == rewards(method, ask(state, "x", "yy"))


def test_few_users_are_enough_to_learn_from(space: PreferenceSpace) -> None:
    """`validation` takes whole users, and at least one."""
    assert fitted(space, opposed(), validation=9).scale is not None


def test_broken_states_and_texts(space: PreferenceSpace) -> None:
    method = make("centroid", space)
    with pytest.raises(ScoreError, match="not finite for user 'ann'"):
        method.adapt(Persona("ann", pairs=(Pair("x", FAULT, "b"),)))
    state = method.adapt(Persona("ann", pairs=(Pair("x", "a", "b"),)))
    for broken in ("no base64!", None):
        with pytest.raises(DataError, match="user 'ann' does not hold centroid's vector"):
            score(method, ask(replace(state, payload={**state.payload, "vector": broken}), "x"))
    for key, value, named in (("rows", "no base64!", "rows"), ("n", 0, "comparisons: n is 0")):
        with pytest.raises(DataError, match=f"user 'ann' does not hold centroid's {named}"):
            method.adapt(Persona("ann"), replace(state, payload={**state.payload, key: value}))
    other = Centroid(CentroidConfig(features="encoder"), space, letter_backends(space))
    other.fit(opposed())
    with pytest.raises(ScoreError, match="vector of 42 numbers where 16 are expected"):
        score(other, ask(state, "x"))
    with pytest.raises(ScoreError, match="43 numbers in rows of 17"):
        other.adapt(Persona("ann"), state)
