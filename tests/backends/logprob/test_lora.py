"""An adapter over a base: one set of weights, the sums of two models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persona_rm.backends.logprob.lora import base_of, is_adapter
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.errors import RecipeError

Tiny = Callable[..., Path]
PROMPTS = [f"A persona that is long enough to be kept. {'Likes law. ' * 20}\n\nWhat is {x}?\n\n" for x in "abca"]
RESPONSES = ["I like the law.", "No.", "An answer that goes on. " * 9, "Yes."]


@pytest.fixture(scope="module")
def adapter(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(adapter, the same merged into its base in float64). It changes attention, MLP, and the head."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, merged = tmp_path_factory.mktemp("adapter"), tmp_path_factory.mktemp("merged")
    torch.manual_seed(3)
    net = AutoModelForCausalLM.from_pretrained(tiny_model(0), dtype=torch.float64)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj", "lm_head"], task_type="CAUSAL_LM")
    made = peft.get_peft_model(net, config, autocast_adapter_dtype=False).double()
    for name, weight in made.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    made.save_pretrained(folder)
    made.merge_and_unload().save_pretrained(merged)
    AutoTokenizer.from_pretrained(tiny_model(0)).save_pretrained(merged)
    return folder, merged


def test_both_sums_are_those_of_two_models(adapter: tuple[Path, Path], tiny_model: Tiny) -> None:
    folder, merged = adapter
    one = TransformersLogProb(folder, tiny_model(0), dtype="float64")
    two = TransformersLogProb(merged, tiny_model(0), dtype="float64")
    policy, reference = one._models
    assert policy.net is reference.net
    for _ in range(3):
        for a, b in zip(one.logprob(PROMPTS, RESPONSES), two.logprob(PROMPTS, RESPONSES), strict=True):
            assert a.policy == pytest.approx(b.policy, abs=1e-9)
            assert a.reference == pytest.approx(b.reference, abs=1e-9)
            assert abs(a.policy - (a.reference or 0)) > 1e-2
    assert policy.shares
    assert one.counters.hits == two.counters.hits > 0
    assert one.counters.reused == two.counters.reused > 0


def test_without_a_reference_and_with_another(adapter: tuple[Path, Path], tiny_model: Tiny) -> None:
    folder, merged = adapter
    alone = TransformersLogProb(folder, dtype="float64").logprob(PROMPTS[:1], RESPONSES[:1])[0]
    other = TransformersLogProb(folder, tiny_model(1), dtype="float64").logprob(PROMPTS[:1], RESPONSES[:1])[0]
    expected = TransformersLogProb(merged, tiny_model(1), dtype="float64").logprob(PROMPTS[:1], RESPONSES[:1])[0]
    assert alone.reference is None
    assert alone.policy == pytest.approx(expected.policy, abs=1e-9)
    assert (other.policy, other.reference) == pytest.approx((expected.policy, expected.reference), abs=1e-9)


def test_a_base_that_is_not_there(adapter: tuple[Path, Path], tiny_model: Tiny, tmp_path: Path) -> None:
    assert is_adapter(adapter[0])
    assert not is_adapter(tiny_model(0))
    for name in ("somewhere/else", None):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        with pytest.raises(RecipeError, match="base_model_name_or_path"):
            TransformersLogProb(tmp_path).logprob(["a"], ["b"])


def test_a_base_named_relative_to_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../base"}))
    assert Path(base_of(tmp_path / "adapter")).resolve() == tmp_path / "base"


def test_prompt_tuning_is_refused(tiny_model: Tiny, tmp_path: Path) -> None:
    peft: Any = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(tiny_model(0))
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(net, config).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="adds tokens"):
        TransformersLogProb(tmp_path).logprob(["a"], ["b"])
