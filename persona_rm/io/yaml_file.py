"""YAML as recipes and bundles have it: a key that is given twice is an error, where PyYAML takes the last one."""

from pathlib import Path
from typing import Any

import yaml

from persona_rm.errors import DataError

DEEPEST = 64
"""Mappings and lists inside one another. Recipes have six; PyYAML reads by recursion."""
LARGEST = 1_000_000
"""Values of one file, each alias counted as what it stands for: a few lines of them can stand for billions."""
UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)
"""What PyYAML raises for texts that are no YAML, and for tags (`!!int ""`, `!!timestamp x`) whose value is none."""


class _Refused(yaml.YAMLError):
    """A key stands twice in one mapping, or the file is too deep or too large."""


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.depth = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """A node, whose depth and expanded size are bounded."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refused(f"values are nested more than {DEEPEST} deep: write it flatter")
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if alias and id(node) not in self.sizes:
            raise _Refused("an alias stands inside what it names")
        if node is not None and id(node) not in self.sizes:
            parts = node.value if isinstance(node.value, list) else []
            each = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
            self.sizes[id(node)] = size = 1 + sum(self.sizes.get(id(part), 1) for part in each)
            if size > LARGEST:
                raise _Refused(f"it stands for more than {LARGEST:,} values: use fewer aliases")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Here the keys are as they are written: merged ones (`<<`), which may be given again, come later."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    problem = f"the key {key.value!r} is given twice, in line {lines[name]} and in line {line}"
                    raise _Refused(f"{problem}: delete one of them")
                lines[name] = line
        return node


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises `DataError` if it is no YAML, or a mapping in it gives a key twice."""
    try:
        return yaml.load(text, Loader=_Loader)
    except _Refused as error:
        raise DataError(str(error)) from error
    except UNREADABLE as error:
        raise DataError(f"not YAML: {error}") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file. Raises `DataError` with the file."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except DataError as error:
        raise DataError(error.problem, file=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not YAML: {error}", file=path) from error
