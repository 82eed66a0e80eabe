"""infer and ask: what a user at a terminal sees."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.profiles import open_store

SMALL = ["source.users=60", "source.test_users=8", "source.posts=60", "infer.population=40", "infer.items=8"]
RECIPE = str(Path(__file__).parents[2] / "recipes" / "inference.yaml")


def run(*args: str, typed: str = "") -> tuple[int, str]:
    found = CliRunner().invoke(app, list(args), input=typed)
    return found.exit_code, found.output + (found.stderr or "")


@pytest.mark.slow
def test_a_new_user_is_asked_and_goes_on_the_next_day(tmp_path):
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
