"""The token ids of a prompt and a response, by the rules of the DPO trainer that aligned the policy.

Scoring a text by other ids than those it was trained on is a silent error of whole nats, so scoring and training use
the same rules: prompt and response are joined as text, trailing newlines are cut, " " and EOS are added unless the
text ends with EOS, the whole is tokenised as one string without special tokens, and the last id is EOS. The response
begins after as many ids as the prompt has alone; the trainer counts a token that spans the border in the same way.

There are two differences. Nothing is truncated: `logprob` refuses a text that is too long. And newlines are cut from
the response only, so that an empty answer, which a rollout can give, is the EOS after a whole prompt. The tests of
each host compare these ids with those of its own data set.

A response that was cut at a length limit is unfinished. It has no end, so nothing is cut from it and no EOS is added:
else half an answer would be rewarded for an end that the policy never wrote.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.pretrained import from_folder
from persona_rm.errors import RecipeError
from persona_rm.extras import extra_needed

Encoded = tuple[tuple[int, ...], int]
"""The token ids of prompt and response together, and the index of the first response token."""


def token_ids(
    tokenizer: Any, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None
) -> list[Encoded]:
    """The ids and the border of each row. `finished` (None: all are) says which responses ended by themselves.

    An unfinished response can have no token of its own. Raises `RecipeError` if the tokenizer has no EOS token.
    """
    if tokenizer.eos_token is None:
        raise RecipeError("the policy's tokenizer has no EOS token; DPO ends every response with one")
    # The border is the length of the prompt encoded alone, and each distinct prompt is encoded once.
    starts = {prompt: len(ids) for prompt, ids in _encode(tokenizer, list(dict.fromkeys(prompts)))}
    whole = [True] * len(prompts) if finished is None else finished
    texts = []
    for prompt, response, ends in zip(prompts, responses, whole, strict=True):
        texts.append(prompt + (ended(response, tokenizer.eos_token) if ends else response))
    rows = []
    for prompt, ends, (_, ids) in zip(prompts, whole, _encode(tokenizer, texts), strict=True):
        # The last token is set to EOS, whatever ids the tokenizer gives its text at the end of a response.
        rows.append(((*ids[:-1], tokenizer.eos_token_id) if ends else tuple(ids), starts[prompt]))
    return rows


def token_lengths(model: Path, prompts: Sequence[str], responses: Sequence[str]) -> list[int]:
    """How many tokens each row has with the tokenizer in this folder."""
    return [len(ids) for ids, _ in token_ids(load_tokenizer(model), prompts, responses)]


def load_tokenizer(model: Path) -> Any:
    """The tokenizer in a model's folder."""
    with extra_needed("a tokenizer"):
        from transformers import AutoTokenizer

    return from_folder(AutoTokenizer, model)


def ended(text: str, eos: str) -> str:
    """The response with EOS at its end, once."""
    text = text.rstrip("\n")
    return text if text.endswith(eos) else f"{text} {eos}"


def _encode(tokenizer: Any, texts: list[str]) -> list[tuple[str, list[int]]]:
    if not texts:
        return []
    return list(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
