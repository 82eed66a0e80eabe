"""A small model with the chat template of a large one, for rehearsals: what a job does to prompts stays the same.

The small tokenizer gets the large one's template, BOS, EOS and the special tokens that the template writes, and the
model a row of weights for each of them. If the large model is not on this machine, a stand-in is used.
"""

from pathlib import Path
from typing import Any, NamedTuple

from persona_rm.backends.pretrained import from_folder
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.errors import RecipeError
from persona_rm.extras import require


class ChatTokens(NamedTuple):
    """A chat template and the special tokens that it needs."""

    template: str
    bos: str | None
    eos: str
    more: tuple[str, ...]


STAND_IN = ChatTokens(
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "<|begin_of_text|>",
    "<|eot_id|>",
    ("<|start_header_id|>", "<|end_header_id|>"),
)
"""Headers with the role of each turn, a first token, and an end for each turn."""


def save_small_chat_model(small: Path, original: Path, folder: Path) -> str:
    """Write the model of `small` with the template of `original` into `folder`. Returns whose template it has.

    Raises `RecipeError` if the tokenizer of `original` is here and has no template.
    """
    require("a small model with a chat template", "torch", "transformers")
    from transformers import AutoModelForCausalLM

    here = (original / "tokenizer_config.json").is_file()
    tokens = chat_tokens(load_tokenizer(original)) if here else STAND_IN
    tokenizer, model = load_tokenizer(small), from_folder(AutoModelForCausalLM, small)
    special = {"eos_token": tokens.eos, "additional_special_tokens": list(tokens.more)}
    tokenizer.add_special_tokens(special | ({"bos_token": tokens.bos} if tokens.bos else {}))
    tokenizer.chat_template = tokens.template
    model.resize_token_embeddings(len(tokenizer))
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return (
        f"the chat template of {original}" if here else f"a stand-in for its chat template, as {original} is not here"
    )


def chat_tokens(tokenizer: Any) -> ChatTokens:
    """The template of a tokenizer, and the added tokens that it writes. Raises `RecipeError` if it has none."""
    if not tokenizer.chat_template:
        raise RecipeError(f"chat 'template' is asked for, and the tokenizer of {tokenizer.name_or_path} has none")
    template = str(tokenizer.chat_template)
    names = {tokenizer.bos_token, tokenizer.eos_token}
    added = sorted(tokenizer.get_added_vocab(), key=lambda token: (-len(token), token))
    written = [token for token in added if token in template and token not in names]
    return ChatTokens(template, tokenizer.bos_token, tokenizer.eos_token, tuple(written))
