"""Which question is asked next: expected information against enumeration, and what a bank is made of."""

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest

from persona_rm.errors import DataError
from persona_rm.inferrers.ask import PORTRAIT, Question, QuestionChooser, portraits, question_bank
from persona_rm.inferrers.stored_answers import Belief, Perception, hear
from persona_rm.types import Example, Persona
from tests.inferrers.inferrer_samples import toy_space

HOW = Perception()
FAR = 0.04
"""Nats between expected information and enumeration, at most, for pairs that differ by one level: a sum of four
directions is no normal, a single direction still less. `FAR_TWO`: by up to two levels."""
FAR_TWO = 0.08
LEAST = 0.9
"""Share of the best question's information that the chosen one has at least."""


def question(*difference, name=None):
    return Question(name or f"q{difference}", "p", "first", "second", difference)


def belief(seed, classes=1, size=4):
    rng = np.random.default_rng(seed)
    return Belief(rng.dirichlet(np.full(classes, 2.0)), rng.dirichlet(np.ones(3), (classes, size)))


def certain(*directions, sure=0.98):
    """A belief of one class that knows these directions; None: it knows nothing."""
    rows = np.full((1, len(directions), 3), 1 / 3)
    for dim, direction in enumerate(directions):
        if direction is not None:
            rows[0, dim] = (1 - sure) / 2
            rows[0, dim, direction + 1] = sure
    return Belief(np.ones(1), rows)


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def brute_force(about, difference):
    """Mutual information of answer and directions, over all direction vectors."""
    size = about.directions.shape[1]
    every = np.array(list(product((-1, 0, 1), repeat=size)))
    p = about.weights @ about.directions[:, np.arange(size), every + 1].prod(-1)
    u = (every @ difference).astype(float)
    grades = HOW.grades(u, np.zeros_like(u))
    return entropy(p @ grades) - p @ entropy(grades)


def informed(about, differences):
    asker = QuestionChooser([question(*map(int, x), name=str(i)) for i, x in enumerate(differences)], HOW)
    return asker.information(about, np.arange(len(differences)))


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize(("levels", "far"), [((-1, 0, 1), FAR), ((-2, -1, 0, 1, 2), FAR_TWO)])
def test_expected_information_is_mutual_information(levels, far, classes):
    rng, errors = np.random.default_rng(0), []
    for seed in range(60):
        about, differences = belief(seed, classes), rng.choice(levels, (12, 4))
        found = informed(about, differences)
        truth = np.array([brute_force(about, x) for x in differences])
        errors.append(np.abs(found - truth))
        assert truth[found.argmax()] >= LEAST * truth.max()
    assert np.max(errors) < far
    assert np.mean(errors) < far / 4


def test_information_is_between_nothing_and_five_grades():
    for seed in range(20):
        about = belief(seed, classes=3, size=6)
        found = informed(about, np.random.default_rng(seed).choice([-2, -1, 0, 1, 2], (40, 6)))
        assert (found >= -1e-9).all()
        assert (found <= np.log(5)).all()


def test_a_pair_without_a_difference_or_about_what_is_known_tells_nothing():
    assert informed(belief(1, classes=2), np.zeros((1, 4), int)) == pytest.approx(0, abs=1e-9)
    known = informed(certain(1, None, sure=1 - 1e-9), np.array([[2, 0], [0, 2]]))
    assert known[0] == pytest.approx(0, abs=1e-6)
    assert known[1] > 0.3


def test_classes_that_differ_are_worth_asking_about():
    """Within each class all is known; which class it is, is not."""
    classes = np.concatenate([certain(1, 1).directions, certain(-1, 1).directions])
    found = informed(Belief(np.array([0.5, 0.5]), classes), np.array([[1, 0], [0, 1]]))
    assert found[0] > 10 * found[1]


def test_the_uncertain_dimension_is_asked_about_first():
    bank = [question(2, 0, 0), question(0, 2, 0), question(0, 0, 2)]
    for unknown in range(3):
        about = certain(*(None if dim == unknown else 1 for dim in range(3)))
        asker = QuestionChooser(bank, HOW)
        assert asker.next(about)[0] == bank[unknown]
        assert asker.next(about)[1] == pytest.approx(asker.information(about, np.array([unknown]))[0])


@pytest.mark.parametrize("shortlist", [1, 7, 256])
def test_a_question_is_asked_once_until_all_have_been_asked(shortlist):
    bank = [question(*x, name=str(i)) for i, x in enumerate(product((-1, 1, 2), repeat=3))]
    asker, about, asked = QuestionChooser(bank, HOW, shortlist), belief(2, classes=2, size=3), []
    for _ in bank:
        found, nats = asker.next(about, asked)
        assert nats >= -1e-9
        asked.append(found.id)
        about = asker.hear(about, found.id, Random(len(asked)).choice((-2, -1, 0, 1, 2)))
    assert sorted(asked) == sorted(one.id for one in bank)
    with pytest.raises(DataError, match=r"all 27 questions of the bank have been asked"):
        asker.next(about, asked)


def test_the_same_belief_gives_the_same_question_and_of_equals_the_first():
    bank = [question(*x, name=str(i)) for i, x in enumerate([(0, 1), (1, 0), (1, 0), (-1, 0)])]
    about = certain(None, 1)
    assert {QuestionChooser(bank, HOW).next(about)[0].id for _ in range(5)} == {"1"}
    assert QuestionChooser(bank, HOW).next(about, {"1"})[0].id == "2"


def test_the_shortlist_seldom_costs_much():
    """The first cut by variance keeps nearly all of the information that the best question has."""
    rng, told = np.random.default_rng(0), []
    for seed in range(20):
        about = belief(seed, classes=3, size=8)
        bank = [question(*map(int, x), name=str(i)) for i, x in enumerate(rng.choice([-1, 0, 1], (400, 8)))]
        told.append([QuestionChooser(bank, HOW, shortlist).next(about)[1] for shortlist in (16, 400)])
    short, whole = np.array(told).T
    assert (short <= whole + 1e-12).all()
    assert (short > 0.85 * whole).all()


def test_an_answer_is_heard_as_answers_are():
    asker, about = (
        QuestionChooser([question(2, 0, -1, 0, name="a"), question(0, 1, 0, 0, name="b")], HOW),
        belief(3, classes=2),
    )
    found, expected = asker.hear(about, "a", -1), hear(about, np.array([2, 0, -1, 0]), -1, HOW)
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(found.directions, expected.directions)


def test_an_empty_bank_and_an_unknown_question_are_refused():
    with pytest.raises(DataError, match="empty question bank"):
        QuestionChooser([])
    with pytest.raises(DataError, match=r"no question 'x' in a bank of 1"):
        QuestionChooser([question(1, 0)]).hear(certain(None, None), "x", 1)


SIZE = 6


def example(i, *directions, user="ann"):
    filled = (directions + (0,) * SIZE)[:SIZE]
    return Example(f"e{i}", f"prompt {i}", f"good {i}", f"bad {i}", filled, Persona(user))


EXAMPLES = [example(i, 1, 0, -1) for i in range(40)]


def test_a_bank_is_as_large_as_asked_and_no_larger_than_what_there_is():
    assert len(question_bank(EXAMPLES, 10)) == 10
    whole = question_bank(EXAMPLES, 4000)
    assert len({one.id for one in whole}) == len(whole) == 40
    assert {one.prompt for one in whole} == {one.prompt for one in EXAMPLES}


def test_a_seed_gives_one_bank_whatever_the_order_of_the_examples():
    assert question_bank(EXAMPLES, 10, 3) == question_bank(EXAMPLES[::-1], 10, 3)
    assert question_bank(EXAMPLES, 10, 3) != question_bank(EXAMPLES, 10, 4)


def test_either_text_comes_first_and_the_difference_goes_with_it():
    bank = question_bank(EXAMPLES, 40)
    turned = [one for one in bank if one.first.startswith("bad")]
    assert 8 < len(turned) < 32
    for one in bank:
        assert {one.first.split()[0], one.second.split()[0]} == {"good", "bad"}
        assert one.difference == ((-1, 0, 1, 0, 0, 0) if one in turned else (1, 0, -1, 0, 0, 0))
        assert not one.portrait


def test_a_pair_of_two_people_is_one_question():
    doubled = [*EXAMPLES, *(replace(one, id=f"x{one.id}", persona=Persona("bob")) for one in EXAMPLES)]
    assert question_bank(doubled, 4000) == question_bank(EXAMPLES, 4000)


def test_a_pair_and_its_mirror_are_one_question():
    """Who chose the other text says the same about how the two differ."""
    turned = tuple(-d for d in EXAMPLES[0].directions)
    mirrored = [replace(e, chosen=e.rejected, rejected=e.chosen, directions=turned) for e in EXAMPLES]
    bank = question_bank(EXAMPLES, 4000)
    assert question_bank([*EXAMPLES, *mirrored], 4000) == question_bank(mirrored, 4000) == bank
    other = question_bank(EXAMPLES, 4000, seed=1)
    assert {one.id for one in other} == {one.id for one in bank}, "whatever text comes first"
    assert {(one.id, one.first) for one in other} != {(one.id, one.first) for one in bank}


def test_pairs_that_do_not_differ_or_say_nothing_are_left_out():
    silent = [example(90), replace(example(91), directions=())]
    assert [one.prompt for one in question_bank([*silent, example(92, 1)], 10)] == ["prompt 92"]
    for nothing in ([], silent):
        with pytest.raises(DataError, match=r"no example has directions of its pair.*build one"):
            question_bank(nothing, 10)


def test_portraits_ask_about_every_dimension_alone_first():
    space = toy_space(SIZE)
    found = portraits(space, 30)
    alone = found[:SIZE]
    assert [one.difference for one in alone] == [tuple(2 * (dim == i) for dim in range(SIZE)) for i in range(SIZE)]
    assert [(one.first, one.second) for one in alone] == [(f"High d{i}", f"Low d{i}") for i in range(SIZE)]
    assert SIZE < len(found) <= 30
    assert len({one.id for one in found}) == len(found)
    assert portraits(space, 30) == found != portraits(space, 30, seed=1)


def test_a_portrait_says_what_its_difference_says():
    for one in portraits(toy_space(SIZE), 60):
        assert one.portrait
        assert one.prompt == PORTRAIT
        held = {dim: levels for dim, levels in enumerate(one.difference) if levels}
        assert 1 <= len(held) <= 3
        for text, way in ((one.first, 1), (one.second, -1)):
            assert text == " ".join(f"{'High' if way * levels > 0 else 'Low'} d{dim}" for dim, levels in held.items())


DIMS, SECTORS, ANSWERERS, ASKED = 24, 8, 24, 20


def low_rank(rng, loadings, n):
    """People whose directions follow two numbers each: (directions (n, D), angle (n,))."""
    z = rng.normal(size=(n, 2))
    scores = z @ loadings
    held = np.abs(scores) >= np.sort(np.abs(scores), axis=1)[:, [-8]]
    return np.where(held, np.sign(scores), 0).astype(int), np.arctan2(z[:, 1], z[:, 0])


def prior_of(directions, angles):
    """Sectors of the plane as classes, counted from a population."""
    sector = ((angles + np.pi) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    hits = np.stack([directions == sign for sign in (-1, 0, 1)], -1)
    rows = np.stack([(hits[sector == k].sum(0) + 0.1) / ((sector == k).sum() + 0.3) for k in range(SECTORS)])
    return Belief(np.bincount(sector, minlength=SECTORS) / len(sector), rows)


def right_after(truth, prior, asker, choose, rng):
    """Share of directions that are right after 0, 1, ... answers of one person."""
    about, asked, right = prior, set(), []
    for _ in range(ASKED + 1):
        right.append((about.marginals.argmax(-1) - 1 == truth).mean())
        one = choose(about, asked)
        asked.add(one.id)
        felt = np.dot(truth, one.difference) + rng.logistic(0, HOW.temperature)
        about = asker.hear(about, one.id, int(np.searchsorted(HOW.cuts, felt)) - 2)
    return right


def test_chosen_questions_reach_an_accuracy_sooner_than_random_ones():
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, DIMS))
    prior = prior_of(*low_rank(rng, loadings, 2000))
    people = low_rank(rng, loadings, ANSWERERS)[0]
    drawn = rng.choice([-1, 0, 1], (200, DIMS), p=[0.06, 0.88, 0.06])
    asker = QuestionChooser([question(*map(int, x), name=str(i)) for i, x in enumerate(drawn)], HOW, shortlist=24)

    def at_random(about, asked):
        return next(one for i in rng.permutation(200) if (one := asker.questions[i]).id not in asked)

    ways = (lambda about, asked: asker.next(about, asked)[0], at_random)
    chosen, random = (
        np.mean([right_after(truth, prior, asker, way, rng) for truth in people], axis=0) for way in ways
    )
    goal = random[-1]
    sooner, later = (int(np.argmax(each >= goal)) for each in (chosen, random))
    assert chosen[0] == random[0] < goal - 0.1
    assert (chosen[2:] > random[2:]).all()
    assert sooner <= later / 2
