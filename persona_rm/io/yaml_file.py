"""YAML as recipes and bundles have it: a key that is given twice is an error, where PyYAML takes the last one."""

from pathlib import Path
from typing import Any

import yaml

from persona_rm.errors import DataError


class _TwiceGiven(yaml.YAMLError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
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


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises `DataError` if it is no YAML, or a mapping in it gives a key twice."""
    try:
        return yaml.load(text, Loader=_Loader)
    except _TwiceGiven as error:
        raise DataError(f"{error}: delete one of them") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"not YAML: {error}") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file. Raises `DataError` with the file."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except DataError as error:
        raise DataError(error.problem, file=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not YAML: {error}", file=path) from error
