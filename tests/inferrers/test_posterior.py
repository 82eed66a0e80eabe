"""What `posterior` answers to good, thin, contradictory, silent and hostile evidence, and when it speaks at all."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from pydantic import ValidationError

from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import STRONGEST
from persona_rm.inferrers.posterior import generic_model
from persona_rm.types import Persona
from tests.inferrers.inferrer_samples import draw, item, known_model, make, toy_space

SIZE = 6
SPACE = toy_space(SIZE)
NEGATIVE, NEUTRAL, POSITIVE = range(3)


CAREFUL = {"gain": 1.0, "claim": 1.0, "wrong": 2.0}
"""Costs under which it speaks above one half, so that no test hangs on what the defaults are tuned to."""


@pytest.fixture(scope="module")
def generic():
    """Before anything was learned."""
    return make("posterior", SPACE, **CAREFUL)


@pytest.fixture(scope="module")
def learned():
    """From 300 people of a known model, half of them with known directions."""
    drawn = draw(known_model(2), 300, seed=1).personas()
    found = make("posterior", SPACE, classes=(1, 2), **CAREFUL)
    found.fit([p if i % 2 else p.with_directions(None) for i, p in enumerate(drawn)])
    return found


@pytest.fixture(params=["generic", "learned"])
def either(request):
    return request.getfixturevalue(request.param)


def read(inferrer, items):
    return inferrer.read(items, Persona("ann"), "")


def entropy(p):
    return -sum(x * np.log(x) for x in p if x)


def many(n, *votes, source="ugc", start=0):
    """`n` distinct items that say the same."""
    return [item(f"{source}{start + i}", *votes, source=source) for i in range(n)]


def test_no_evidence_is_the_prior_and_cold(generic):
    found = generic.infer(Persona("ann", demo="A young executive."))
    assert found.cold
    assert found.directions == SPACE.neutral
    assert found.evidence == {}
    np.testing.assert_allclose(found.probabilities, [[0.05, 0.9, 0.05]] * SIZE, rtol=1e-12)


def test_a_learned_prior_is_the_populations(learned):
    found = learned.infer(Persona("ann"))
    assert found.cold
    np.testing.assert_allclose(found.probabilities, learned.calibration(learned.model.prior), rtol=1e-9)
    assert found.probabilities[0][NEGATIVE] > 0.3


def test_the_generic_model_is_sane(generic):
    """One vote changes little, several that agree speak, as strongly for either pole; silence weakens a vote."""
    p = [read(generic, many(n, 1)).probabilities[0] for n in (0, 1, 2, 3, 4)]
    assert all(a[POSITIVE] < b[POSITIVE] for a, b in pairwise(p))
    assert read(generic, many(1, 1)).directions[0] == 0
    for sign in (-1, 1):
        assert read(generic, many(4, sign)).directions == (sign, 0, 0, 0, 0, 0)
    up, down = (read(generic, many(4, sign)).probabilities[0] for sign in (1, -1))
    assert up == pytest.approx(down[::-1], rel=1e-9)
    silent = read(generic, many(4, 1) + many(20, 0, start=4)).probabilities[0]
    assert silent[POSITIVE] < p[4][POSITIVE]
    assert generic_model(("a", "b"), 3, 0.2).prior.tolist() == [[0.1, 0.8, 0.1]] * 3


def test_a_learned_model_beats_the_generic_one(generic, learned):
    drawn = draw(known_model(2), 300, seed=2)
    people = drawn.personas(labels=False)
    found = [m.infer_many(people) for m in (generic, learned)]
    right = [(np.array([p.directions for p in each]) == drawn.truth).mean() for each in found]
    assert right[1] > right[0]
    truth = np.stack([drawn.truth == way for way in (-1, 0, 1)], -1)
    logs = [-np.log([p.probabilities for p in each])[truth].mean() for each in found]
    assert logs[1] < logs[0]


def test_correlated_dimensions_inform_each_other(learned):
    """Two classes: who is known to lean negative on five dimensions leans negative on the silent sixth."""
    assert len(learned.model.shares) == 2
    others = [read(learned, many(3, *([sign] * 5))).probabilities[5] for sign in (-1, 1)]
    assert others[0][NEGATIVE] > others[1][NEGATIVE] + 0.2
    assert others[1][POSITIVE] > others[0][POSITIVE] + 0.2


@pytest.mark.parametrize("n", [1, 4, 20])
def test_contradiction_is_neutral_and_uncertain(generic, n):
    found = read(generic, many(n, 1) + many(n, -1, start=n))
    p, sure = found.probabilities[0], read(generic, many(2 * n, 1)).probabilities[0]
    assert found.directions[0] == 0
    assert found.evidence == {}
    assert p[NEGATIVE] == pytest.approx(p[POSITIVE], rel=1e-9)
    assert entropy(p) > entropy((0.05, 0.9, 0.05))
    if n > 1:
        assert entropy(p) > entropy(sure)
        assert found.intervals()[0] == (-1, 1)


def test_contradiction_is_never_confident_after_fitting(learned):
    for n in (1, 4, 20):
        found = read(learned, many(n, 1) + many(n, -1, start=n))
        assert found.directions[0] == 0, n
        assert max(found.probabilities[0]) < 0.75
        assert found.intervals()[0] == (-1, 1)


def test_silence_tends_to_neutral(either):
    """An annotator that answers only "cannot reflect", or a language that it cannot read: all votes are 0."""
    found = [read(either, many(n, 0)) for n in (0, 1, 4, 16, 64)]
    neutral = [each.probabilities[0][NEUTRAL] for each in found]
    assert neutral == sorted(neutral)
    assert neutral[-1] > 0.99
    assert [each.n_items for each in found] == [0, 1, 4, 16, 64]
    assert [each.cold for each in found] == [True] + [False] * 4
    assert {each.directions for each in found[2:]} == {SPACE.neutral}


def history(shout=1, n=1000):
    """8 UGC and 8 pairs that say -1 on the first dimension, `n` distinct items of one import that shout."""
    return many(8, -1) + many(8, -1, source="pair") + many(n, shout, source="import")


def test_a_poisoned_import_does_not_turn_a_direction(generic):
    clean, poisoned = read(generic, history(n=0)), read(generic, history())
    assert clean.directions[0] == poisoned.directions[0] == -1
    assert poisoned.probabilities[0][NEGATIVE] > 0.9
    assert poisoned.n_items == 1016
    unbounded = make("posterior", SPACE, ceiling=1e9)
    assert read(unbounded, history()).directions[0] == 1, "the ceiling is what holds"


@pytest.mark.parametrize("ceiling", [0.5, 2.0, 12.0])
@pytest.mark.parametrize("source", ["ugc", "import"])
def test_one_source_alone_cannot_say_more_than_the_ceiling(ceiling, source):
    """Odds between two directions move by exp(ceiling) at most, so P(t) <= p e^c / (p e^c + 1 - p)."""
    found = read(make("posterior", SPACE, ceiling=ceiling), many(1000, 1, source=source)).probabilities[0]
    prior = np.array([0.05, 0.9, 0.05])
    bound = prior * np.exp(ceiling) / (prior * np.exp(ceiling) + 1 - prior)
    assert found[POSITIVE] <= bound[POSITIVE] + 1e-12
    odds = np.log(found[POSITIVE] / found[NEGATIVE])
    assert odds == pytest.approx(ceiling, rel=1e-9), "the bound is reached"


def test_imports_share_one_ceiling(generic):
    """Sources that the config does not name are one source: a name of one's own buys no second voice."""
    alone, split = (
        many(1000, 1, source="import"),
        [i for name in "abcd" for i in many(250, 1, source=name)],
    )
    assert read(generic, alone).probabilities[0] == pytest.approx(read(generic, split).probabilities[0], rel=1e-9)


def test_a_weight_of_zero_leaves_a_source_out():
    weights = {"ugc": 1.0, "pair": 0.0}
    deaf, whole = (make("posterior", SPACE, weights={**weights, "pair": w}) for w in (0.0, 1.0))
    ugc, pairs = many(4, 1), many(9, -1, source="pair")
    assert read(deaf, ugc + pairs).probabilities == read(deaf, ugc).probabilities
    assert read(deaf, ugc + pairs).n_items == 13
    assert set(read(deaf, ugc + pairs).evidence[0]) == {i.id for i in ugc}
    assert read(deaf, ugc + pairs).directions[0] == 1
    assert read(whole, ugc + pairs).directions[0] != 1


def test_half_a_weight_counts_half():
    half, full = (make("posterior", SPACE, weights={"ugc": w}) for w in (0.5, 1.0))
    assert read(half, many(6, 1)).probabilities[0] == pytest.approx(read(full, many(3, 1)).probabilities[0], rel=1e-9)


COSTS = [(1.0, 1.0, 2.0), (1.0, 0.0, 0.0), (1.0, 3.0, 2.0), (2.0, 1.0, 0.5), (1.0, 0.5, 10.0)]
GRID = np.array([(a, b, 20 - a - b) for a, b in product(range(21), repeat=2) if a + b <= 20]) / 20


@pytest.mark.parametrize(("gain", "claim", "wrong"), COSTS)
def test_speaking_is_the_inequality(gain, claim, wrong):
    """gain P(it is so) - claim P(neutral) - wrong P(the opposite) > 0, over a grid of probabilities."""
    found = make("posterior", SPACE, gain=gain, claim=claim, wrong=wrong).decide(GRID)
    for p, said in zip(GRID, found, strict=True):
        worth = {way: gain * p[way + 1] - claim * p[1] - wrong * p[1 - way] for way in (-1, 1)}
        if min(abs(x) for x in worth.values()) < 1e-9 or abs(worth[1] - worth[-1]) < 1e-9:
            continue  # a tie is decided by rounding
        best = max(worth, key=lambda way: worth[way])
        assert said == (best if worth[best] > 0 else 0), p


def test_where_it_begins_to_speak():
    """Gain 1, claim 1, wrong 2: without an opposite it speaks above one half, against a tenth of it above 0.6."""
    decide = make("posterior", SPACE, **CAREFUL).decide
    rows = np.array([[0, 0.51, 0.49], [0, 0.49, 0.51], [0.1, 0.37, 0.53], [0.1, 0.28, 0.62], [0.62, 0.28, 0.1]])
    assert decide(rows).tolist() == [0, 1, 0, 1, -1]


@pytest.mark.parametrize("cost", ["claim", "wrong"])
def test_a_higher_cost_never_speaks_more(cost):
    spoken = [
        set(np.flatnonzero(make("posterior", SPACE, **{cost: value}).decide(GRID)))
        for value in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    ]
    assert all(later <= earlier for earlier, later in pairwise(spoken))
    assert len(spoken[-1]) < len(spoken[0])


def test_the_items_behind_a_direction(generic):
    """Items that vote for it, at most `STRONGEST`; of the same weight by id."""
    items = [*many(4, 1, -1), *many(4, 1, 0, start=4), item("against", -1), item("silent")]
    found = read(generic, items)
    assert found.directions[:2] == (1, -1)
    assert set(found.evidence) == {0, 1}
    assert found.evidence[0] == ("ugc0", "ugc1", "ugc2", "ugc3", "ugc4")[:STRONGEST]
    assert found.evidence[1] == ("ugc0", "ugc1", "ugc2", "ugc3")


def test_the_strongest_item_is_named_first():
    """By the source's weight, and by age."""
    weighted = make("posterior", SPACE, weights={"ugc": 1.0, "pair": 2.0})
    found = read(weighted, [*many(3, 1), item("pair", 1, source="pair")])
    assert found.evidence[0] == ("pair", "ugc0", "ugc1", "ugc2")
    aged = make("posterior", SPACE, half_life=365)
    dated = [item(f"{year}", 1, created=f"{year}-01-01") for year in (2021, 2024, 2022, 2023)]
    assert read(aged, [*dated, item("undated", 1)]).evidence[0] == ("2024", "undated", "2023", "2022", "2021")


def test_items_behind_a_learned_direction_vote_for_it(learned):
    for who in draw(known_model(2), 20, seed=5).personas(labels=False):
        votes = {i.id: i.votes for i in learned.items(who)}
        found = learned.infer(who)
        assert set(found.evidence) == {d for d, way in enumerate(found.directions) if way}
        for d, ids in found.evidence.items():
            assert ids
            assert all(votes[id_][d] == found.directions[d] for id_ in ids)


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_opposite_vote_is_no_evidence_even_where_it_makes_a_direction_likelier(sign):
    """A source that is loud about whoever holds either pole: both votes speak for a pole rather than for neutral."""
    loud = make("posterior", SPACE, **CAREFUL)
    table = np.array([[0.5, 0.2, 0.3], [0.05, 0.9, 0.05], [0.3, 0.2, 0.5]])
    loud.model = replace(loud.model, tables=np.broadcast_to(table, loud.model.tables.shape))
    found = read(loud, [*many(4, sign), item("against", -sign)])
    assert found.directions[0] == sign
    assert found.evidence[0] == ("ugc0", "ugc1", "ugc2", "ugc3")


def test_calibration_people_are_not_learned_from(learned):
    assert learned.fitted["users"] + learned.fitted["calibrated_on"] == 300
    assert learned.fitted["calibrated_on"] == 150 // 4
    assert learned.calibration.temperature != 1


def test_labels_are_used_where_they_are_asked_for():
    """People without known directions are left out, so what their items say changes nothing."""
    first, second = draw(known_model(), 100, seed=1), draw(known_model(), 60, seed=2)
    config = {"labels": True, "calibrate": "none", "classes": (1,)}
    with_, without = (make("posterior", SPACE, **config) for _ in range(2))
    with_.fit(first.personas() + second.personas(labels=False))
    without.fit(first.personas())
    np.testing.assert_array_equal(with_.model.tables, without.model.tables)
    assert with_.fitted["users"] == 100


def test_a_population_that_is_too_small_is_refused(generic):
    people = draw(known_model(), 30).personas(labels=False)
    with pytest.raises(DataError, match="9 users are too few"):
        make("posterior", SPACE).fit(people[:9])
    with pytest.raises(DataError, match="0 users are left to learn from"):
        make("posterior", SPACE, labels=True).fit(people)


@pytest.mark.parametrize("config", [{"gain": 0}, {"half_life": 0}, {"claim": -1}, {"ceiling": 0}, {"unknown": 1}])
def test_a_config_without_meaning_is_refused(config):
    with pytest.raises(ValidationError):
        make("posterior", SPACE, **config)
