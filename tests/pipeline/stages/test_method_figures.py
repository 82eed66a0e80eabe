"""One procedure for every method: what it reads and the controls that it declares decide which figures there are."""

from dataclasses import replace
from typing import ClassVar

import pytest

from persona_rm.benchmarks.controls import without_golden
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.inferrers.base import Posterior
from persona_rm.pipeline.stages.method_figures import MethodFigures
from persona_rm.recipe import EvalConfig
from persona_rm.types import UserState
from tests.benchmarks.benchmark_samples import Directed, cases

ALL = frozenset({"flip", "history", "shuffled", "no_user"})


class Declared(Directed):
    """`Directed` with the declarations of a method."""

    variants: ClassVar = {}

    def __init__(self, reads, controls=ALL, **settings):
        super().__init__()
        self.reads, self.controls, self.settings = reads, frozenset(controls), settings

    def prior(self):
        return UserState("directed", None, {"d": 0})

    def settings_for(self, n_items):
        return {"n": n_items}


class ByItems(Declared):
    """Reads the direction of the first item; it must not see the user's own directions."""

    def adapt(self, evidence, state=None):
        assert evidence.directions is None
        return super().adapt(evidence.with_directions(evidence.items[0].directions), state)


class FirstItem:
    """An inferrer that believes the first item."""

    def infer(self, persona, prompt=""):
        return Posterior(((0.0, 0.0, 1.0),) * 3, persona.items[0].directions, n_items=persona.n_items)


def figures_of(some=None, truth=True, **config):
    config = EvalConfig(items=8, history=(2, 8), **config)
    return MethodFigures(Evaluation(resamples=50), config, some or cases(), FirstItem(), truth, seed=0)


def measured(figures, name, make, may_lead=False):
    before = set(figures.sheet.figures)
    figures.measure(name, make, may_lead=may_lead)
    return {key: figure.value for key, figure in figures.sheet.figures.items() if key not in before}


def test_a_method_on_directions_is_told_known_and_inferred_ones():
    values = measured(figures_of(), "mine", lambda **_: Declared("directions"))
    assert values == {
        "mine_golden": 1.0, "mine_golden_flip": 1.0, "mine_shuffled": pytest.approx(values["mine_shuffled"]),
        "mine_no_user": 0.5, "mine_vote": 1.0, "mine_vote_h2": 1.0, "mine_vote_h8": 1.0,
        "gap_mine_golden_minus_vote": 0.0,
    }  # fmt: skip
    assert values["mine_shuffled"] < 1


def test_the_first_section_on_directions_leads_and_only_a_section_can():
    figures = figures_of()
    assert "plain_no_user" in measured(figures, "plain", lambda **_: Declared("directions"))
    first = measured(figures, "one", lambda **_: Declared("directions"), may_lead=True)
    assert {"control_shuffled", "control_no_persona", "gap_golden_minus_vote"} < set(first)
    second = measured(figures, "two", lambda **_: Declared("directions"), may_lead=True)
    assert {"two_shuffled", "two_no_user", "gap_two_golden_minus_vote"} < set(second)
    assert not set(first) & set(second)


def test_a_method_on_items_is_shown_no_directions_and_as_many_items_as_the_longest_history():
    made = []

    def make(**settings):
        made.append(settings)
        return ByItems("items", **settings)

    values = measured(figures_of(), "mine", make)
    assert set(values) == {"mine", "mine_flip", "mine_shuffled", "mine_no_user", "mine_h2", "mine_h8"}
    assert (values["mine"], values["mine_flip"], values["mine_no_user"]) == (1.0, 1.0, 0.5)
    assert made == [{}, {"n": 8}]


def test_a_method_that_reads_nothing_is_scored_once_and_held_against_the_leader():
    class Same(Declared):
        def adapt(self, evidence, state=None):
            return self.prior()

    figures = figures_of()
    assert measured(figures, "early", lambda **_: Same("nothing")) == {"early": 0.5}
    measured(figures, "pba", lambda **_: Declared("directions"), may_lead=True)
    assert measured(figures, "late", lambda **_: Same("nothing")) == {"late": 0.5, "gap_golden_minus_late": 0.5}


@pytest.mark.parametrize("reads", ["directions", "items"])
def test_controls_that_are_not_declared_are_not_measured(reads):
    kind = Declared if reads == "directions" else ByItems
    values = measured(figures_of(), "mine", lambda **_: kind(reads, controls=()))
    gone = {"mine_golden", "mine_vote", "gap_mine_golden_minus_vote"} if reads == "directions" else {"mine"}
    assert set(values) == gone


def test_directions_of_unknown_truth_are_given_and_missing_ones_are_left_out():
    values = measured(figures_of(truth=False), "mine", lambda **_: Declared("directions"))
    assert {"mine_given", "mine_given_flip", "gap_mine_given_minus_vote"} < set(values)
    some = [without_golden(case) for case in cases()]
    values = measured(figures_of(some), "mine", lambda **_: Declared("directions"))
    assert set(values) == {"mine_no_user", "mine_vote", "mine_vote_h2", "mine_vote_h8"}


def test_variants_are_made_with_their_settings():
    class Varied(Declared):
        variants: ClassVar = {"twice": {"factor": 2}}

    made = []

    def make(**settings):
        made.append(settings)
        return Varied("directions", controls=())

    assert "mine_golden_twice" in measured(figures_of(), "mine", make)
    assert made == [{}, {"factor": 2}]


def test_history_sizes_that_a_case_lacks_are_left_out():
    some = cases()
    short = some[0].with_persona(some[0].example.persona.first(1, 1))
    values = measured(figures_of([replace(short), *some[1:]]), "mine", lambda **_: ByItems("items"))
    assert "mine_h2" in values
    assert "mine_h8" not in values
