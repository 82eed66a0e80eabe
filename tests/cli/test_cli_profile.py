"""profile: what a store holds about a user, in words and as JSON."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from persona_rm.bundle.load import write_bundle
from persona_rm.cli import app
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.profiles import open_store
from persona_rm.types import Pair, Persona, Ugc, UserState


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["profile", *map(str, args)])
    return result.exit_code, result.output + (result.stderr or "")


@pytest.fixture
def ann(space) -> Persona:
    """Six posts of a user who likes travel, and two choices against neuroticism."""
    travel, calm = [0] * len(space), [0] * len(space)
    travel[space.index("likes_travel")] = 1
    calm[space.index("neuroticism")] = -1
    posts = tuple(Ugc(f"question {i}", f"[b]we took the night train {i}", tuple(travel)) for i in range(6))
    choices = tuple(Pair(f"ask {i}", "take it easy", "panic now", tuple(calm)) for i in range(5))
    return Persona("ann", posts, choices)


@pytest.fixture
def inferrer(space) -> PosteriorInferrer:
    return PosteriorInferrer(PosteriorConfig(), space)


@pytest.fixture
def store(tmp_path, ann, inferrer):
    url = f"sqlite:{tmp_path / 'users.sqlite'}"
    with open_store(url, create=True) as held:
        held.put([inferrer.state("ann", inferrer.tally(ann), 3)])
    return url


def save(inferrer, folder):
    inferrer.save(folder)
    return folder


def test_directions_are_words_with_poles_probabilities_and_items(store, inferrer, tmp_path):
    code, said = run(store, "ann", "--model", save(inferrer, tmp_path / "anywhere"))
    assert code == 0, said
    assert said.startswith("User 'ann': 11 items of evidence; state version 3, written by 'posterior'.")
    assert "Likes travel: positive pole of likes_travel (travel), probability 0.9" in said
    assert "Low Neuroticism: negative pole of neuroticism (Degree of Neuroticism in the Big Five" in said
    assert said.count("  a text that the user wrote") == 5, "at most five items are named behind a direction"
    assert "The other 88 of 90 dimensions are neutral" in said
    assert "likes_travel" in said
    assert not any(line.lstrip().startswith("[0,") for line in said.splitlines())


def test_the_fitted_inferrer_of_a_run_is_found_beside_its_store(store, inferrer, tmp_path):
    assert "Probabilities need the fitted inferrer" in run(store, "ann")[1]
    save(inferrer, tmp_path / "infer" / "model")
    said = run(store, "ann")[1]
    assert "Probabilities need" not in said
    assert "probability 0.9" in said


def test_without_an_inferrer_votes_are_counted(store):
    code, said = run(store, "ann")
    assert code == 0
    assert "Likes travel: positive pole of likes_travel (travel), 6 votes for it and 0 against it" in said


def test_a_bundle_or_a_users_file_says_what_the_items_are(store, ann, inferrer, tmp_path):
    method = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}}
    bundle = write_bundle(tmp_path, [ann], **method)
    said = run(store, "ann", "--bundle", bundle)[1]
    assert 'wrote "[b]we took the night train 0" under "question 0"' in said
    assert 'preferred "take it easy" to "panic now" under "ask 1"' in said
    assert "probability 0.9" in said
    assert 'wrote "[b]we took' in run(store, "ann", "--users", bundle / "users.jsonl")[1]


def test_json_and_export_hold_everything_and_the_words(store, inferrer, tmp_path):
    folder, file = save(inferrer, tmp_path / "infer" / "model"), tmp_path / "ann.json"
    code, said = run(store, "ann", "--json")
    assert code == 0
    shown = json.loads(said)
    assert shown["state"]["payload"]["items"]
    best = shown["in_words"]["directions"][0]
    assert (best["dimension"], best["pole"], best["label"]) == ("likes_travel", "positive", "Likes travel")
    assert best["probability"] > 0.9
    assert len(best["evidence"][0]["id"]) == 16
    assert run(store, "ann", "--export", file)[0] == 0
    assert json.loads(file.read_text()) == shown
    assert folder.is_dir()


def test_a_user_is_erased_and_stays_erased(store):
    assert "The state of user 'ann' was erased." in run(store, "ann", "--erase")[1]
    code, said = run(store, "ann")
    assert code == 1
    assert "erased on" in said.replace("\n", " ")
    assert "There was no state of user 'ann'" in run(store, "ann", "--erase")[1]


def test_a_state_of_a_method_shows_its_directions(tmp_path, space):
    directions = [0] * len(space)
    directions[space.index("age")] = -1
    url = f"sqlite:{tmp_path / 'p.sqlite'}"
    with open_store(url, create=True) as held:
        held.put([UserState("pba", "bob", {"directions": directions}, 2), UserState("ica", "eve", {"ugc": []}, 2)])
    assert "Older: negative pole of age (Age group)" in run(url, "bob")[1]
    code, said = run(url, "eve")
    assert code == 0
    assert "A state of 'ica' holds no preference directions; `persona-rm profile --json` prints all of it." in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("STORE", "bob"), "user 'bob' has no state here"),
        (("ftp:users", "ann"), "sqlite:PATH"),
        (("STORE", "ann", "--model", "nowhere"), "name the folder infer/model of a run"),
        (("STORE", "ann", "--users", "nowhere.jsonl"), "no such file"),
        (("STORE", "ann", "--bundle", "nowhere"), "no reward bundle here"),
        (("STORE", "ann", "--space", "nowhere"), "no preference space 'nowhere'"),
    ],
)
def test_an_error_says_what_is_wrong(store, args, said):
    code, output = run(*(store if arg == "STORE" else arg for arg in args))
    assert code == 1
    assert said in " ".join(output.split())
    assert "Traceback" not in output


def test_a_bundle_is_told_in_words_with_the_items_behind_each_direction(tmp_path, ann):
    folder = tmp_path / "bundle"
    write_bundle(folder, [ann], method={"name": "pba_linear"}, annotator={"name": "simulator"})
    code, said = run(folder, "ann")
    assert code == 0, said
    assert "written by 'posterior'" in said
    assert "positive pole of likes_travel" in said
    assert 'wrote "[b]we took the night train 0" under "question 0"' in said
    words = json.loads(run(folder, "ann", "--json")[1])["in_words"]
    assert {direction["dimension"] for direction in words["directions"]} == {"likes_travel", "neuroticism"}
    code, said = run(folder, "anne")
    assert (code, "user 'anne' is not in this bundle; did you mean 'ann'?" in said) == (1, True)
    code, said = run(folder, "ann", "--erase")
    assert (code, "a bundle is not changed: remove the user's rows from" in said) == (1, True)


def test_users_whose_items_the_method_reads_itself_are_told_by_their_items(tmp_path, ann):
    folder = tmp_path / "bundle"
    tie = Pair("q", "go now", "go later", strength=0)
    ann = replace(ann, pairs=(*ann.pairs, tie))
    write_bundle(folder, [ann], method={"name": "bradley_terry"}, inferrer=None)
    code, said = run(folder, "ann")
    assert code == 0, said
    assert "No directions: the method 'bradley_terry' does not read the user's history" in said
    assert 'could not choose between "go now" and "go later"' in said
    assert f"({len(ann.pairs)} comparisons, 1 of them ties)" in said
    assert 'preferred "take it easy" to "panic now"' in said
    assert "dimensions are neutral" not in said


def test_a_store_that_is_not_there_is_not_created(tmp_path):
    code, said = run(f"sqlite:{tmp_path / 'typo.sqlite'}", "ann")
    assert (code, "there is no profile store here" in said) == (1, True)
    assert not (tmp_path / "typo.sqlite").exists()
