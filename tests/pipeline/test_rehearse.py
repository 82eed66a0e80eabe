import json
import subprocess
import sys
from pathlib import Path

import pytest

from persona_rm.backends.small_chat_model import STAND_IN
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.pipeline.rehearse import PROMPTS, ROWS, rehearsal_of
from persona_rm.recipe import load_recipe
from tests.prompts.chat_samples import TEMPLATES, chat_tokenizer
from tests.source import ROOT

SMALL = "runs/llama8b-rehearsal/small_model"
TEAMS = ROOT / "recipes" / "llama8b_8gpu.yaml"


def test_a_teams_recipe_becomes_small_and_every_change_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(TEAMS, ["source=simulator"])
    small, changes = rehearsal_of(recipe)
    assert (small.model, small.device, small.out) == (SMALL, "auto", "runs/llama8b-rehearsal")
    assert [dpo.rows for dpo in small.dpo.values()] == [ROWS, ROWS]
    assert small.ppo["matched"].prompts == PROMPTS
    for told in ("model: /models/", "device: gpu -> auto", "dpo.ica.rows: 91918 ->", "ppo.matched: 8 users"):
        assert any(change.startswith(told) for change in changes), told


@pytest.mark.parametrize("kind", ["llama3", "chatml", None])
def test_the_small_model_keeps_the_chat_template(tmp_path, monkeypatch, kind):
    """Of the model if it is here, else of a stand-in; its control tokens are single ids, and the weights fit."""
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "large"
    if kind:
        chat_tokenizer(kind).save_pretrained(model)
    small, changes = rehearsal_of(load_recipe(TEAMS, ["source=simulator", f"model={model}"]))
    tokenizer, config = load_tokenizer(Path(small.model)), json.loads((Path(small.model) / "config.json").read_text())
    _, bos, eos, more = TEMPLATES[kind or "llama3"]
    assert (tokenizer.chat_template == TEMPLATES[kind][0]) if kind else tokenizer.chat_template == STAND_IN.template
    assert (tokenizer.bos_token, tokenizer.eos_token) == (bos, eos)
    assert all(len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1 for token in (bos, eos, *more))
    assert config["vocab_size"] == len(tokenizer)
    assert config["eos_token_id"] == tokenizer.eos_token_id
    assert ("stand-in" in next(change for change in changes if change.startswith("model:"))) == (kind is None)
    assert small.chat == "template"


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
    for rows in ("dpo/pba", "dpo/ica"):
        texts = [json.loads(line)["prompt"] for line in (run / rows / "rows.jsonl").read_text().splitlines()]
        assert all(text.startswith("<|begin_of_text|><|start_header_id|>system") for text in texts), rows
    for trained in ("dpo/pba", "dpo/ica", "ppo/matched"):
        assert list((run / trained / "model").glob("*.safetensors")), trained
