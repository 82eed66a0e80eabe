import subprocess
import sys

import pytest

from persona_rm.pipeline.rehearse import PROMPTS, ROWS, rehearsal_of
from persona_rm.recipe import load_recipe
from tests.source import ROOT

TEAMS = ROOT / "recipes" / "llama8b_8gpu.yaml"


def test_a_teams_recipe_becomes_small_and_every_change_is_told():
    recipe = load_recipe(TEAMS, ["source=simulator"])
    small, changes = rehearsal_of(recipe)
    assert (small.model, small.device, small.out) == ("simulator_lm", "auto", "runs/llama8b-rehearsal")
    assert [dpo.rows for dpo in small.dpo.values()] == [ROWS, ROWS]
    assert small.ppo["matched"].prompts == PROMPTS
    for told in ("model: /models/", "device: gpu -> auto", "dpo.ica.rows: 91918 ->", "ppo.matched: 8 users"):
        assert any(change.startswith(told) for change in changes), told


def test_no_evaluation_is_rehearsed():
    for name in ("simulator", "inference", "inference_real"):
        small, _ = rehearsal_of(load_recipe(ROOT / "recipes" / f"{name}.yaml"))
        assert (small.eval, small.inference, small.real) == (None, None, None)


def test_a_recipe_for_any_device_is_not_said_to_change_its_device():
    _, changes = rehearsal_of(load_recipe(ROOT / "recipes" / "simulator.yaml"))
    assert not any(change.startswith("device") for change in changes)


@pytest.mark.slow
def test_a_teams_recipe_runs_to_its_end_on_a_cpu(tmp_path):
    folder = tmp_path / "my runs"
    folder.mkdir()
    command = [sys.executable, "-m", "persona_rm.cli", "rehearse", str(TEAMS), "source=simulator"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ran to its end" in done.stdout
    run = folder / "runs" / "llama8b-rehearsal"
    for trained in ("dpo/pba", "dpo/ica", "ppo/matched"):
        assert list((run / trained / "model").glob("*.safetensors")), trained
