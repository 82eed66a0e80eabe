"""The infer stage: what it learns from, what it leaves, and that states say the same as directions."""

import json

import pytest
from rich.console import Console

from persona_rm.bundle import load_bundle
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.pipeline.infer import population, run_infer
from persona_rm.pipeline.inference.accuracy import by_items, calibration, dimensions, error_rates, table
from persona_rm.pipeline.inference.sessions import first
from persona_rm.pipeline.inference.study import Study
from persona_rm.pipeline.interview import interview_of
from persona_rm.pipeline.ppo import _bundle, people_of
from persona_rm.pipeline.stages import Run
from persona_rm.profiles import open_store
from persona_rm.recipe import InferConfig, InferenceConfig, PpoConfig, Recipe

SOURCE = {"name": "toy", "people": 30, "test_people": 8, "posts": 60, "overclaim": [0.02, 0.2]}
INFER = InferConfig(people=30, items=6)


@pytest.fixture
def run(tmp_path) -> Run:
    recipe = Recipe(name="small", source=SOURCE, out=str(tmp_path / "run"), infer=INFER)
    return Run(recipe, recipe.folder, Console(quiet=True))


def rows(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "infer" / "directions.jsonl").read_text().splitlines()]


def test_everybody_of_the_test_side_gets_directions_and_the_items_behind_them(run, space):
    run_infer(run, INFER)
    found = rows(run)
    assert [row["user_id"] for row in found] == [f"test-{i:04d}" for i in range(8)]
    inferrer = PosteriorInferrer.load(run.folder / "infer" / "model", space)
    with open_store(str(run.folder / "infer" / "profiles.arrow")) as store:
        states = store.get([row["user_id"] for row in found])
    for row in found:
        assert space.parse(row["profile"]) == tuple(row["directions"])
        assert all(sum(p) == pytest.approx(1, abs=1e-4) for p in row["probabilities"])
        tally = inferrer.resume(states[row["user_id"]])
        assert list(inferrer.of(tally).directions) == row["directions"]
        assert {id_ for ids in row["evidence"].values() for id_ in ids} <= set(tally.entries)
        assert set(row["evidence"]) <= {space.ids[d] for d, sign in enumerate(row["directions"]) if sign}


def test_it_learns_from_the_training_side_alone(run):
    people = population(run, 30, 6)
    assert {persona.user_id.split("-")[0] for persona in people} == {"train"}
    assert {persona.n_items for persona in people} == {6}


def test_a_users_file_and_an_updatable_store(run, tmp_path, space):
    users = tmp_path / "users.jsonl"
    item = {"prompt": "p", "comment": "c", "directions": [1, *[0] * (len(space) - 1)]}
    users.write_text(json.dumps({"user_id": "ann", "ugc": [item]}) + "\n")
    url = f"sqlite:{tmp_path / 'people.sqlite'}"
    for version in (1, 2):
        config = INFER.model_copy(update={"users": str(users), "store": url, "people": 30 - version})
        run_infer(run, config)
        assert [row["user_id"] for row in rows(run)] == ["ann"]
        with open_store(url) as store:
            assert store.get(["ann"])["ann"].version == version


def test_an_empty_users_file_is_refused(run, tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match=r"none\.jsonl: the file is empty"):
        run_infer(run, INFER.model_copy(update={"users": str(tmp_path / "none.jsonl")}))


def test_a_bundle_carries_the_fitted_inferrer(run):
    config = PpoConfig(reward="pba_linear", users=4, prompts=4, annotator={"name": "toy"})
    users, _ = people_of(run, config)
    bundle = load_bundle(_bundle(run, config, run.folder / "ppo", users))
    assert bundle.file.inferrer_dir == "inferrer"
    assert any(any(bundle.directions(user.persona.user_id)) for user in users)


def test_somebody_new_is_asked_without_a_corpus_and_erased_people_only_if_wanted(run):
    with pytest.raises(RecipeError, match="persona-rm infer"):
        interview_of(run, "ann")
    run_infer(run, INFER)
    desk = interview_of(run, "ann")
    question, nats = desk.interview.question()
    assert question.portrait
    assert nats > 0
    desk.interview.answer(question, 2)
    desk.save()
    again = interview_of(run, "ann")
    assert (again.version, list(again.interview.tally.answers)) == (1, [question.id])
    with open_store(desk.store) as store:
        store.erase(["ann"])
    with pytest.raises(RecipeError, match="--readmit"):
        interview_of(run, "ann")
    assert interview_of(run, "ann", readmit=True).interview.posterior.cold


def test_the_parts_of_the_evaluation_have_their_figures(run):
    config = InferenceConfig(history=(0, 2), per_person=2, resamples=50, items=4)
    study = Study(run, config, {"name": "posterior"})
    found = {}
    for part in (table, calibration, dimensions, error_rates, by_items):
        found |= part(study)
    figures = study.sheet.figures
    for name in ("vote", "posterior"):
        assert {f"{name}_positive_recall", f"{name}_negative_recall", f"{name}_neutral_precision"} <= set(figures)
    assert figures["posterior_ece"].low <= figures["posterior_ece"].value <= figures["posterior_ece"].high
    assert figures["posterior_ece"].value < figures["vote_ece"].value
    assert figures["linear_golden"].value > 0.9
    assert figures["linear_vote_h0"].value == 0.5
    assert {row["inferrer"] for row in found["calibration"]} == {"vote", "posterior, before", "posterior, after"}
    assert all(0 <= row["estimated"] <= 1 and 0.02 <= row["true"] <= 0.2 + 1e-9 for row in found["errors"])
    assert study.told(study.vote, 4) is study.told(study.vote, 4)


def test_the_first_that_fits():
    assert first([False, True, False]) == 1
    assert first([False]) is None
