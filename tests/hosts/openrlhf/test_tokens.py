"""Our ids, borders and masks are those of the host's own dataset and trainer, row by row."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from persona_rm.backends.tokens import token_ids
from persona_rm.errors import RecipeError

STUBS = Path(__file__).resolve().parents[3] / "plugins" / "openrlhf" / "rehearsal" / "stubs"
ROWS = [
    {"prompt": "***Task***\n\nx\n\n***Response:***\n\n", "chosen": "I like the law.", "rejected": "No.\n\n\n"},
    {"prompt": "ends without a newline", "chosen": "glued on", "rejected": " with a space"},
    {"prompt": "Q:\n", "chosen": "a\n\nb", "rejected": "\n\nleading newlines"},
    {"prompt": "Q: ", "chosen": "ends itself</s>", "rejected": "ends itself</s>\n"},
    {"prompt": "braces {prompt} {x}", "chosen": "🎭 Zürich {y}", "rejected": "</s> inside"},
    {"prompt": "the l", "chosen": "aw", "rejected": "aw law law"},
]


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    return tokenizer


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The host's dataset and trainer classes, unmodified; the rehearsal's empty flash_attn satisfies its imports."""
    pytest.importorskip("openrlhf", reason="openrlhf is not installed")
    monkeypatch.syspath_prepend(str(STUBS))
    from openrlhf.datasets import RewardDataset
    from openrlhf.trainer.dpo_trainer import DPOTrainer

    return SimpleNamespace(dataset=RewardDataset, trainer=DPOTrainer)


@pytest.mark.slow
def test_ids_and_mask_equal_the_hosts(tiny_model: Callable[..., Path], host: SimpleNamespace) -> None:
    import torch
    from datasets import Dataset

    tokenizer = tokenizer_of(tiny_model(0))
    keys = {"prompt_key": "prompt", "chosen_key": "chosen", "rejected_key": "rejected", "apply_chat_template": False}
    strategy = SimpleNamespace(args=SimpleNamespace(data=SimpleNamespace(**keys)))
    dataset = host.dataset(Dataset.from_list(ROWS), tokenizer, 512, strategy, is_dpo=True, num_processors=1)
    chosen, chosen_mask, reject, reject_mask, starts = dataset.collate_fn([dataset[i] for i in range(len(ROWS))])
    for key, ids, mask in (("chosen", chosen, chosen_mask), ("rejected", reject, reject_mask)):
        ours = token_ids(tokenizer, [row["prompt"] for row in ROWS], [row[key] for row in ROWS])
        ones = torch.ones(len(ROWS), ids.shape[1] - 1)
        counted, _ = host.trainer._get_batch_logps(None, ones, mask, starts)
        for i, (mine, start) in enumerate(ours):
            assert tuple(ids[i][mask[i].bool()].tolist()) == mine, (key, i)
            assert starts[i] == start, (key, i)
            assert counted[i] == len(mine) - start, (key, i)


def test_what_the_rules_give(tiny_model: Callable[..., Path]) -> None:
    tokenizer = tokenizer_of(tiny_model(0))
    (ids, start), (same, _), (ended, _) = token_ids(tokenizer, ["Q: "] * 3, ["yes", "yes\n\n", "yes</s>"])
    assert tokenizer.decode(ids) == "Q: yes </s>"
    assert ids == same
    assert tokenizer.decode(ended) == "Q: yes</s>"
    assert tokenizer.decode(ids[:start]) == "Q: "
    assert ids[-1] == tokenizer.eos_token_id


def test_a_token_across_the_border_counts_as_the_host_counts_it(tiny_model: Callable[..., Path]) -> None:
    """Prompt "the l", response "aw": the word is one token, and the prompt's own two ids hide more than the prompt."""
    tokenizer = tokenizer_of(tiny_model(0))
    [(ids, start)] = token_ids(tokenizer, ["the l"], ["aw"])
    assert start == len(tokenizer("the l")["input_ids"])
    assert tokenizer.decode(ids[:start]) != "the l"


@pytest.mark.parametrize("answer", ["", "\n\n"])
def test_an_empty_answer_is_eos_after_the_whole_prompt(tiny_model: Callable[..., Path], answer: str) -> None:
    """The host would cut the prompt's own newlines too, and then nothing is left to score."""
    tokenizer, prompt = tokenizer_of(tiny_model(0)), "***Response:***\n\n"
    [(ids, start)] = token_ids(tokenizer, [prompt], [answer])
    assert tokenizer.decode(ids[:start]) == prompt
    assert tokenizer.decode(ids[start:]) == " </s>"


def test_without_an_eos_token(tiny_model: Callable[..., Path]) -> None:
    tokenizer = tokenizer_of(tiny_model(0))
    tokenizer.eos_token = None
    with pytest.raises(RecipeError, match="EOS"):
        token_ids(tokenizer, ["a"], ["b"])


def test_no_rows(tiny_model: Callable[..., Path]) -> None:
    assert token_ids(tokenizer_of(tiny_model(0)), [], []) == []
