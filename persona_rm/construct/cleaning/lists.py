"""The lists of names in lists.yaml: accounts of bots, hosts of profiles, words that are no accounts."""

from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("lists.yaml")


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    return {name: tuple(words.split()) for name, words in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()}


def listed(name: str) -> tuple[str, ...]:
    """One of the lists, in its order."""
    return _lists()[name]
