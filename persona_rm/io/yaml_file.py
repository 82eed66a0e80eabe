"""YAML as recipes and bundles have it: a key that is given twice is an error, where PyYAML takes the last one.

A file may come from elsewhere, so its size is bounded before it is read, and its aliases before they are followed: a
few lines of them stand for billions of values.
"""

from pathlib import Path
from typing import Any

import yaml

from persona_rm.errors import DataError

LONGEST = 16 << 20
"""Bytes of the longest file."""
MOST_NODES = 1_000_000
"""Values in a file, those that aliases repeat counted each time."""


class _TooMuch(yaml.YAMLError):
    """More values than a file may stand for."""


class _TwiceGiven(yaml.YAMLError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, set())
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
                    raise _TwiceGiven(problem)
                lines[name] = line
        return node


def _count(node: yaml.Node, counted: dict[int, int], open_: set[int]) -> int:
    """The number of values that a node stands for. Raises `_TooMuch` above `MOST_NODES`, and for one in itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        return counted[id(node)]
    if id(node) in open_:
        raise _TooMuch("an alias stands inside of what it repeats, so it has no end")
    open_.add(id(node))
    parts = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
    size = 1 + sum(_count(part, counted, open_) for part in parts)
    open_.discard(id(node))
    if size > MOST_NODES:
        raise _TooMuch(f"its aliases stand for more than {MOST_NODES:,} values")
    counted[id(node)] = size
    return size


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises `DataError` if it is no YAML, or a mapping in it gives a key twice."""
    try:
        return yaml.load(text, Loader=_Loader)
    except _TwiceGiven as error:
        raise DataError(f"{error}: delete one of them") from error
    except _TooMuch as error:
        raise DataError(f"{error}: write the values out, or leave them away") from error
    except RecursionError as error:
        raise DataError("nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"not YAML: {error}") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file. Raises `DataError` with the file."""
    try:
        if (size := path.stat().st_size) > LONGEST:
            raise DataError(f"has {size:,} bytes, and a YAML file here has at most {LONGEST:,}")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except DataError as error:
        raise DataError(error.problem, file=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not YAML: {error}", file=path) from error
