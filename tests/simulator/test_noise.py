"""Evidence says as much, and its annotator errs as often, as the config states."""

import math
import statistics

import pytest

from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.types import Comment

SMALL = {"users": 10, "test_users": 10, "posts": 20, "replies": 3}


def annotated(simulator, level, n):
    """How often (of n silent or loud comments) each dimension is read as 1, 2, 3."""
    comments = [Comment(str(i), "", levels=(level,) * len(simulator.space)) for i in range(n)]
    read = list(zip(*map(simulator.noisy_levels, comments), strict=True))
    return [tuple(dim.count(k) / n for k in (1, 2, 3)) for dim in read]


def test_the_number_of_clauses_changes_evidence_and_nothing_else(space):
    usual, brief, long = (
        Simulator(SimulatorConfig(**SMALL, evidence_clauses=clauses), space) for clauses in ((3, 5), (1, 1), (9, 9))
    )
    assert SimulatorConfig(**SMALL) == usual.config
    assert list(usual.choices(3)) == list(brief.choices(3)) == list(long.choices(3))
    assert list(usual.threads()) == list(brief.threads()) == list(long.threads())

    def mentions(simulator):
        """How many dimensions UGC and both texts of pairs mention."""
        evidence = [simulator.persona(user, "test") for user in simulator.users("test")]
        texts = [[u.comment for e in evidence for u in e.ugc]]
        texts += [[getattr(pair, side) for e in evidence for pair in e.pairs] for side in ("chosen", "rejected")]
        return [[sum(x != 2 for x in simulator.language.read_levels(text)) for text in kind] for kind in texts]

    assert all(set(counts) == {1} for counts in mentions(brief))
    for few, many in zip(mentions(usual), mentions(long), strict=True):
        assert max(few) <= 5
        assert statistics.mean(many) > statistics.mean(few) + 1


@pytest.mark.parametrize("clauses", [(0, 3), (4, 3), (-1, -1)])
def test_a_range_of_clauses_that_is_none_is_an_error(clauses):
    with pytest.raises(ValueError, match="fewest <= most"):
        SimulatorConfig(evidence_clauses=clauses)


def test_without_overclaims_every_dimension_has_the_one_confusion_matrix(space):
    simulator = Simulator(SimulatorConfig(), space)
    assert simulator.confusions == (simulator.config.confusion,) * len(space)


def test_rates_of_overclaims_are_log_uniform_per_dimension_and_seed_and_leave_the_outer_rows(space):
    low, high = 0.001, 0.3
    every = []
    for seed in range(12):
        simulator = Simulator(SimulatorConfig(overclaim=(low, high), seed=seed), space)
        assert {(c[0], c[2]) for c in simulator.confusions} == {
            (simulator.config.confusion[0], simulator.config.confusion[2])
        }
        assert all(left == right and left + silent + right == pytest.approx(1) for _, (left, silent, right), _ in simulator.confusions)  # fmt: skip # noqa: E501
        every.append([1 - c[1][1] for c in simulator.confusions])
    rates = sorted(math.log(rate / low) / math.log(high / low) for simulator in every for rate in simulator)
    assert len(set(rates)) > 0.99 * 12 * len(space)
    assert max(abs(rate - i / len(rates)) for i, rate in enumerate(rates)) < 1.63 / math.sqrt(len(rates))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_levels_are_misread_at_the_rates_that_the_simulator_states(space, level):
    simulator = Simulator(SimulatorConfig(overclaim=(0.01, 0.4)), space)
    n = 800
    found = annotated(simulator, level, n)
    for matrix, shares in zip(simulator.confusions, found, strict=True):
        for p, share in zip(matrix[level - 1], shares, strict=True):
            assert abs(share - p) <= 4.5 * math.sqrt(p * (1 - p) / n) + 1 / n


def test_overclaims_show_in_the_evidence(space):
    def votes(**config):
        simulator = Simulator(SimulatorConfig(**SMALL, **config), space)
        evidence = [simulator.persona(user, "test") for user in simulator.users("test")]
        return statistics.mean(sum(map(abs, u.directions)) for e in evidence for u in e.ugc)

    assert votes(overclaim=(0.2, 0.2)) > votes() + 0.15 * len(space)


def test_a_rate_of_nothing_has_no_logarithm():
    with pytest.raises(ValueError, match="log-uniform"):
        SimulatorConfig(overclaim=(0.0, 0.1))


@pytest.mark.parametrize("rates", [(0.2, 0.1), (0.1, 1.5), (-0.1, 0.1)])
def test_a_range_of_rates_that_is_none_is_an_error(rates):
    with pytest.raises(ValueError, match="0 <= lowest <= highest <= 1"):
        SimulatorConfig(overclaim=rates)


def test_a_row_that_is_no_distribution_is_an_error():
    with pytest.raises(ValueError, match="is a distribution over levels"):
        SimulatorConfig(confusion=((0.9, 0.2, 0.0), (0.0, 1.0, 0.0), (0.0, 0.1, 0.9)))


def test_the_list_of_posts_is_a_copy(space):
    simulator = Simulator(SimulatorConfig(), space)
    before = simulator.posts("train")
    simulator.posts("train").reverse()
    assert simulator.posts("train") == before != simulator.posts("test")
