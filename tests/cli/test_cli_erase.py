"""The verb erase: what it prints and its exit code."""

import json

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import write_bundle
from persona_rm.cli import app
from persona_rm.types import Persona

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path, space):
    users = [Persona(name, directions=space.parse("Likes Science")) for name in ("ann", "bob")]
    return write_bundle(tmp_path / "bundle", users, method={"name": "pba_linear"}, annotator={"name": "simulator"})


def test_the_report_names_each_place_and_what_is_out_of_reach(folder):
    before = RUNNER.invoke(app, ["erase", str(folder), "ann", "--dry-run"])
    assert (before.exit_code, "The user is in:" in before.output, "users.jsonl" in before.output) == (0, True, True)
    result = RUNNER.invoke(app, ["erase", str(folder), "ann"])
    assert result.exit_code == 0, result.output
    assert "users.jsonl: 1 record" in result.output
    assert "Out of reach:" in result.output
    assert "backups" in result.output
    again = RUNNER.invoke(app, ["erase", str(folder), "ann", "--json"])
    report = json.loads(again.output)
    assert (again.exit_code, report["removed"], report["left"]) == (0, {}, {})
    assert report["erased_before"]


def test_a_user_who_is_nowhere_and_a_folder_that_is_none_exit_with_1(folder):
    nowhere = RUNNER.invoke(app, ["erase", str(folder), "anna"])
    assert nowhere.exit_code == 1
    assert "nowhere in this folder" in nowhere.stderr.replace("\n", " ")
    assert RUNNER.invoke(app, ["erase", str(folder / "no"), "ann"]).exit_code == 1
