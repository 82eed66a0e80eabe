"""Other worlds: what correlations and questions tell of new users, several tastes, and people who change."""

import io
from functools import partial
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from persona_rm.benchmarks.figures import Figure
from persona_rm.benchmarks.study_config import InferenceConfig
from persona_rm.errors import DataError
from persona_rm.inferrers.ask import Question, QuestionChooser
from persona_rm.pipeline.studies import study
from persona_rm.pipeline.studies.question_study import _needed, asking, priors
from persona_rm.pipeline.studies.sessions import _grade, ask_users, observed, orders, orders_of, start
from persona_rm.pipeline.studies.tastes_study import KINDS, tastes
from persona_rm.types import Example, Persona
from tests.pipeline.studies.inference_samples import FEW, SMALL, TASTES, hand_toys, run_of, study_of, study_with_pairs


@pytest.fixture(scope="module")
def small(tmp_path_factory, space):
    return study_with_pairs(tmp_path_factory.mktemp("study"), space)


def test_another_world_has_the_same_noise_and_its_own_first_people(small):
    here = small.other_population("clusters")
    assert small.other_population("clusters") is here
    assert here.simulator.config == small.simulator.config.model_copy(update={"kind": "clusters"})
    assert [user.id for user in here.users] == [user.id for user in here.simulator.users("test")[:8]]
    assert here.units == [choice.user.id for choice in here.choices]
    assert {unit: here.units.count(unit) for unit in here.units} == {user.id: 3 for user in here.users}
    assert small.fit("clusters", classes=[1]) is small.fit("clusters", classes=[1])
    assert small.fit("clusters", classes=[1]) is not small.fit("clusters", classes=[2])


def test_one_class_is_held_against_many_in_every_world(small):
    rows = priors(small)["prior"]
    assert [(row["population"], row["name"]) for row in rows] == [
        (kind, name) for kind in SMALL["populations"] for name in ("one class", "latent classes")
    ]
    for row in rows:
        figure = small.sheet.figures[f"prior_{row['population']}_{row['name'].replace(' ', '_')}"]
        assert (row["value"], row["n"]) == (figure.value, 24)
    assert len(small.fit_posterior("low_rank", classes=[1]).model.shares) == 1


def test_people_are_asked_in_every_world_both_ways(small):
    """Too few questions for what 16 items tell: no figure, and a word why."""
    found, figures = asking(small), small.sheet.figures
    rows = {(row["population"], row["how"], row["questions"]): row["accuracy"] for row in found["asking"]}
    ways = ("expected information", "random")
    assert set(rows) == {(kind, how, n) for kind in SMALL["populations"] for how in ways for n in range(5)}
    for kind in SMALL["populations"]:
        assert rows[kind, ways[0], 0] == rows[kind, ways[1], 0], "nobody was asked yet"
        assert figures[f"observed_{study.OBSERVED}_{kind}"].value > rows[kind, "random", 4][0]
    assert [(row["population"], row["items"]) for row in found["observed"]] == [
        (kind, 16) for kind in SMALL["populations"]
    ]
    assert "questions_to_match_16_random" not in figures
    said = " ".join(small.run.console.file.getvalue().split())
    assert "low_rank, random: 0." in said
    assert "short after 4 questions; observed items give 0." in said


@pytest.mark.parametrize(
    ("how", "kind", "name"),
    [
        ("expected information", "low_rank", ""),
        ("random", "low_rank", "_random"),
        ("random", "drift", "_random_drift"),
    ],
)
def test_questions_are_counted_until_nothing_is_lost(how, kind, name):
    """Matched where the interval of the loss is below the margin, reached where the loss itself is gone."""
    kept = {}
    desk = SimpleNamespace(
        config=InferenceConfig(), run=SimpleNamespace(console=Console(file=io.StringIO())),
        sheet=SimpleNamespace(add=lambda some: kept.update({one.name: one for one in some})),
    )  # fmt: skip
    goal = Figure("goal", 0.9, 0.8, 1.0, 24)
    lost = [Figure("", *row, 24) for row in ((0.2, -0.1, 0.5), (0.002, -0.004, 0.009), (-0.01, -0.1, 0.1))]
    _needed(desk, kind, how, lost, goal)
    assert {key: (one.value, one.n) for key, one in kept.items()} == {
        f"questions_to_match_16{name}": (1, 24), f"questions_to_reach_16{name}": (2, 24),
    }  # fmt: skip
    kept.clear()
    _needed(desk, kind, how, lost[:1], goal)
    assert not kept
    assert "0.200 short after 0 questions" in desk.run.console.file.getvalue()


def test_answers_teach_and_are_the_same_every_time(small, space):
    here, inferrer = small.other_population("independent"), small.fit_posterior("independent")
    texts = [world_reply(here, i) for i in range(12)]
    examples = [
        Example(str(i), "p", *pair, (1, *[0] * (len(space) - 1)), Persona("u"))
        for i, pair in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    ask = partial(ask_users, here.simulator, here.users, inferrer, examples, 12, 100)
    chosen, random = ask()
    assert (chosen.how, random.how) == ("expected information", "random")
    assert chosen.directions.shape == random.directions.shape == (13, 8, len(space))
    np.testing.assert_array_equal(ask()[0].directions, chosen.directions)
    truth = np.array([user.directions for user in here.users])
    right = [((each == truth) & (truth != 0)).sum() for each in (chosen.directions[0], chosen.directions[-1])]
    assert right[1] > right[0]
    prior = inferrer.decide(inferrer.calibration(start(inferrer).marginals))
    assert (chosen.directions[0] == prior).all()


def world_reply(here, i):
    return here.simulator.reply(here.users[i % 8], here.simulator.posts("train")[i], "train").text


def test_people_answer_as_they_like_the_texts(small):
    simulator, user = small.simulator, small.simulator.users("test")[0]
    liked, shape = user.held[0], [0] * len(small.space)
    shape[liked] = 2 * user.directions[liked]
    portrait = Question("q", "p", "one", "two", tuple(shape), portrait=True)
    disliked = Question("r", "p", "one", "two", tuple(-x for x in shape), portrait=True)
    said = {sign: simulator.language.write({liked: sign * user.directions[liked]}, "any", rng(0)) for sign in (1, -1)}
    texts = Question("t", "p", said[1], said[-1], tuple(shape))
    asker = QuestionChooser([portrait, disliked, texts])
    grades = {one.id: [_grade(simulator, user, one, asker, rng(i)) for i in range(200)] for one in asker.questions}
    assert set(grades["q"]) <= {-2, -1, 0, 1, 2}
    assert np.mean(grades["q"]) > 0.8
    assert np.mean(grades["r"]) < -0.8
    assert grades["t"] == grades["q"], "texts of these levels are worth the same"


def rng(seed):
    return Random(str(seed))


def test_orders_of_choices_by_hand(small):
    here = small.other_population("independent")
    golden = np.array([user.directions for user in here.users])
    found = orders(golden, here.choices, here.users)
    assert found.tolist() == [float(choice.utilities[0] > choice.utilities[1]) for choice in here.choices]
    np.testing.assert_array_equal(orders(-golden, here.choices, here.users), 1 - found)
    by_choice = np.array([choice.user.directions for choice in here.choices])
    np.testing.assert_array_equal(orders_of(by_choice, here.choices), found)
    assert set(orders(0 * golden, here.choices, here.users)) == {0.5}
    assert observed(here.simulator, here.users, small.posterior, 4).shape == golden.shape


def test_tastes_and_drift_have_a_row_each(small, tmp_path, monkeypatch):
    hand_toys(monkeypatch, small)
    monkeypatch.setattr(TASTES, "ITEMS", 8)
    monkeypatch.setattr(TASTES, "KINDS", ("plural",))
    few = study_of(run_of(tmp_path, **FEW))
    rows = tastes(few)["tastes"]
    assert [(row["population"], row["name"]) for row in rows] == [
        ("plural", "one vector"), ("plural", "two tastes"),
        ("drift", "all items alike"), ("drift", "half as much every 90 days"),
    ]  # fmt: skip
    names = ["tastes_plural_one_vector", "tastes_plural_two_tastes", "drift_alike", "drift_faded"]
    for row, name in zip(rows, names, strict=True):
        figure = few.sheet.figures[name]
        assert (row["value"], row["low"], row["high"], row["n"]) == (figure.value, figure.low, figure.high, 9)
    assert list(few.sheet.figures) == names
    assert sorted(KINDS) == ["independent", "plural"]


def test_without_built_pairs_nobody_is_asked(tmp_path):
    """`persona-rm eval` before `build`."""
    with pytest.raises(DataError, match="build one"):
        asking(study_of(run_of(tmp_path, **FEW)))
