"""The starting model's tokenizer, and a whole training at the smallest size."""

import json

import pytest
from safetensors.torch import load_file

from persona_rm.backends.pretrain import STATE, PretrainConfig, pretrain, train_tokenizer
from persona_rm.prompts import load_prompts
from persona_rm.simulator.corpus import PHASES
from persona_rm.simulator.simulator import SimulatorConfig

WEIGHTS = "model.safetensors"


def test_a_prompt_has_the_same_tokens_alone_and_with_an_answer_behind_it():
    prompts = load_prompts("released")
    given = prompts.pba("Likes science, High Openness", "what now?")
    tokenizer = train_tokenizer([(given, "i read physics journals.")] * 4, PretrainConfig(vocab=400))
    alone, whole = (tokenizer(text)["input_ids"] for text in (given, f"{given}i read physics journals."))
    assert whole[: len(alone)] == alone


def test_sizes_of_a_new_model_are_refused_beside_a_model_to_go_on_from():
    with pytest.raises(ValueError, match=r"hidden, vocab: of a new model; with `start`"):
        PretrainConfig(start="runs/simulator_reader/pretrain/model", hidden=64, vocab=400)
    with pytest.raises(ValueError, match="phase"):
        PretrainConfig(phase=len(PHASES))


def training(tmp_path, progress=lambda _n, _text: None, **settings):
    config = PretrainConfig(
        hidden=64, layers=1, heads=1, vocab=400, batch_tokens=256, tokenizer_documents=50, threads=1, **settings
    )
    return pretrain(config, None, SimulatorConfig(), "released", "alignx90", 0, tmp_path, progress)


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(tmp_path):
    def kill(step, _text):
        if step == 60:
            raise KeyboardInterrupt

    whole = training(tmp_path / "whole", steps=70, save_every=20)
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "killed", kill, steps=70, save_every=20)
    assert (tmp_path / "killed" / STATE).is_file()
    told: list[int] = []
    again = training(tmp_path / "killed", lambda step, _text: told.append(step), steps=70, save_every=20)
    assert told[0] > 20
    assert again | {"seconds": 0} == whole | {"seconds": 0}
    assert (tmp_path / "killed" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert not (tmp_path / "killed" / STATE).exists()


@pytest.mark.slow
def test_a_training_of_a_few_steps_leaves_a_model_that_loads_and_says_what_it_did(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told: list[str] = []
    report = training(tmp_path, lambda _n, text: told.append(text), steps=3)
    assert json.loads((tmp_path / "training.json").read_text())["tokens"] == report["tokens"]
    assert report["tokens"] > 500
    assert told
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(tokenizer)
    assert sum(p.numel() for p in model.parameters()) == report["parameters"]


@pytest.mark.slow
def test_a_training_goes_on_from_a_model_with_its_tokenizer(tmp_path):
    training(tmp_path / "first", steps=3)
    config = PretrainConfig(start="first", phase=len(PHASES) - 1, steps=2, batch_tokens=256, threads=1)
    told: list[str] = []
    report = pretrain(
        config, tmp_path / "first", SimulatorConfig(), "released", "alignx90", 0, tmp_path / "second",
        lambda _n, text: told.append(text),
    )  # fmt: skip
    first, second = (load_file(tmp_path / name / WEIGHTS) for name in ("first", "second"))
    assert (tmp_path / "second/tokenizer.json").read_bytes() == (tmp_path / "first/tokenizer.json").read_bytes()
    assert {name: tensor.shape for name, tensor in second.items()} == {n: t.shape for n, t in first.items()}
    change = max(float((second[name].float() - first[name].float()).abs().max()) for name in first)
    assert 0 < change < 0.05
    assert report["config"]["start"] == "first"
    assert told
