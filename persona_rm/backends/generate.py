"""Sampled answers of a policy, to compare it before and after training. One process, without an engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.pretrained import from_folder
from persona_rm.extras import extra_needed


def answers(
    model: Path, prompts: Sequence[str], *, max_new_tokens: int, seed: int, temperature: float = 1.0, batch: int = 64
) -> list[str]:
    """One sampled answer per prompt, without special tokens. The same seed gives the same answers on one machine."""
    with extra_needed("sampling answers of a policy"):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Padding on the left, so that every prompt ends where generation begins.
    tokenizer = from_folder(AutoTokenizer, model, padding_side="left")
    policy: Any = from_folder(AutoModelForCausalLM, model, dtype=torch.float32).to(device)
    torch.manual_seed(seed)
    out: list[str] = []
    for start in range(0, len(prompts), batch):
        given = tokenizer(
            list(prompts[start : start + batch]), return_tensors="pt", padding=True, add_special_tokens=False
        ).to(device)
        # top_k=0 and top_p=1 switch off the model's own generation settings: these are samples of the policy itself.
        made = policy.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], do_sample=True, top_k=0, top_p=1.0,
            temperature=temperature, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        new = made[:, given["input_ids"].shape[1] :]
        out += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    return out
