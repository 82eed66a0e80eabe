from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from persona_rm.benchmarks import controls
from persona_rm.errors import DataError
from tests.benchmarks.benchmark_samples import cases


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_derangement_leaves_nobody_in_place(n):
    order = controls.derangement(n, np.random.default_rng(n))
    assert sorted(order) == list(range(n))
    assert all(i != j for i, j in enumerate(order))


def test_shuffled_personas_come_from_one_other_user_and_stay_in_their_unit():
    before = cases()
    after = controls.shuffled_personas(before, seed=1)
    donors = defaultdict(set)
    for old, new in zip(before, after, strict=True):
        assert new.example.prompt == old.example.prompt
        assert new.unit == old.unit
        donors[old.unit].add(new.example.persona.user_id)
    assert all(len(d) == 1 and user not in d for user, d in donors.items())
    assert controls.shuffled_personas(before, seed=1) == after
    assert any(controls.shuffled_personas(before, seed=s) != after for s in range(2, 6))


def test_shuffling_one_user_is_refused():
    with pytest.raises(DataError, match="two users"):
        controls.shuffled_personas(cases(users=1))


def test_no_persona_keeps_the_pair_and_nothing_else():
    case = cases()[0]
    bare = controls.no_persona(case)
    assert bare.example.chosen == case.example.chosen
    assert bare.example.persona.n_items == 0
    assert bare.example.persona.demo == ""
    assert bare.example.persona.directions == (0, 0, 0)
    assert controls.no_persona(controls.without_golden(case)).example.persona.directions is None


def test_reversed_directions_turns_pairs_and_is_its_own_inverse_on_them():
    case = cases()[0]
    persona = controls.reversed_directions(case).example.persona
    assert persona.directions == (-1, 0, 0)
    assert persona.pairs[0].chosen == case.example.persona.pairs[0].rejected
    assert persona.pairs[0].directions == (-1, 0, 0)
    assert persona.ugc[0].directions == (-1, 0, 0)
    assert controls.reversed_directions(controls.reversed_directions(case)).example.persona == replace(
        case.example.persona, demo=""
    )


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_history_is_half_ugc_and_half_pairs(n):
    persona = controls.truncate_history(cases()[0], n).example.persona
    assert (len(persona.ugc), len(persona.pairs)) == (n // 2, n // 2)


def test_a_history_too_short_is_refused_with_the_user():
    with pytest.raises(DataError, match=r"'a0' has 8 and 8"):
        controls.truncate_history(cases()[0], 32)


def test_longer_wins_counts_characters_or_words():
    case = cases()[0]
    odd = replace(case, example=replace(case.example, chosen="a b c", rejected="abcdefghi"))
    assert controls.longer_wins([odd]).tolist() == [[5, 9]]
    assert controls.longer_wins([odd], "words").tolist() == [[3, 1]]
    with pytest.raises(DataError, match="tokens"):
        controls.longer_wins([odd], "tokens")
