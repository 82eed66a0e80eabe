"""The evaluation of inferred directions: each part on a tiny world, and the recipe made tiny, end to end."""

import io
import json
from functools import partial
from importlib import import_module
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from source import ROOT

from persona_rm.backends.base import Backends
from persona_rm.benchmarks.metrics import Figure
from persona_rm.benchmarks.run import read_figures, write_figures
from persona_rm.errors import DataError, RecipeError
from persona_rm.files import write_examples
from persona_rm.inferrers.ask import Asker, Question
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.calibration import expected_calibration_error
from persona_rm.methods import METHODS
from persona_rm.pipeline.inference import FOLDER, accuracy, merge_figures, run_inference, study
from persona_rm.pipeline.inference.alignment import alignment
from persona_rm.pipeline.inference.asking import _needed, asking, priors
from persona_rm.pipeline.inference.sessions import _grade, ask_people, observed, orders, orders_of, start
from persona_rm.pipeline.inference.tastes import KINDS, tastes
from persona_rm.pipeline.job import run_recipe
from persona_rm.pipeline.stages import Run
from persona_rm.recipe import InferenceConfig, Recipe, load_recipe
from persona_rm.types import Example, Persona
from persona_rm.world.world import World, WorldConfig

# modules of the same name as the function in them
ALIGNMENT, TASTES = (import_module(f"persona_rm.pipeline.inference.{name}") for name in ("alignment", "tastes"))
SOURCE = {"name": "toy", "people": 40, "test_people": 14, "posts": 60, "overclaim": [0.02, 0.3]}
POSTERIOR = {"name": "posterior", "classes": [1, 2]}
SMALL = {
    "items": 4, "history": (0, 4), "per_person": 2, "choices": 3, "askers": 8, "questions": 4, "bank": 60,
    "resamples": 60, "asked": ("low_rank", "independent"),
}  # fmt: skip

FEW = {"infer": {"inferrer": POSTERIOR, "people": 10, "items": 4}, "inference": {**SMALL, "askers": 3}}


def run_of(folder, **recipe):
    plan = Recipe(**{
        "name": "a", "source": SOURCE, "out": str(folder / "run"), "inference": SMALL,
        "infer": {"inferrer": POSTERIOR, "people": 40, "items": 8}, "build": {}, **recipe,
    })  # fmt: skip
    return Run(plan, plan.folder, Console(file=io.StringIO(), width=200))


def study_of(run):
    return study.Study(run, run.recipe.inference, run.recipe.infer.inferrer)


def build(run, space):
    """Annotated pairs of the training side, as construction would leave them."""
    world = World(WorldConfig(**{key: value for key, value in SOURCE.items() if key != "name"}), space)
    examples, people = [], world.people("train")
    for i, post in enumerate(world.posts("train")[:40]):
        one, two = (world.reply(people[(i + k) % len(people)], post, "train") for k in (0, 1))
        between = tuple((a > b) - (a < b) for a, b in zip(one.levels, two.levels, strict=True))
        examples.append(Example(f"e{i}", post.text, one.text, two.text, between, Persona(people[i].id), group=post.id))
    data = run.recipe.build_folder / "data"
    data.mkdir(parents=True)
    write_examples(data / "train-00000.parquet", examples, space)


@pytest.fixture(scope="module")
def small(tmp_path_factory, space):
    """A study of which nothing was asked yet."""
    run = run_of(tmp_path_factory.mktemp("study"))
    build(run, space)
    return study_of(run)


class Told(Inferrer):
    """Says what it was told to, and counts how often it is asked and with which prompts."""

    name = "told"

    def __init__(self, space, directions, by_prompt=False):
        super().__init__(self.Config(), space)
        self.directions, self.by_prompt, self.asked = directions, by_prompt, []

    def read(self, items, persona, prompt):
        self.asked.append((persona.user_id, len(items), prompt, persona.directions))
        return Posterior(tuple((0.1, 0.8, 0.1) for _ in self.space.ids), self.directions, {}, len(items))


def test_what_is_told_is_asked_for_once_by_number_of_items(small):
    silent = Told(small.space, small.space.neutral)
    first, prompts = small.told(silent, 4), [case.example.prompt for case in small.cases]
    assert small.told(silent, 4) is first
    assert [asked[:3] for asked in silent.asked] == [(unit, 4, "") for unit in small.units]
    assert {asked[3] for asked in silent.asked} == {None}, "nobody sees golden directions"
    assert {one.n_items for one in small.told(silent, 2)} == {2}
    assert len(silent.asked) == 2 * len(prompts)
    by_prompt = Told(small.space, small.space.neutral, by_prompt=True)
    by_prompt.name = "told by prompt"
    small.told(by_prompt, 4)
    assert [asked[2] for asked in by_prompt.asked] == prompts


def test_the_cases_are_held_out_people_and_posts(small):
    train = {post.text for post in small.world.posts("train")}
    assert len(small.cases) == 28
    for case in small.cases:
        assert case.unit.startswith("test")
        assert not train & {case.example.prompt, *(item.prompt for item in case.example.persona.items)}
        assert case.example.persona.n_items == study.OBSERVED


def test_differences_are_those_of_the_texts(small):
    signs = np.sign(small.differences)
    np.testing.assert_array_equal(signs, [case.example.directions for case in small.cases])
    assert np.abs(small.differences).max() == 2


def test_controls_of_ordering_pairs(small):
    """Silence is at chance, golden directions order as the true utilities do, and their opposite the other way."""
    golden, size = small.ordered(small.golden), (len(small.cases), len(small.space))
    assert set(small.ordered(np.zeros(size, int))) == {0.5}
    np.testing.assert_array_equal(small.ordered(-small.golden), 1 - golden)
    liked = np.array([case.utilities for case in small.cases])
    np.testing.assert_array_equal(golden, (np.sign(liked[:, 0] - liked[:, 1]) + 1) / 2)


def test_the_table_is_what_was_counted(small):
    found = accuracy.table(small)
    said = np.array([one.directions for one in small.told(small.posterior, SMALL["items"])])
    up, golden_up = said == 1, small.golden == 1
    figures = small.sheet.figures
    assert figures["posterior_positive_precision"].value == pytest.approx((up & golden_up).sum() / up.sum())
    assert figures["posterior_positive_recall"].value == pytest.approx((up & golden_up).sum() / golden_up.sum())
    assert len(found["table"]) == 6
    for row in found["table"]:
        for kind in ("precision", "recall"):
            figure = figures[f"{row['inferrer']}_{row['class']}_{kind}"]
            assert row[kind] == [figure.value, figure.low, figure.high]
    about = found["about"]
    assert (about["people"], about["items"], about["world"]) == (14, 4, "independent")
    assert about["fit"]["people"] + about["fit"]["calibrated_on"] == 40


def test_who_is_never_named_positive_has_no_precision(small, monkeypatch):
    monkeypatch.setitem(small.__dict__, "vote", Told(small.space, small.space.neutral))
    monkeypatch.setattr(small, "_told", {})
    rows = {(row["inferrer"], row["class"]): row for row in accuracy.table(small)["table"]}
    assert rows["told", "positive"]["precision"] is None
    assert rows["told", "positive"]["recall"][0] == 0
    assert rows["told", "neutral"]["recall"][0] == 1
    found = accuracy.dimensions(small)["dimensions"]
    assert {(row["precision"], row["recall"]) for row in found if row["inferrer"] == "told"} == {(None, 0.0)}


def test_calibration_is_measured_before_and_after_and_left_as_it_was(small):
    fitted = small.posterior.calibration
    rows = {row["inferrer"]: row for row in accuracy.calibration(small)["calibration"]}
    assert list(rows) == ["vote", "posterior, before", "posterior, after"]
    assert small.posterior.calibration is fitted
    p = np.array([one.probabilities for one in small.told(small.posterior, SMALL["items"])])
    assert rows["posterior, after"]["ece"] == pytest.approx(expected_calibration_error(p, small.golden))
    assert fitted.temperature != 1
    assert rows["posterior, before"]["ece"] != rows["posterior, after"]["ece"]
    for row, name in zip(rows.values(), ("vote_ece", "posterior_ece_before", "posterior_ece"), strict=True):
        figure = small.sheet.figures[name]
        assert figure.value == row["ece"]
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert figure.low < figure.high
        assert sum(n for _, _, n in row["bins"]) == 3 * small.golden.size


def test_dimensions_are_those_that_somebody_holds(small):
    rows = accuracy.dimensions(small)["dimensions"]
    held = {small.space.dimensions[dim].name for dim in np.flatnonzero((small.golden != 0).any(0))}
    for name in ("vote", "posterior"):
        assert {row["dimension"] for row in rows if row["inferrer"] == name} == held
    assert all(0 < row["held"] <= 1 and 0 <= row["recall"] <= 1 and row["error_rate"] >= 0.02 for row in rows)
    assert all(row["precision"] is None or 0 <= row["precision"] <= 1 for row in rows)


def test_error_rates_are_compared_where_the_world_is_silent(small):
    rows = accuracy.error_rates(small)["errors"]
    assert len(rows) == len(small.space) - len(small.world.language.active)
    true, estimated = (np.array([row[key] for row in rows]) for key in ("true", "estimated"))
    assert true.min() >= 0.02 - 1e-9
    assert np.corrcoef(true, estimated)[0, 1] > 0.8


def test_more_items_order_more_pairs_and_golden_directions_most(small):
    rows = {(row["inferrer"], row["n"]): row["accuracy"] for row in accuracy.by_items(small)["by_items"]}
    assert set(rows) == {(name, n) for name in ("vote", "posterior") for n in SMALL["history"]}
    assert rows["vote", 0] == [0.5, 0.5, 0.5]
    assert rows["posterior", 4][0] > rows["posterior", 0][0]
    assert small.sheet.figures["linear_golden"].value >= rows["posterior", 4][0]
    assert small.sheet.figures["linear_posterior_h4"].n == len(small.cases)


def test_another_world_has_the_same_noise_and_its_own_first_people(small):
    here = small.elsewhere("clusters")
    assert small.elsewhere("clusters") is here
    assert here.world.config == small.world.config.model_copy(update={"kind": "clusters"})
    assert [person.id for person in here.people] == [person.id for person in here.world.people("test")[:8]]
    assert here.units == [choice.person.id for choice in here.choices]
    assert {unit: here.units.count(unit) for unit in here.units} == {person.id: 3 for person in here.people}
    assert small.fit("clusters", classes=[1]) is small.fit("clusters", classes=[1])
    assert small.fit("clusters", classes=[1]) is not small.fit("clusters", classes=[2])


def test_one_class_is_held_against_many_in_every_world(small):
    rows = priors(small)["prior"]
    assert [(row["world"], row["name"]) for row in rows] == [
        (kind, name) for kind in SMALL["asked"] for name in ("one class", "latent classes")
    ]
    for row in rows:
        figure = small.sheet.figures[f"prior_{row['world']}_{row['name'].replace(' ', '_')}"]
        assert (row["value"], row["n"]) == (figure.value, 24)
    assert len(small.fit_posterior("low_rank", classes=[1]).model.shares) == 1


def test_people_are_asked_in_every_world_both_ways(small):
    """Too few questions for what 16 items tell: no figure, and a word why."""
    found, figures = asking(small), small.sheet.figures
    rows = {(row["world"], row["how"], row["questions"]): row["accuracy"] for row in found["asking"]}
    ways = ("expected information", "random")
    assert set(rows) == {(kind, how, n) for kind in SMALL["asked"] for how in ways for n in range(5)}
    for kind in SMALL["asked"]:
        assert rows[kind, ways[0], 0] == rows[kind, ways[1], 0], "nobody was asked yet"
        assert figures[f"observed_{study.OBSERVED}_{kind}"].value > rows[kind, "random", 4][0]
    assert [(row["world"], row["items"]) for row in found["observed"]] == [(kind, 16) for kind in SMALL["asked"]]
    assert "questions_to_match_16_random" not in figures
    said = " ".join(small.run.console.file.getvalue().split())
    assert "low_rank, random: 0." in said
    assert "short after 4 questions; observed items give 0." in said


@pytest.mark.parametrize(
    ("how", "kind", "name"),
    [("expected information", "low_rank", ""), ("random", "low_rank", "_random"), ("random", "drift", "_random_drift")],
)
def test_questions_are_counted_until_nothing_is_lost(how, kind, name):
    """Matched where the interval of the loss is below the margin, reached where the loss itself is gone."""
    kept = {}
    desk = SimpleNamespace(
        config=InferenceConfig(), run=SimpleNamespace(console=Console(file=io.StringIO())),
        sheet=SimpleNamespace(add=lambda some: kept.update({one.name: one for one in some})),
    )  # fmt: skip
    goal = Figure("goal", 0.9, 0.8, 1.0, 24)
    lost = [Figure("", *row, 24) for row in ((0.2, 0.1, 0.3), (0.002, -0.004, 0.009), (-0.01, -0.1, 0.1))]
    _needed(desk, kind, how, lost, goal)
    assert {key: (one.value, one.n) for key, one in kept.items()} == {
        f"questions_to_match_16{name}": (1, 24), f"questions_to_reach_16{name}": (2, 24),
    }  # fmt: skip
    kept.clear()
    _needed(desk, kind, how, lost[:1], goal)
    assert not kept
    assert "0.200 short after 0 questions" in desk.run.console.file.getvalue()


def test_answers_teach_and_are_the_same_every_time(small, space):
    here, inferrer = small.elsewhere("independent"), small.fit_posterior("independent")
    texts = [world_reply(here, i) for i in range(12)]
    examples = [
        Example(str(i), "p", *pair, (1, *[0] * (len(space) - 1)), Persona("u"))
        for i, pair in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    ask = partial(ask_people, here.world, here.people, inferrer, examples, 12, 100)
    chosen, random = ask()
    assert (chosen.how, random.how) == ("expected information", "random")
    assert chosen.directions.shape == random.directions.shape == (13, 8, len(space))
    np.testing.assert_array_equal(ask()[0].directions, chosen.directions)
    truth = np.array([person.directions for person in here.people])
    right = [((each == truth) & (truth != 0)).sum() for each in (chosen.directions[0], chosen.directions[-1])]
    assert right[1] > right[0]
    prior = inferrer.decide(inferrer.calibration(start(inferrer).marginals))
    assert (chosen.directions[0] == prior).all()


def world_reply(here, i):
    return here.world.reply(here.people[i % 8], here.world.posts("train")[i], "train").text


def test_people_answer_as_they_like_the_texts(small):
    world, person = small.world, small.world.people("test")[0]
    liked, shape = person.held[0], [0] * len(small.space)
    shape[liked] = 2 * person.directions[liked]
    portrait = Question("q", "p", "one", "two", tuple(shape), portrait=True)
    disliked = Question("r", "p", "one", "two", tuple(-x for x in shape), portrait=True)
    said = {sign: world.language.write({liked: sign * person.directions[liked]}, "any", rng(0)) for sign in (1, -1)}
    texts = Question("t", "p", said[1], said[-1], tuple(shape))
    asker = Asker([portrait, disliked, texts])
    grades = {one.id: [_grade(world, person, one, asker, rng(i)) for i in range(200)] for one in asker.questions}
    assert set(grades["q"]) <= {-2, -1, 0, 1, 2}
    assert np.mean(grades["q"]) > 0.8
    assert np.mean(grades["r"]) < -0.8
    assert grades["t"] == grades["q"], "texts of these levels are worth the same"


def rng(seed):
    return Random(str(seed))


def test_orders_of_choices_by_hand(small):
    here = small.elsewhere("independent")
    golden = np.array([person.directions for person in here.people])
    found = orders(golden, here.choices, here.people)
    assert found.tolist() == [float(choice.utilities[0] > choice.utilities[1]) for choice in here.choices]
    np.testing.assert_array_equal(orders(-golden, here.choices, here.people), 1 - found)
    by_choice = np.array([choice.person.directions for choice in here.choices])
    np.testing.assert_array_equal(orders_of(by_choice, here.choices), found)
    assert set(orders(0 * golden, here.choices, here.people)) == {0.5}
    assert observed(here.world, here.people, small.posterior, 4).shape == golden.shape


class Meanings:
    """An encoder that knows the topic of a text by its words' hashes: enough to run, nothing to learn."""

    def encode(self, texts):
        rows = [np.random.default_rng(abs(hash(text[:12])) % 2**32).normal(size=8) for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(texts), 8)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Truth:
    """An annotator that reads the world's language without error."""

    def __init__(self, language):
        self.language = language

    def levels(self, prompts, texts):
        return [self.language.read_levels(text) for text in texts]


@pytest.fixture
def toys(small, monkeypatch):
    """In the place of the text encoder and the trained policy: toys that load nothing."""
    backends = Backends(encoder=Meanings(), reader=Truth(small.world.language))
    for module in (study, ALIGNMENT):
        monkeypatch.setattr(module, "backends_of", lambda recipe: backends)
    linear = METHODS.load("pba_linear")
    monkeypatch.setattr(ALIGNMENT, "method_of", lambda *_: linear(linear.Config(), small.space, backends))


def test_tastes_and_drift_have_a_row_each(tmp_path, toys, monkeypatch):
    monkeypatch.setattr(TASTES, "ITEMS", 8)
    few = study_of(run_of(tmp_path, **FEW))
    rows = tastes(few)["tastes"]
    assert [(row["world"], row["name"]) for row in rows] == [
        ("plural", "one vector"), ("plural", "two tastes"), ("independent", "one vector"),
        ("independent", "two tastes"), ("drift", "all items alike"), ("drift", "half as much every 90 days"),
    ]  # fmt: skip
    names = {f"tastes_{kind}_{how}" for kind in KINDS for how in ("one_vector", "two_tastes")}
    assert names | {"drift_alike", "drift_faded"} == set(few.sheet.figures)
    assert all(0.5 < row["value"] <= 1 and row["low"] <= row["value"] <= row["high"] for row in rows)


def test_alignment_with_a_policy_that_is_the_truth(small, toys, tmp_path):
    """A linear policy orders pairs as directions x levels do, so every figure can be had by hand."""
    small.run.recipe.dpo["pba"] = SimpleNamespace(method={"name": "pba"})
    found, figures = alignment(small, tmp_path), small.sheet.figures
    right = {
        "golden": small.ordered(small.golden).mean(), "no_persona": 0.5,
        **{
            inferrer.name: small.ordered([one.directions for one in small.told(inferrer, 4)]).mean()
            for inferrer in (small.vote, small.posterior)
        },
    }  # fmt: skip
    for name in ("golden", "vote", "posterior"):
        assert figures[f"pba_{name}"].value == pytest.approx(right[name])
    assert figures["control_no_persona"].value == 0.5
    assert figures["control_posterior_shuffled"].value < figures["pba_posterior"].value
    assert figures["gap_posterior_minus_vote"].value == pytest.approx(right["posterior"] - right["vote"])
    assert figures["gap_golden_minus_posterior"].value == pytest.approx(right["golden"] - right["posterior"])
    closed = (right["posterior"] - right["vote"]) / (right["golden"] - right["vote"])
    assert figures["golden_gap_closed"].value == pytest.approx(closed)
    assert found["gap"]["closed"][0] == pytest.approx(closed)
    assert {row["kind"] for row in found["alignment"]} == {"best", "main", "control"}
    assert figures["bayes_optimal"].value == pytest.approx(right["golden"])
    assert [row["name"].split(":")[0] for row in found["memory"]] == ["semantic", "episodic", "episodic"]


def test_without_a_policy_or_with_another_inferrer_nothing_runs(tmp_path):
    run = run_of(tmp_path)
    with pytest.raises(RecipeError, match=r"no trained policy in .*dpo/pba/model: run the recipe that trains dpo\.pba"):
        run_inference(run, run.recipe.inference, {})
    other = run_of(tmp_path / "other", infer={"inferrer": "vote", "people": 12})
    with pytest.raises(RecipeError, match=r"inference holds `posterior` against `vote`; infer\.inferrer is 'vote'"):
        _ = study_of(other).posterior


def test_without_built_pairs_nobody_is_asked(tmp_path):
    """`persona-rm eval` before `build`."""
    with pytest.raises(DataError, match="build one"):
        asking(study_of(run_of(tmp_path, **FEW)))


def test_figures_are_added_to_those_of_the_evaluation(tmp_path):
    figures = [Figure(name, value, 0, 1, 9) for name, value in (("a", 0.1), ("b", 0.2), ("b", 0.3), ("c", 0.4))]
    write_figures(tmp_path / "eval" / "metrics.json", figures[:2])
    write_figures(tmp_path / FOLDER / "metrics.json", figures[2:])
    merge_figures(tmp_path)
    assert read_figures(tmp_path / "metrics.json") == [figures[0], figures[2], figures[3]]


PROMISED = (
    "vote_positive_precision", "vote_positive_recall", "posterior_positive_precision", "posterior_positive_recall",
    "posterior_negative_precision", "posterior_negative_recall", "posterior_ece", "golden_gap_closed",
)  # fmt: skip


TINY = {
    "source.people": 60, "source.test_people": 16, "source.posts": 80, "dpo.pba.rows": 224,
    "infer.people": 24, "infer.items": 6, "infer.inferrer": '{"name": "posterior", "classes": [1, 2]}',
    "inference.items": 4, "inference.history": "[0, 4]", "inference.choices": 2, "inference.asked": "[low_rank]",
    "inference.askers": 4, "inference.questions": 3, "inference.bank": 40, "inference.resamples": 60,
}  # fmt: skip


@pytest.mark.slow
def test_the_recipe_made_tiny_runs_to_its_report(tmp_path):
    """Real construction and real DPO: the policy, told golden directions, orders what it could not without."""
    overrides = [f"{key}={value}" for key, value in {"out": tmp_path / "run", **TINY}.items()]
    recipe = load_recipe(ROOT / "recipes" / "inference.yaml", overrides)
    run = run_recipe(recipe, Console(file=io.StringIO(), width=200))
    figures = {figure.name: figure for figure in read_figures(run / "metrics.json")}
    assert set(PROMISED) <= set(figures)
    assert figures["pba_golden"].value > figures["control_no_persona"].value + 0.1
    found = json.loads((run / "inference" / "inference.json").read_text())
    parts = ("table", "calibration", "dimensions", "errors", "by_items", "prior", "asking", "observed", "tastes")
    assert {*parts, "about", "alignment", "gap", "memory"} == set(found)
    report = (run / "report.html").read_text()
    assert "Questions instead of history" in report
    stages = [(stage["name"], stage["status"]) for stage in json.loads((run / "stages.json").read_text())]
    assert stages == [(name, "done") for name in ("build", "infer", "dpo/pba", "inference")]
