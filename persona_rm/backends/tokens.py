"""The token ids that OpenRLHF's DPO trains on (0.11.2, datasets/reward_dataset.py and trainer/dpo_trainer.py).

Scoring a text by other ids than those it was trained on is a silent error of whole nats, so the host's rules are
repeated: prompt + response joined as text, trailing newlines cut, " " + EOS added unless it ends with EOS, tokenised
as one string without special tokens, the last id set to EOS. The response begins where the prompt's own ids end; a
token across the border counts as the host counts it. Unlike there nothing is cut: `logprob` refuses what is too long,
and newlines are cut from the response only, so that an empty answer, which a rollout can be, is the EOS after a whole
prompt.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.pretrained import from_folder
from persona_rm.errors import RecipeError

Encoded = tuple[tuple[int, ...], int]
"""Token ids of prompt and response, and the index of the first response token."""


def host_ids(tokenizer: Any, prompts: Sequence[str], responses: Sequence[str]) -> list[Encoded]:
    """The host's ids and border per row. Raises `RecipeError` for a tokenizer without an EOS token."""
    if tokenizer.eos_token is None:
        raise RecipeError("the policy's tokenizer has no EOS token; OpenRLHF's DPO ends every response with one")
    starts = {text: len(ids) for text, ids in _encode(tokenizer, list(dict.fromkeys(prompts)))}
    whole = [
        prompt + ended(response, tokenizer.eos_token) for prompt, response in zip(prompts, responses, strict=True)
    ]
    rows = [(*ids[:-1], tokenizer.eos_token_id) for _, ids in _encode(tokenizer, whole)]
    return [(ids, starts[prompt]) for ids, prompt in zip(rows, prompts, strict=True)]


def host_lengths(model: Path, prompts: Sequence[str], responses: Sequence[str]) -> list[int]:
    """How many tokens each row has for the host's DPO with the tokenizer in this folder."""
    return [len(ids) for ids, _ in host_ids(load_tokenizer(model), prompts, responses)]


def load_tokenizer(model: Path) -> Any:
    """The tokenizer in a model's folder."""
    from transformers import AutoTokenizer

    return from_folder(AutoTokenizer, model)


def ended(text: str, eos: str) -> str:
    """The response as the host ends it."""
    text = text.rstrip("\n")
    return text if text.endswith(eos) else f"{text} {eos}"


def _encode(tokenizer: Any, texts: list[str]) -> list[tuple[str, list[int]]]:
    if not texts:
        return []
    return list(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
