"""Models, tokenizers and configs from local folders. Python code that lies beside the weights is never run."""

import json
from pathlib import Path
from typing import Any

from persona_rm.errors import RecipeError

REFUSED = "trust_remote_code"
"""The option that errors of transformers and vLLM name if a model needs code of its own."""


def from_folder(auto: Any, folder: str | Path, **options: Any) -> Any:
    """`auto.from_pretrained` (a class of transformers) of a local folder. A folder whose architecture transformers
    implements is loaded by that implementation, even if it also brings code. Raises `RecipeError` if it needs its own
    code."""
    try:
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except ValueError as error:
        raise code_error(folder) if REFUSED in str(error) else error from error


def code_error(folder: str | Path) -> RecipeError:
    """The error for a model that needs code of its own."""
    return RecipeError(
        f"a model was to be loaded from {folder}; it needs Python code of its own (`auto_map`), which is never run. "
        "Use a model whose architecture transformers implements"
    )


def refuse_own_code(folder: Path) -> None:
    """Raises `RecipeError` if a config in the folder names Python code of its own (`auto_map`).

    A host may load its models with `trust_remote_code=True` and offer no option against it, so a folder that is
    handed to a host is checked before the host starts.
    """
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("auto_map"):
            raise code_error(folder)
