"""infer, ask and profile: what a person at a terminal sees."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.profiles import open_store
from persona_rm.types import UserState

SMALL = ["source.users=60", "source.test_users=8", "source.posts=60", "infer.population=40", "infer.items=8"]
RECIPE = str(Path(__file__).parents[2] / "recipes" / "inference.yaml")


def run(*args: str, typed: str = "") -> tuple[int, str]:
    found = CliRunner().invoke(app, list(args), input=typed)
    return found.exit_code, found.output + (found.stderr or "")


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:{tmp_path / 'people.sqlite'}"
    with open_store(url) as held:
        held.put([UserState("posterior", "ann", {"answers": {}}, 3)])
    return url


def test_a_profile_is_shown_exported_and_erased(store, tmp_path):
    code, said = run("profile", store, "ann")
    assert code == 0
    assert '"posterior"' in said
    assert run("profile", store, "ann", "--export", str(tmp_path / "ann.json"))[0] == 0
    assert json.loads((tmp_path / "ann.json").read_text())["user_id"] == "ann"
    assert "Erased" in run("profile", store, "ann", "--erase")[1]
    code, said = run("profile", store, "ann")
    assert code == 1
    assert "erased on" in said.replace("\n", " ")


def test_nobody_of_that_name_and_no_store_of_that_form(store):
    code, said = run("profile", store, "bob")
    assert code == 1
    assert "bob" in said
    code, said = run("profile", "ftp:people", "ann")
    assert code == 1
    assert "sqlite" in said


@pytest.mark.slow
def test_somebody_new_is_asked_and_goes_on_the_next_day(tmp_path):
    out = [f"out={tmp_path / 'run'}", *SMALL]
    code, said = run(
        "ask", RECIPE, *out, "--user", "ann", "--questions", "3", typed="1\nx\nw i call my sister daily\n5\ns\n"
    )
    assert code == 0, said
    assert "1 to 5, w and a reason" in said
    assert "understood as 1 preference;" in said
    url = f"sqlite:{tmp_path / 'run' / 'users.sqlite'}"
    with open_store(url) as held:
        state = held.get(["ann"])["ann"]
    assert (state.version, len(state.payload["answers"]), len(state.payload["items"])) == (3, 2, 1)
    assert "sister" not in state.to_json()
    code, said = run("ask", RECIPE, *out, "--user", "ann", "--questions", "1", typed="q\n")
    assert code == 0
    assert "After 3 answers and items" in said
    run("profile", url, "ann", "--erase")
    code, said = run("ask", RECIPE, *out, "--user", "ann", typed="q\n")
    assert code == 1
    assert "--readmit" in said
