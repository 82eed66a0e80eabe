"""Unseen texts and new users stay unseen, all methods see the same rows, and the figures say what happened."""

from collections.abc import Sequence

import numpy as np
import pytest

from persona_rm.benchmarks.bench_figures import bench_rows, calibration_error, changed_users
from persona_rm.benchmarks.bench_protocol import SEEN, ProtocolConfig, run_method, splits
from persona_rm.errors import DataError
from persona_rm.types import Comparison, Persona, RewardRequest, RewardResult, RewardTrace, UserState

CONFIG = ProtocolConfig(ks=(0, 2, 4), draws=2, folds=3, fewest_held=2)


def comparisons(n_users: int = 24, n_prompts: int = 9) -> list[Comparison]:
    """Even users prefer the longer answer, odd ones the shorter; one prompt is one group."""
    rows = []
    for user in range(n_users):
        for prompt in range(n_prompts):
            long, short = f"a long answer {prompt}", f"short {prompt}"
            sides = (long, short) if user % 2 == 0 else (short, long)
            rows.append(Comparison(f"u{user:02d}", f"p{prompt}", *sides, f"p{prompt}"))
    return rows


class LengthScorer:
    """Learns from a user's own comparisons whether longer is better; the prior says that it is."""

    def __init__(self) -> None:
        self.known: Sequence[Comparison] = ()

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        self.known = comparisons

    def prior(self) -> UserState:
        return UserState("length", None, {"sign": 1})

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        votes = sum(np.sign(len(pair.chosen) - len(pair.rejected)) for pair in evidence.pairs)
        return UserState("length", evidence.user_id, {"sign": float(np.sign(votes)) or 1.0}, len(evidence.pairs))

    def adapt_all(self, evidence: Sequence[Persona]) -> list[UserState]:
        return [self.adapt(one) for one in evidence]

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        rewards = [state.payload["sign"] * len(r.response) for state, r in zip(states, requests, strict=True)]
        return [RewardResult(reward, RewardTrace(reward)) for reward in rewards]


def test_texts_and_new_users_are_left_out_of_the_fit() -> None:
    rows = comparisons()
    tested: dict[str, int] = {}
    for split in splits(rows, CONFIG):
        known_users, known_texts = {row.user_id for row in split.known}, {row.group for row in split.known}
        assert not known_users & split.new.keys()
        assert split.seen.keys() <= known_users
        for shown in (*split.new.values(), *split.seen.values()):
            assert not {row.group for row in shown.held} & known_texts
            assert {row.group for row in shown.history} <= known_texts
        for user in split.new:
            tested[user] = tested.get(user, 0) + 1
    # Every user is new once in each draw.
    assert tested == dict.fromkeys({row.user_id for row in rows}, 2)


def test_the_order_of_the_data_does_not_matter() -> None:
    rows = comparisons()
    assert [split.new for split in splits(rows, CONFIG)] == [split.new for split in splits(rows[::-1], CONFIG)]


def test_own_shuffled_and_prior() -> None:
    run = run_method("length", LengthScorer, comparisons(), CONFIG)
    rows = {row.k: row for row in bench_rows(run)}
    assert list(rows) == [0, 2, 4, "seen"]
    zero, four = rows[0], rows[4]
    assert zero.figures["gain"].value == 0
    assert four.figures["accuracy"].value == 1
    assert four.figures["pooled"].value == 0.5
    assert four.figures["gain"].low > 0
    assert four.figures["own_minus_shuffled"].value > 0.3
    # Half of the users are mispredicted by pooled, and they make the whole gain.
    assert (four.users, four.mispredicted, four.helped, four.hurt) == (24, 12, 0.5, 0.0)
    assert four.figures["gain_without_mispredicted"].value == 0
    assert (four.worst_tenth, four.worst_tenth_pooled) == (1, 0)
    assert four.interval_by == "user"
    assert rows["seen"].figures["accuracy"].value == 1
    assert len(run.tables[SEEN].own) > len(run.tables[4].own)


def test_a_reference_method_is_compared_on_the_same_rows() -> None:
    run = run_method("length", LengthScorer, comparisons(), CONFIG)
    [*_, last, _] = bench_rows(run, run)
    assert last.figures["minus_reference"].value == last.figures["gain"].value


def test_few_users_are_not_resampled() -> None:
    rows = bench_rows(run_method("length", LengthScorer, comparisons(6), CONFIG))
    assert {row.interval_by for row in rows} == {"group"}


@pytest.mark.parametrize("rows", [comparisons(1), comparisons(9, 1)], ids=["one user", "one group"])
def test_nothing_to_split(rows: list[Comparison]) -> None:
    with pytest.raises(DataError, match="need two groups of texts and two users: found 1"):
        run_method("length", LengthScorer, rows, CONFIG)


def test_too_few_comparisons_for_the_largest_k() -> None:
    with pytest.raises(DataError, match="no two users have 16 comparisons"):
        run_method("length", LengthScorer, comparisons(), ProtocolConfig())


def test_a_user_is_changed_beyond_noise_only() -> None:
    users = np.repeat([0, 1, 2], 8)
    difference = np.concatenate([np.full(8, -1.0), [1, -1, 1, -1, 1, -1, 1, -1], np.full(8, 0.5)])
    assert changed_users(difference, users) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_calibration() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(size=20_000)
    won = np.where(rng.random(20_000) < 1 / (1 + np.exp(-margins)), margins, -margins)
    assert calibration_error(won) < 0.02
    assert calibration_error(5 * won) > 0.1
