"""One mechanism for every zoo: a visible table of strings, loaded when asked, open to entry points.

    METHODS = Registry("persona_rm.methods", {"pba": "persona_rm.methods.pba:PBA"})
    METHODS.load("pba")   # imports the module now, not before

A package outside extends a zoo through the entry point group of the same name; the table wins over entry points.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from persona_rm.errors import UnknownName


class Registry:
    """A named table `member -> "module:Class"`. Raises `UnknownName` on a miss, listing what exists."""

    def __init__(self, group: str, table: Mapping[str, str]) -> None:
        self.group = group
        self.table = dict(table)

    def names(self) -> list[str]:
        """Every member, ours and those that other packages bring."""
        return sorted({*self.table, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> Any:
        """The class behind `name`."""
        if target := self.table.get(name):
            module, _, attribute = target.partition(":")
            return getattr(import_module(module), attribute)
        for point in entry_points(group=self.group, name=name):
            return point.load()
        raise UnknownName(f"no {name!r} in {self.group}; there is: {', '.join(self.names())}")
