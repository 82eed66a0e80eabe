"""The evaluation on real text, on tiny files in the published formats whose texts the toy annotator can read."""

import gzip
import io
import json
from itertools import combinations
from random import Random

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from persona_rm.backends.base import Backends
from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.evaluation import evaluate, read_figures
from persona_rm.cli.app import app
from persona_rm.errors import DataError, RecipeError
from persona_rm.methods import METHODS
from persona_rm.pipeline.job import run_recipe
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.studies.real import run_real
from persona_rm.pipeline.studies.real_psoups import swapped
from persona_rm.pipeline.studies.real_study import CachedReader, Material, donors, halves
from persona_rm.recipe import Recipe, load_recipe
from persona_rm.report.inference_data import parse
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Example, Persona
from tests.source import ROOT

DEBATES, ARGUMENTS, WORKERS, RESAMPLES = 6, 4, 20, 50
SMALL = {"history": 8, "per_user": 3, "resamples": RESAMPLES}
PERSONAS = {
    "friendly": "Generate a response that is friendly, witty, funny, and humorous, like a close friend.",
    "unfriendly": "Generate a response in an unfriendly manner.",
}


def say(language, dim, sign, seed):
    return language.write({dim: sign}, "any", Random(seed))


def save(path, rows):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def write_ukp(folder, language):
    """Workers of two kinds: the first wants the first active dimension high in what it reads, the second low."""
    dim, topics = language.active[0], [f"d{i}_yes" for i in range(DEBATES)]
    signs = {(t, i): 1 if i % 2 else -1 for t in topics for i in range(ARGUMENTS)}
    arguments = [
        {"argument_id": f"{t}/{i}", "topic": t, "debate": t, "stance": "yes",
         "text": f"{say(language, dim, sign, f'{t}{i}')} {t} {i}"}
        for (t, i), sign in signs.items()
    ]  # fmt: skip
    judgments = [
        {"user_id": f"w{w:02}", "argument_a": f"{t}/{a}", "argument_b": f"{t}/{b}",
         "preferred": "a" if signs[t, a] == (1 if w % 2 else -1) else "b"}
        for w in range(WORKERS) for t in topics for a, b in combinations(range(ARGUMENTS), 2)
        if signs[t, a] != signs[t, b]
    ]  # fmt: skip
    given = {"arguments": save(folder / "a.jsonl.gz", arguments), "judgments": save(folder / "j.jsonl.gz", judgments)}
    return {**given, "least": 12}


def write_cobbler(folder):
    """Nothing that the annotator could read: every inferrer is silent."""
    ranks = {user: dict(zip("abc", order, strict=True)) for user, order in (("u", (0, 1, 2)), ("v", (2, 1, 0)))}
    rows = [
        {"prompt": f"q{i}", "responses": {m: f"plain {m} {i}" for m in "abc"}, "rank_by_user": ranks}
        for i in range(16)
    ]
    return save(folder / "c.jsonl.gz", rows)


def write_psoups(folder, language, space):
    """The friendly want the first active dimension high, the unfriendly low; that is what is published of them."""
    path = folder / "p.json.gz"
    rows = [psoups_row(language, space, i, label) for i in range(12) for label in PERSONAS]
    with gzip.open(path, "wt") as file:
        json.dump(rows, file)
    return str(path)


def psoups_row(language, space, i, label):
    dim, sign = language.active[0], 1 if label == "friendly" else -1
    sides = [[say(language, dim, side, f"{i}{k}{side}") for side in (sign, -sign)] for k in range(5)]
    return {
        "prompt": f"p{i}", "chosen": sides[4][0], "rejected": sides[4][1], "ground_truth_persona": PERSONAS[label],
        "profile": space.describe([sign * (d == dim) for d in range(len(space))]),
        "Pair-wise Comparative Feedback": [
            {"prompt": f"h{k}", "chosen": texts[0], "rejected": texts[1]} for k, texts in enumerate(sides[:4])
        ],
    }  # fmt: skip


def write_statements(folder, language, space):
    """Sports are said openly and labelled wrongly in one of four; nothing of art can be read."""
    dim, rows = space.index("likes_sports"), []
    for i in range(80):
        matches = i % 2 == 0
        text = f"{say(language, dim, 1 if matches == (i % 8 > 1) else -1, str(i))} {i}"
        rows.append({"trait": "interest-in-sports", "statement": text, "matches": matches})
        rows.append({"trait": "interest-in-art", "statement": f"a canvas {i}", "matches": matches})
    return save(folder / "s.jsonl.gz", rows)


def recipe(folder, **real):
    return Recipe(
        name="r", annotator={"name": "simulator"}, out=str(folder / "run"), report=False, real={**SMALL, **real}
    )


def quiet():
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def done(tmp_path_factory, space):
    """(run folder, figures by name, what was said) of all four parts."""
    folder, language = tmp_path_factory.mktemp("real"), load_language(space)
    parts = {
        "ukp": write_ukp(folder, language), "cobbler": write_cobbler(folder),
        "psoups": write_psoups(folder, language, space), "statements": write_statements(folder, language, space),
    }  # fmt: skip
    console = quiet()
    run = run_recipe(recipe(folder, **parts), console, only=("eval",))
    return run, {figure.name: figure for figure in read_figures(run / "metrics.json")}, console.file.getvalue()


def test_the_report_can_read_what_was_found(done):
    run, figures, _ = done
    found = json.loads((run / "inference" / "inference.json").read_text())
    parsed = parse(found)
    assert {row.what for row in parsed.real} == {"UKP", "CoBBLEr", "P-SOUPS"}
    assert {row.kind for row in parsed.real} == {"main", "control"}
    assert len({(row.what, row.name) for row in parsed.real}) == len(parsed.real)
    assert len(figures) == len(parsed.real) + len(parsed.real_rates)


def test_people_of_two_kinds_are_told_apart_from_others(done):
    _, figures, _ = done
    for name in ("vote", "vote_soft", "posterior", "posterior_soft"):
        own, shuffled = figures[f"real_ukp_{name}"], figures[f"real_ukp_{name}_shuffled"]
        gap = figures[f"gap_real_ukp_{name}_minus_shuffled"]
        assert own.value == 1
        assert 0.25 < shuffled.value < 0.75
        assert gap.value == pytest.approx(own.value - shuffled.value)
        assert gap.low > 0
        assert figures[f"real_ukp_{name}_ties"].value == 0
    assert figures["real_ukp_vote_spoken"].value == 1
    assert "real_ukp_vote_soft_spoken" not in figures
    assert figures["real_ukp_vote"].n == 3 * WORKERS


def test_what_nobody_can_read_ties_and_has_no_accuracy_of_its_own(done):
    _, figures, _ = done
    assert figures["real_cobbler_posterior_soft"].value == 0.5
    assert figures["real_cobbler_posterior_soft_ties"].value == 1
    assert figures["real_cobbler_vote_spoken"].value == 0
    assert "real_cobbler_vote_decided" not in figures
    assert figures["real_cobbler_majority"].value == 0


def test_few_people_get_generic_error_rates_and_the_label_says_so(done):
    found = json.loads((done[0] / "inference" / "inference.json").read_text())["real"]
    labels = {what: {row["name"] for row in found if row["what"] == what} for what in ("UKP", "CoBBLEr")}
    assert "posterior, fitted on the other half" in labels["UKP"]
    assert "posterior, generic error rates" in labels["CoBBLEr"]
    assert "posterior, fitted on the other half" not in labels["CoBBLEr"]


def test_psoups_agrees_with_what_was_published_and_turns_when_swapped(done):
    _, figures, _ = done
    for name in ("given", "vote", "posterior"):
        assert figures[f"real_psoups_{name}"].value == 1
        assert figures[f"real_psoups_{name}.unfriendly"].value == 1
        assert figures[f"real_psoups_{name}_swapped"].value == 0
        assert figures[f"gap_real_psoups_{name}_minus_swapped"].value == 1
        assert figures[f"real_psoups_{name}_flip"].value == 1
    for name in ("vote", "posterior"):
        for kind in ("positive_precision", "negative_recall", "agreed", "rows_agreed"):
            assert figures[f"real_psoups_{name}_{kind}"].value == 1
        assert figures[f"real_psoups_{name}_agreed_swapped"].value == 0
    assert "real_psoups_given_agreed" not in figures


def test_the_annotators_rates_and_the_trait_it_never_sees(done):
    run, figures, said = done
    (rate,) = json.loads((run / "inference" / "inference.json").read_text())["real_rates"]
    assert (rate["trait"], rate["silent"]) == ("interest-in-sports", 0)
    assert 0.5 < rate["accuracy"] < 0.95
    assert rate["ece"] == pytest.approx(1 - rate["accuracy"])
    figure = figures["real_rate_interest-in-sports_accuracy"]
    assert (figure.value, figure.n) == (pytest.approx(rate["accuracy"]), rate["n"])
    assert "interest-in-art has no rate, 0 of" in said.replace("\n", " ")


def test_rewards_are_those_of_pba_linear(space):
    rng = np.random.default_rng(0)
    texts = {f"t{i}": tuple(rng.integers(1, 4, len(space)).tolist()) for i in range(20)}

    class Reader:
        def levels(self, prompts, asked):
            return [texts[text] for text in asked]

    cases = [
        Case(Example(str(i), "p", f"t{i}", f"t{i + 10}", (), Persona(f"u{i}", directions=told)))
        for i in range(10) if (told := tuple(rng.integers(-1, 2, len(space)).tolist()))
    ]  # fmt: skip
    chosen, rejected = (np.array([texts[f"t{i + k}"] for i in range(10)], float) - 2 for k in (0, 10))
    found = Material("", "", cases, chosen, rejected).rewards(np.array([c.example.persona.directions for c in cases]))
    cls = METHODS.load("pba_linear")
    assert evaluate(cls(cls.Config(), space, Backends(reader=Reader())), cases).values.tolist() == found.tolist()


def test_every_text_is_read_once():
    class Counting:
        def __init__(self):
            self.asked = []

        def levels(self, prompts, texts):
            self.asked += zip(prompts, texts, strict=True)
            return [(len(text),) for text in texts]

    once = CachedReader(Counting())
    assert once.levels(["p", "p", "q"], ["a", "a", "a"]) == [(1,)] * 3
    assert once.levels(["p", "p"], ["bb", "a"]) == [(2,), (1,)]
    assert once.reader.asked == [("p", "a"), ("q", "a"), ("p", "bb")]


@pytest.mark.parametrize(("n", "k", "times"), [(23, 5, 5), (6, 5, 5), (4, 5, 3)])
def test_donors_are_others_of_the_same_fold_and_never_the_same_twice(n, k, times):
    folds = halves(n, 10, seed=1)
    assert len(folds) == (2 if n == 23 else 1)
    found = donors(folds, k, seed=1)
    assert len(found) == times
    for i in range(n):
        fold = next(fold for fold in folds if i in fold)
        given = [int(one[i]) for one in found]
        assert len({*given, i}) == times + 1
        assert {*given} <= {*fold.tolist()}
    assert all(sorted(one.tolist()) == list(range(n)) for one in found)


def test_histories_are_swapped_between_two_personas_only():
    def labelled(labels):
        return [Case(Example(str(i), "p", "a", "b", (), Persona("u")), label) for i, label in enumerate(labels)]

    one, two = swapped(labelled("xyxyy"), 2)
    assert (one != two).any()
    for donor in (one, two):
        assert all("xyxyy"[i] != "xyxyy"[j] for i, j in enumerate(donor))
    with pytest.raises(DataError, match="this file has 3"):
        swapped(labelled("xyz"), 2)


@pytest.mark.parametrize(
    ("real", "said"),
    [
        ({}, "real names no data.*cobbler, ukp"),
        ({"cobbler": "gone.jsonl"}, r"real\.cobbler: there is no file gone\.jsonl"),
        (
            {"ukp": {"arguments": "here", "judgments": "gone"}},
            r"real\.ukp\.judgments: there is no file gone; .*real\.ukp=null",
        ),
    ],
)
def test_a_missing_file_is_named_by_key_and_path_before_anything_runs(tmp_path, monkeypatch, real, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("")
    plan = recipe(tmp_path, **real)
    with pytest.raises(RecipeError, match=said):
        run_real(RunFolder(plan, tmp_path / "run", quiet()), plan.real)
    assert not (tmp_path / "run" / "inference").exists()


def test_real_text_needs_an_annotator_that_reads(tmp_path):
    (tmp_path / "c").write_text("")
    plan = Recipe(name="r", real={"cobbler": str(tmp_path / "c")})
    with pytest.raises(RecipeError, match="annotator=encoder"):
        run_real(RunFolder(plan, tmp_path / "run", quiet()), plan.real)


def test_inference_and_real_are_not_of_one_recipe():
    path = ROOT / "recipes" / "inference_real.yaml"
    with pytest.raises(RecipeError, match=r"inference_real\.yaml: `inference` and `real` write the same files"):
        load_recipe(path, ["inference={}"])
    with pytest.raises(RecipeError, match=r"there is no such key; there is:.*derangements"):
        load_recipe(path, ["real.derangement=1"])


@pytest.mark.slow
def test_the_recipe_on_the_real_files(tmp_path, shared_data):
    recipe_file, figures = ROOT / "recipes" / "inference_real.yaml", tmp_path / "f.json"
    given = {
        "out": tmp_path / "run", "real.statements": shared_data / "dimensions" / "trait_statements.jsonl.gz",
        "real.psoups": shared_data / "benchmarks" / "psoups_friendly_unfriendly.json.gz",
        "real.cobbler": shared_data / "comparisons" / "cobbler.jsonl.gz",
        "real.ukp.arguments": shared_data / "comparisons" / "ukp_arguments.jsonl.gz",
        "real.ukp.judgments": shared_data / "comparisons" / "ukp_judgments.jsonl.gz",
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items()]
    ran = CliRunner().invoke(app, ["eval", str(recipe_file), *overrides, "--json", str(figures)])
    assert ran.exit_code == 0, ran.output
    found = {figure.name: figure for figure in read_figures(figures)}
    assert found["real_rate_interest-in-sports_accuracy"].low > 0.95
    assert found["real_ukp_majority"].value == pytest.approx(0.75, abs=0.01)
    assert found["real_cobbler_majority"].value > found["real_cobbler_longer"].value > 0.5
    assert found["real_ukp_vote_ties"].value > 0.7
    for data in ("ukp", "cobbler"):
        for name in ("vote", "posterior", "posterior_soft"):
            assert found[f"real_{data}_{name}_shuffled"].value == pytest.approx(0.5, abs=0.05)
    assert found["real_psoups_longer"].value > 0.7
    assert found["gap_real_psoups_posterior_minus_swapped"].low > 0
