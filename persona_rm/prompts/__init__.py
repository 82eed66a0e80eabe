"""Prompt formats as data: they turn a persona or its directions, and a post, into the text that a model reads."""

from persona_rm.prompts.chat_messages import prompt_in_row, prompt_json, read_prompt
from persona_rm.prompts.chat_template import ChatTemplate
from persona_rm.prompts.prompts import Chat, PromptFormat, load_prompts
from persona_rm.types import text_of

__all__ = [
    "Chat",
    "ChatTemplate",
    "PromptFormat",
    "load_prompts",
    "prompt_in_row",
    "prompt_json",
    "read_prompt",
    "text_of",
]
