"""A stage is done once, done again when what it depends on changes, and goes on after an interruption."""

import io
import json

import pytest
from rich.console import Console

from persona_rm.pipeline.run import RunFolder, file_hash, stage_key
from persona_rm.recipe import Recipe


@pytest.fixture
def run(tmp_path):
    return RunFolder(Recipe(name="a"), tmp_path / "run", Console(file=io.StringIO()))


def test_a_done_stage_is_skipped_and_says_so(run):
    calls = []
    for _ in range(2):
        run.stage("work", {"x": 1}, lambda folder: calls.append((folder / "out").write_text("1")))
    assert len(calls) == 1
    assert "skipped" in run.console.file.getvalue()
    assert [row["status"] for row in json.loads((run.folder / "stages.json").read_text())] == ["done", "skipped"]


def test_a_changed_input_runs_again_in_an_emptied_folder(run):
    run.stage("work", {"x": 1}, lambda folder: (folder / "old").write_text("1"))
    run.stage("work", {"x": 2}, lambda folder: (folder / "new").write_text("1"))
    assert not (run.folder / "work" / "old").exists()
    assert (run.folder / "work" / "new").exists()


def test_work_that_knows_what_still_holds_finds_its_folder_whatever_changed(run):
    run.stage("work", {"x": 1}, lambda folder: (folder / "old").write_text("1"), keeps=True)
    seen = []
    run.stage("work", {"x": 2}, lambda folder: seen.append((folder / "old").exists()), keeps=True)
    assert seen == [True]


def test_an_interrupted_stage_finds_its_folder_as_it_left_it(run):
    def fails(folder):
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("work", {"x": 1}, fails)
    seen = []
    run.stage("work", {"x": 1}, lambda folder: seen.append((folder / "half").exists()))
    assert seen == [True]


def test_the_resolved_recipe_and_the_inputs_lie_beside_the_artefact(run):
    run.stage("work", {"x": 1}, lambda folder: None)
    record = json.loads((run.folder / "work" / "stage.json").read_text())
    assert record["inputs"] == {"x": 1}
    assert (run.folder / "work" / "recipe.yaml").is_file()


def test_keys_depend_on_name_and_inputs_alone():
    assert stage_key("a", {"x": 1, "y": 2}) == stage_key("a", {"y": 2, "x": 1})
    assert len({stage_key("a", {"x": 1}), stage_key("b", {"x": 1}), stage_key("a", {"x": 2})}) == 3


def test_a_folder_hash_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("1")
    first = file_hash(tmp_path)
    (tmp_path / "a").write_text("2")
    assert file_hash(tmp_path) != first
