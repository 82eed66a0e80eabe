"""Whole prompts are held out, a user's own state is compared with another user's, and the verdict claims no more."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from persona_rm.benchmarks.figures import Figure
from persona_rm.benchmarks.user_check import CheckConfig, Folded, HeldOut, HeldOutChecks, balanced, measure
from persona_rm.benchmarks.user_verdict import Verdict, concluded, more_comparisons
from persona_rm.types import Comparison, Pair, Persona, RewardRequest, RewardResult, RewardTrace, UserState


class Votes:
    """Rewards a response by how often its last word was chosen: by the user, or by all for an unknown user."""

    seen: ClassVar[list[set[str]]] = []

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        self.seen.append({row.prompt for row in comparisons})
        self.all = counts([(row.chosen, row.rejected) for row in comparisons])

    def prior(self) -> UserState:
        return UserState("votes", None)

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        assert state is None
        self.seen.append({pair.prompt for pair in evidence.pairs})
        return UserState("votes", evidence.user_id, counts([(p.chosen, p.rejected) for p in evidence.pairs]), 1)

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        rewards = [
            (s.payload or self.all).get(r.response.split()[-1], 0) for s, r in zip(states, requests, strict=True)
        ]
        return [RewardResult(reward, RewardTrace(reward)) for reward in rewards]


def counts(pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    votes: dict[str, int] = {}
    for chosen, rejected in pairs:
        votes[chosen.split()[-1]] = votes.get(chosen.split()[-1], 0) + 1
        votes[rejected.split()[-1]] = votes.get(rejected.split()[-1], 0) - 1
    return votes


def people(n: int = 12, prompts: int = 10, *, personal: bool = True) -> list[Persona]:
    """Half of the users prefer cats and half dogs, or all prefer what a coin says."""
    rng, users = np.random.default_rng(0), []
    for user in range(n):
        pairs = []
        for prompt in range(prompts):
            texts = [f"answer {prompt} cats", f"answer {prompt} dogs"]
            first = user % 2 if personal else rng.integers(2)
            pairs.append(Pair(f"prompt {prompt}", texts[first], texts[1 - first]))
        users.append(Persona(f"u{user:02}", pairs=tuple(pairs)))
    return users


def test_users_who_differ_are_helped() -> None:
    check = concluded(measure(people(), Votes, {"other": Votes}), "votes")
    figures = check.figures
    assert (figures["personal"].value, figures["pooled"].value, figures["personal"].n) == (1.0, 0.5, 120)
    assert figures["gain"].low > 0
    assert figures["k4.personal"].value == 1.0
    assert figures["other"].n == 120
    assert check.verdict.answer == "helps"
    assert "+50.0 points [+50.0, +50.0] against the pooled reward" in check.verdict.sentence
    assert (check.helped, check.hurt, check.worst_tenth["personal"]) == (1.0, 0.0, 1.0)
    assert check.to_dict()["verdict"] == "helps"


def test_choices_by_a_coin_do_not_help() -> None:
    check = concluded(measure(people(60, personal=False), Votes, {}), "votes")
    assert check.verdict.answer in ("does not help", "too little data")
    assert check.figures["gain"].low <= 0


def test_no_prompt_is_in_history_and_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(Votes, "seen", seen)
    users = people(4, 5)
    data = Folded(users, CheckConfig())
    assert data.n_folds == 5
    assert data.split("u00", 0)[1] != []
    measure(users, Votes, {})
    # Nothing that a method was given, for a fit or a state, is of all five prompts.
    assert {len(prompts) for prompts in seen} == {2, 4}


def test_prompts_that_differ_in_case_and_spaces_are_one() -> None:
    pairs = tuple(Pair(prompt, "a", "b") for prompt in ("Hello  there", "hello there", "HELLO there"))
    assert Folded([Persona("u", pairs=pairs)], CheckConfig()).n_folds == 0


def test_folds_are_balanced_and_repeatable() -> None:
    sizes = {f"p{i}": 10 if i == 0 else 1 for i in range(21)}
    folds = balanced(sizes, 3, 0)
    assert folds == balanced(dict(reversed(sizes.items())), 3, 0)
    rows = [sum(size for key, size in sizes.items() if folds[key] == fold) for fold in range(3)]
    assert max(rows) - min(rows) <= 9


def test_two_users_have_intervals_by_prompt_and_their_swap() -> None:
    check = concluded(measure(people(2, 20), Votes, {}), "votes")
    assert check.drawn == "prompts"
    assert (check.figures["personal"].value, check.figures["shuffled"].value) == (1.0, 0.0)
    assert check.figures["own_minus_swapped"].value == 1.0
    assert check.verdict.answer == "helps"
    assert "2 users with" in check.left_out[2]


@pytest.mark.parametrize("users", [people(5, 1), people(1, 3)])
def test_too_little_to_hold_out(users: list[Persona]) -> None:
    check = concluded(measure(users, Votes, {}), "votes")
    assert (check.figures, check.verdict.answer) == ({}, "too little data")
    assert "At least 2 users and 5 prompts are needed" in check.verdict.sentence


def measured(gains: Sequence[float], own: Sequence[float], per_user: int = 1) -> Verdict:
    """The verdict of users whose personal method is right by so much more than the pooled, and another's state."""
    rows = HeldOut()
    for i, (gain, swapped) in enumerate(zip(gains, own, strict=True)):
        right = {"personal": [0.5], "pooled": [0.5 - gain], "shuffled": [0.5 - swapped]}
        rows.add([Comparison(f"u{i // per_user}", f"p{i}", "a", "b")], right)
    return concluded(HeldOutChecks(rows, {}, {}, 0), "centroid").verdict


def test_verdicts() -> None:
    helps, nothing, wide = [0.1] * 400, [0.0] * 400, [0.5, -0.5] * 10
    assert measured(helps, helps).answer == "helps"
    assert measured(nothing, nothing).answer == "does not help"
    # A gain over the pooled reward that another user's state brings, too, is not personal.
    not_personal = measured(helps, nothing)
    assert not_personal.answer == "does not help"
    assert "2 points over the state of another user is ruled out" in not_personal.sentence
    open_question = measured(wide, wide)
    assert open_question.answer == "too little data"
    assert open_question.more_comparisons is not None
    assert open_question.more_comparisons > 1000
    assert f"About {open_question.more_comparisons:,} more comparisons" in open_question.sentence


def test_one_changed_comparison_of_81_rules_nothing_out() -> None:
    # No user gains, so no resample of users does, and the bootstrap's interval ends at 0.
    verdict = measured([-0.5, *[0.0] * 80], [0.0] * 81, per_user=4)
    assert verdict.answer == "too little data"
    assert "Only 1 of 81 held-out comparisons" in verdict.sentence
    assert "(0 better, 1 worse)" in verdict.sentence
    assert verdict.more_comparisons is not None
    assert 50 < verdict.more_comparisons < 2000


def test_four_gains_of_81_are_not_enough_to_help() -> None:
    gains = [*[0.5] * 4, *[0.0] * 77]
    verdict = measured(gains, gains)
    assert verdict.answer == "too little data"
    assert "(4 better, 0 worse)" in verdict.sentence


def test_thousands_of_comparisons_rule_a_gain_out() -> None:
    change = [0.5] * 150 + [-0.5] * 250 + [0.0] * 4600
    verdict = measured(change, change, per_user=10)
    assert verdict.answer == "does not help"
    assert "A gain of 2 points over the pooled reward is ruled out with 95 % confidence" in verdict.sentence


def test_the_number_of_comparisons_that_would_tell() -> None:
    # Standard error 0.02, gain 0.028: with twice the data the gain is 2.8 standard errors.
    figure = Figure("gain", 0.028, 0.028 - 1.96 * 0.02, 0.028 + 1.96 * 0.02, 100)
    assert more_comparisons(figure, 100) == pytest.approx(math.ceil(100 * ((2.8 * 0.02 / 0.028) ** 2 - 1)), abs=1)
