"""What an answer does to a belief, against exact enumeration over classes and directions."""

from itertools import pairwise, product

import numpy as np
import pytest

from persona_rm.errors import DataError
from persona_rm.inferrers.stored_answers import GRADES, SIGNS, Belief, Perception, hear

HOW = Perception()
WORST = {1: 0.15, 5: 0.65}
"""By number of answers: how far the worst probability is off in the worst of 100 tiny spaces of 3 dimensions, all of
them asked at once. A product cannot hold what answers say about sums, and three dimensions are few for a normal."""
TYPICAL = {1: 0.02, 5: 0.08}
"""How far a probability is off on average."""


def grades(how, mean, variance=0.0):
    return how.grades(np.array(mean, float), np.broadcast_to(np.float64(variance), np.shape(mean)))


def some_belief(seed, classes=2, size=3):
    rng = np.random.default_rng(seed)
    return Belief(rng.dirichlet(np.full(classes, 2.0)), rng.dirichlet(np.full(3, 2.0), (classes, size)))


def exact(belief, answers, how=HOW):
    """P(class | answers) and P(direction | answers), over all classes and direction vectors."""
    size = belief.directions.shape[1]
    every = np.array(list(product((-1, 0, 1), repeat=size)))
    joint = belief.weights[:, None] * belief.directions[:, np.arange(size), every + 1].prod(-1)
    for difference, grade in answers:
        joint *= grades(how, every @ difference)[:, grade + 2]
    joint /= joint.sum()
    return joint.sum(1), np.stack([joint.sum(0) @ (every == sign) for sign in (-1, 0, 1)], -1)


def somebody_answers(belief, n, seed):
    """`n` questions about every dimension, answered by somebody drawn from the belief."""
    rng = np.random.default_rng(seed)
    of = belief.directions[rng.choice(len(belief.weights), p=belief.weights)]
    person = np.array([rng.choice(3, p=row) - 1 for row in of])
    asked = rng.choice([-2, -1, 1, 2], (n, len(person)))
    felt = asked @ person + rng.logistic(0, HOW.temperature, n)
    return list(zip(asked, (np.searchsorted(HOW.cuts, felt) - 2).tolist(), strict=True))


def after(belief, answers, how=HOW):
    for difference, grade in answers:
        belief = hear(belief, np.array(difference), grade, how)
    return belief


def test_grades_are_a_distribution_and_rise_with_the_difference():
    means = np.linspace(-50, 50, 201)
    for variance in (0.0, 0.5, 4.0, 100.0):
        p = grades(HOW, means, variance)
        assert p.shape == (201, 5)
        np.testing.assert_allclose(p.sum(-1), 1, atol=1e-9)
        assert (p > 0).all()
        at_least = p[:, ::-1].cumsum(-1)[:, :4]
        assert (np.diff(at_least, axis=0) >= -1e-9).all()
        assert (at_least[150] > at_least[50]).all()
        np.testing.assert_allclose(p, p[::-1, ::-1], atol=1e-9)


@pytest.mark.parametrize("temperature", [0.2, 0.8, 2.0])
def test_grades_are_the_logistic_over_a_normal(temperature):
    """Numerically, on 4001 points; MacKay's approximation stays within 0.02."""
    how, z = Perception(temperature), np.linspace(-8, 8, 4001)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    for mean, variance in product(np.linspace(-6, 6, 25), (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 9.0, 16.0)):
        noise = np.clip((how.cuts[:, None] - mean - np.sqrt(variance) * z) / temperature, -500, 500)
        below = (1 / (1 + np.exp(-noise))) @ weights
        integral = np.diff(np.concatenate([[0], below, [1]]))
        found = grades(how, [mean], variance)[0]
        np.testing.assert_allclose(found, integral, atol=0.02 if variance else 1e-9)


def test_without_noise_the_thresholds_decide():
    how = Perception(temperature=1e-3, bit=0.75, clear=2.5)
    told = {-9: -2, -2.51: -2, -2.49: -1, -0.76: -1, -0.74: 0, 0: 0, 0.74: 0, 0.76: 1, 2.49: 1, 2.51: 2, 9: 2}
    p = grades(how, list(told))
    assert (p.argmax(-1) - 2).tolist() == list(told.values())
    assert (p.max(-1) > 0.999).all()


def test_uncertainty_flattens():
    """Whose difference is less certain gives extreme grades, and the other side's, more often."""
    told = [grades(HOW, [2.0], variance)[0] for variance in (0.0, 1.0, 4.0, 16.0)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(told))


@pytest.mark.parametrize("n", [1, 5])
def test_a_belief_is_close_to_exact_enumeration(n):
    far, gained = [], []
    for seed in range(100):
        belief = some_belief(seed)
        answers = somebody_answers(belief, n, seed)
        found = after(belief, answers)
        weights, marginals = exact(belief, answers)
        far.append(np.abs(found.marginals - marginals))
        gained.append(np.abs(belief.marginals - marginals))
        assert found.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(found.directions.sum(-1), 1, rtol=1e-9)
        np.testing.assert_allclose(found.weights, weights, atol=0.25 if n > 1 else 0.08)
    assert np.max(far) < WORST[n]
    assert np.mean(far) < TYPICAL[n]
    assert np.mean(far) < 0.6 * np.mean(gained), "most of what the answers say is understood"


@pytest.mark.parametrize("classes", [1, 3])
def test_questions_about_one_dimension_are_exact(classes):
    """Nothing else is in the difference, so nothing is taken as normal: neither directions nor classes."""
    for seed in range(20):
        belief = some_belief(seed, classes)
        answers = [((0, 2, 0), 1), ((0, 1, 0), 0), ((-1, 0, 0), 2)]
        found, (weights, marginals) = after(belief, answers), exact(belief, np.array(answers, object))
        np.testing.assert_allclose(found.weights, weights, atol=1e-9)
        np.testing.assert_allclose(found.marginals, marginals, atol=1e-9)


def test_dimensions_that_do_not_differ_stay_within_their_class():
    """Across classes they may change: the answer also says which class it is."""
    belief = some_belief(3)
    found = hear(belief, np.array([2, 0, -1]), 2, HOW)
    np.testing.assert_array_equal(found.directions[:, 1], belief.directions[:, 1])
    assert (found.directions[:, [0, 2]] != belief.directions[:, [0, 2]]).all()
    assert not np.allclose(found.marginals[1], belief.marginals[1])


def test_a_pair_without_a_difference_says_nothing():
    belief = some_belief(4)
    for grade in GRADES:
        found = hear(belief, np.zeros(3, np.int64), grade, HOW)
        np.testing.assert_allclose(found.weights, belief.weights, rtol=1e-12)
        np.testing.assert_array_equal(found.directions, belief.directions)


def test_hearing_changes_no_earlier_belief():
    belief = some_belief(5)
    kept = belief.weights.copy(), belief.directions.copy()
    hear(belief, np.array([1, 1, 1]), -2, HOW)
    np.testing.assert_array_equal(belief.weights, kept[0])
    np.testing.assert_array_equal(belief.directions, kept[1])


def test_the_clearer_the_answer_the_further_it_moves():
    belief = Belief(np.ones(1), np.full((1, 2, 3), 1 / 3))
    liked = [hear(belief, np.array([2, 0]), grade, HOW).moments()[0][0, 0] for grade in sorted(GRADES)]
    assert liked == sorted(set(liked))
    assert liked[0] < liked[1] < -0.5
    np.testing.assert_allclose(liked, [-x for x in liked[::-1]], atol=1e-9)


def test_about_the_same_pulls_towards_indifference():
    belief = Belief(np.ones(1), np.full((1, 2, 3), 1 / 3))
    found = after(belief, [((2, 0), 0)] * 3)
    assert found.marginals[0, 1] > 0.9
    np.testing.assert_allclose(found.marginals[1], 1 / 3)


@pytest.mark.parametrize("grade", sorted(GRADES))
def test_a_turned_question_with_the_opposite_answer_says_the_same(grade):
    belief, difference = some_belief(6), np.array([2, -1, 1])
    one, two = hear(belief, difference, grade, HOW), hear(belief, -difference, -grade, HOW)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-9)
    np.testing.assert_allclose(one.directions, two.directions, rtol=1e-9)


def test_an_answer_tells_classes_apart():
    """Who likes what only one class likes is of that class, and so likes what else that class likes."""
    leaning = np.array([[[0.05, 0.1, 0.85]] * 2, [[0.85, 0.1, 0.05]] * 2])
    found = hear(Belief(np.array([0.5, 0.5]), leaning), np.array([2, 0]), 2, HOW)
    assert found.weights[0] > 0.8
    assert found.marginals[1] @ SIGNS > 0.4


def test_a_thousand_answers_that_contradict_each_other_stay_a_belief():
    belief = some_belief(7)
    found = after(belief, [((2, -2, 1), grade) for grade in (2, -2)] * 500)
    assert np.isfinite(found.directions).all()
    assert found.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.directions.sum(-1), 1, rtol=1e-9)


@pytest.mark.parametrize("grade", [3, -3, None, "2", 0.5, 1.0, True, [1]])
def test_what_is_no_grade_is_refused(grade):
    with pytest.raises(DataError, match=r"an integer, one of \[-2, -1, 0, 1, 2\], found"):
        hear(some_belief(8), np.array([1, 0, 0]), grade, HOW)
