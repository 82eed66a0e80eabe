"""Prompt formats as data: they turn a persona or its directions, and a post, into the text that a model reads."""

from persona_rm.prompts.prompts import PromptFormat, load_prompts

__all__ = ["PromptFormat", "load_prompts"]
