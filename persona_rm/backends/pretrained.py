"""Models, tokenizers and configs from local folders. Python code that lies beside the weights is never run."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from persona_rm.backends.model_sizes import check_sizes
from persona_rm.errors import DataError, RecipeError
from persona_rm.io.json_file import read_object

REFUSED = "trust_remote_code"
"""The option that errors of transformers and vLLM name if a model needs code of its own."""


def from_folder(auto: Any, folder: str | Path, **options: Any) -> Any:
    """`auto.from_pretrained` (a class of transformers) of a local folder.

    Raises `RecipeError` if the folder brings Python code, and `DataError` with the folder if its files are missing or
    damaged, or if a model's config asks for more than its weights hold (`model_sizes`).
    """
    refuse_python_files(Path(folder))
    if "Model" in auto.__name__:
        check_sizes(Path(folder))
    try:
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except ValueError as error:
        if REFUSED in str(error):
            raise code_error(folder) from error
        raise _damaged(folder, error) from error
    # Files that are cut or were tampered with: each of the libraries below raises its own.
    except (OSError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: str | Path, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return DataError(f"the model cannot be loaded: {type(error).__name__}: {reason}", file=folder)


def code_error(
    folder: str | Path,
    what: str = "it needs Python code of its own (`auto_map`)",
    do: str = "Use a model whose architecture transformers implements",
) -> RecipeError:
    """The error for a model that needs code of its own."""
    return RecipeError(f"a model was to be loaded from {folder}; {what}, which is never run. {do}")


def refuse_python_files(folder: Path) -> None:
    """Raises `RecipeError` if Python files stand in the folder of a model."""
    if files := sorted(path.name for path in folder.glob("*.py")):
        what = f"it brings Python code ({', '.join(files[:3])})"
        raise code_error(folder, what, "Remove them, if transformers implements the architecture without them")


def refuse_own_code(folder: Path) -> None:
    """Raises `RecipeError` if the folder holds Python files, or a config in it names such code (`auto_map`).

    A host may load its models with `trust_remote_code=True` and offer no option against it, so a folder that is
    handed to a host is checked before the host starts.
    """
    refuse_python_files(folder)
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and read_object(file).get("auto_map"):
            raise code_error(folder)
