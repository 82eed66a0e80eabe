"""Prompt formats as data: how a persona, or its directions, and a post become the text that a model reads."""

from persona_rm.prompts.prompts import PromptFormat, load_prompts

__all__ = ["PromptFormat", "load_prompts"]
