"""Somebody asked by a recipe, and a bundle that carries what was learned of evidence."""

import pytest
from rich.console import Console

from persona_rm.bundle import load_bundle
from persona_rm.errors import RecipeError
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import run_infer
from persona_rm.pipeline.stages.ppo import bundle_of, users_of
from persona_rm.pipeline.stages.question_desk import interview_of
from persona_rm.profiles import open_store
from persona_rm.recipe import InferConfig, PpoConfig, Recipe

SOURCE = {"name": "simulator", "users": 30, "test_users": 8, "posts": 60, "overclaim": [0.02, 0.2]}
INFER = InferConfig(population=30, items=6)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    recipe = Recipe(name="small", source=SOURCE, out=str(tmp_path / "run"), infer=INFER)
    return RunFolder(recipe, recipe.folder, Console(quiet=True))


def test_a_bundle_carries_the_fitted_inferrer(run):
    config = PpoConfig(reward="pba_linear", users=4, prompts=4, annotator={"name": "simulator"})
    users, _ = users_of(run, config)
    bundle = load_bundle(bundle_of(run, config, run.folder / "ppo", users))
    assert bundle.file.inferrer_dir == str(run.folder / "ppo" / "bundle" / "inferrer")
    assert "inferrer_dir: inferrer\n" in (run.folder / "ppo" / "bundle" / "bundle.yaml").read_text()
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


def test_two_interviews_of_one_user_at_the_same_time_keep_the_answers_of_both(run):
    run_infer(run, INFER)
    first, second = interview_of(run, "ann"), interview_of(run, "ann")
    given = []
    for desk in (first, second, first):
        question, _ = desk.interview.question()
        while question.id in given:
            desk.interview.skip(question)
            question, _ = desk.interview.question()
        desk.interview.answer(question, 2)
        desk.save()
        given.append(question.id)
    last = interview_of(run, "ann")
    assert (last.version, set(last.interview.tally.answers)) == (3, set(given))
    assert first.interview.tally == last.interview.tally
