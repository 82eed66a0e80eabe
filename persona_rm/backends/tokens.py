"""The token ids of a prompt and a response, as DPO trains on them and as rewards are computed from them.

A reward that is computed from other token ids than those of the training is wrong by whole nats, without any error. So
training and scoring share these rules, which are those of the DPO trainers that this library drives (a test of each
host compares the ids):

1. Newlines at the end of the response are cut, and " " + EOS is added unless the response ends with EOS.
2. Prompt and response are joined as text and tokenised as one string without special tokens. The last id is set to
   EOS.
3. The response begins at the index that equals the number of the prompt's own ids. If a token spans the border between
   the two texts, it belongs to the side on which that index puts it.

Nothing is truncated: `LogProb` refuses rows that are too long. Newlines are cut from the response only, so that an
empty response, which a rollout can produce, becomes EOS after the complete prompt.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.pretrained import from_folder
from persona_rm.errors import RecipeError

Encoded = tuple[tuple[int, ...], int]
"""Token ids of prompt and response together, and the index of the first response token."""


def encode_rows(tokenizer: Any, prompts: Sequence[str], responses: Sequence[str]) -> list[Encoded]:
    """Ids and border of each row. Raises `RecipeError` if the tokenizer has no EOS token."""
    if tokenizer.eos_token is None:
        raise RecipeError("the policy's tokenizer has no EOS token, but every response ends with one: set `eos_token`")
    starts = {text: len(ids) for text, ids in _encode(tokenizer, list(dict.fromkeys(prompts)))}
    whole = [
        prompt + ended(response, tokenizer.eos_token) for prompt, response in zip(prompts, responses, strict=True)
    ]
    rows = [(*ids[:-1], tokenizer.eos_token_id) for _, ids in _encode(tokenizer, whole)]
    return [(ids, starts[prompt]) for ids, prompt in zip(rows, prompts, strict=True)]


def row_lengths(model: Path, prompts: Sequence[str], responses: Sequence[str]) -> list[int]:
    """Number of tokens of each row, with the tokenizer in this folder."""
    return [len(ids) for ids, _ in encode_rows(load_tokenizer(model), prompts, responses)]


def load_tokenizer(model: Path) -> Any:
    """The tokenizer in a model's folder."""
    from transformers import AutoTokenizer

    return from_folder(AutoTokenizer, model)


def ended(text: str, eos: str) -> str:
    """The response with its end: newlines cut, EOS added."""
    text = text.rstrip("\n")
    return text if text.endswith(eos) else f"{text} {eos}"


def _encode(tokenizer: Any, texts: list[str]) -> list[tuple[str, list[int]]]:
    if not texts:
        return []
    return list(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
