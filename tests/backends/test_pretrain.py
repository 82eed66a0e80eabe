"""The starting model's tokenizer, and a whole training at the smallest size."""

import json

import pytest

from persona_rm.backends.pretrain import STATE, PretrainConfig, pretrain, train_tokenizer
from persona_rm.prompts import load_prompts
from persona_rm.world.world import WorldConfig

WEIGHTS = "model.safetensors"


def test_a_prompt_has_the_same_tokens_alone_and_with_an_answer_behind_it():
    prompts = load_prompts("released")
    given = prompts.pba("Likes science, High Openness", "what now?")
    tokenizer = train_tokenizer([(given, "i read physics journals.")] * 4, PretrainConfig(vocab=400))
    alone, whole = (tokenizer(text)["input_ids"] for text in (given, f"{given}i read physics journals."))
    assert whole[: len(alone)] == alone


def training(tmp_path, progress=lambda _n, _text: None, **settings):
    config = PretrainConfig(
        hidden=64, layers=1, heads=1, vocab=400, batch_tokens=256, tokenizer_documents=50, threads=1, **settings
    )
    return pretrain(config, WorldConfig(), "released", "alignx90", 0, tmp_path, progress)


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
