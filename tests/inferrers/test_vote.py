"""The vote rule: net votes against n, the released code's forcing, and what is refused."""

from fractions import Fraction

import pytest
from pydantic import ValidationError

from persona_rm.errors import DataError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer, most_extreme
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc


def filled(space: PreferenceSpace, *starts: int) -> tuple[int, ...]:
    return (starts + space.neutral)[: len(space)]


def person(space: PreferenceSpace, *items: tuple[int, ...]) -> Persona:
    """UGC and pairs in turn, each with these first directions."""
    ugc = tuple(Ugc("p", "c", filled(space, *item)) for item in items[::2])
    pairs = tuple(Pair("p", "a", "b", filled(space, *item)) for item in items[1::2])
    return Persona("ann", ugc, pairs)


@pytest.mark.parametrize("n", range(1, 41))
def test_the_rule_fires_at_a_fifth_net_votes(space: PreferenceSpace, n: int) -> None:
    """k net votes of n: positive exactly when the mean 0.5 + k/2n is 0.6 or more, in exact arithmetic."""
    vote = VoteInferrer(VoteConfig(), space)
    for net in range(-n, n + 1):
        mean = Fraction(1, 2) + Fraction(net, 2 * n)
        expected = 1 if mean >= Fraction(6, 10) else -1 if mean <= Fraction(4, 10) else 0
        assert vote.decide(net, n) == expected, (net, n)
        assert expected == (1 if 5 * net >= n else -1 if 5 * net <= -n else 0)


@pytest.mark.parametrize(("n", "needed"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (16, 4)])
def test_how_many_net_votes_decide(space: PreferenceSpace, n: int, needed: int) -> None:
    for net, expected in ((needed, 1), (needed - 1, 0), (-needed, -1), (1 - needed, 0)):
        items = [((net > 0) - (net < 0),)] * abs(net) + [(0,)] * (n - abs(net))
        assert VoteInferrer(VoteConfig(), space).infer(person(space, *items)).directions[0] == expected


def test_posterior_is_the_share_of_votes(space: PreferenceSpace) -> None:
    found = VoteInferrer(VoteConfig(), space).infer(person(space, (1, -1), (1, -1), (1, 0), (-1, 0)))
    assert found.probabilities[:3] == ((0.25, 0.0, 0.75), (0.5, 0.5, 0.0), (0.0, 1.0, 0.0))
    assert found.directions[:3] == (1, -1, 0)
    assert len(found.directions) == len(found.probabilities) == len(space)


def test_no_items_is_neutral_even_when_forced(space: PreferenceSpace) -> None:
    found = VoteInferrer(VoteConfig(force=True), space).infer(Persona("ann", demo="A young executive."))
    assert found.directions == space.neutral
    assert set(found.probabilities) == {(0.0, 1.0, 0.0)}


def test_force_takes_the_most_extreme_side(space: PreferenceSpace) -> None:
    strict = {"positive": 1.0, "negative": 0.0}
    items = [(1, -1, 1), (1, 0, 1), (0, 0, 0)]
    assert VoteInferrer(VoteConfig(**strict), space).infer(person(space, *items)).directions == space.neutral
    forced = VoteInferrer(VoteConfig(**strict, force=True), space).infer(person(space, *items)).directions
    assert forced == filled(space, 1, 0, 1)


@pytest.mark.parametrize(
    ("nets", "expected"),
    [([2, -1, 0], (1, 0, 0)), ([1, -2, 0], (0, -1, 0)), ([1, -1, -1], (0, -1, -1)), ([0, 0, 0], (0, 0, 0))],
)
def test_most_extreme(nets: list[int], expected: tuple[int, ...]) -> None:
    assert most_extreme(nets) == expected


def test_force_changes_nothing_where_something_fires(space: PreferenceSpace) -> None:
    items = person(space, (1, 0), (1, 1), (0, 0), (0, 0), (0, 0), (0, 0))
    plain, forced = (VoteInferrer(VoteConfig(force=force), space).infer(items) for force in (False, True))
    assert plain == forced
    assert plain.directions == filled(space, 1, 0)


def test_an_item_without_directions_is_named(space: PreferenceSpace) -> None:
    persona = Persona(
        "ann", (Ugc("p", "c", space.neutral),), (Pair("p", "a", "b", space.neutral), Pair("p", "a", "b"))
    )
    with pytest.raises(DataError, match=r"user 'ann', pairs\[1\] carries no directions"):
        VoteInferrer(VoteConfig(), space).infer(persona)


@pytest.mark.parametrize("directions", [(1, 0), (2,) * 90, (0.5,) * 90])
def test_odd_directions_are_named(space: PreferenceSpace, directions: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"user 'ann', ugc\[0\] needs 90 directions"):
        VoteInferrer(VoteConfig(), space).infer(Persona("ann", (Ugc("p", "c", directions),)))


@pytest.mark.parametrize(
    "wrong", [{"positive": 0.4}, {"negative": 0.6}, {"t1": 1}, {"positive": 0.5, "negative": 0.5}]
)
def test_thresholds_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        VoteConfig(**wrong)


def test_both_members_load(space: PreferenceSpace) -> None:
    for name in ("vote", "golden"):
        member = INFERRERS.load(name)
        assert member.name == name
        assert member(member.Config(), space).space is space
