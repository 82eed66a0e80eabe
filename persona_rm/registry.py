"""One mechanism for every zoo: a visible table of strings, loaded when asked, open to entry points and to files.

    METHODS = Registry("persona_rm.methods", {"pba": "persona_rm.methods.pba:PBA"}, "persona_rm.methods.base:Method")
    METHODS.load("pba")                                       # imports the module now, not before
    METHODS.load("./my_method.py:MyMethod", Path("recipes"))  # a class of the user's own file
    METHODS.member({"name": "pba", "beta": 0.2})              # the class and its checked config

Another package extends a zoo through the entry point group of the same name; the table wins over entry points.
"""

import hashlib
import inspect
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError

from persona_rm.config import PathChange, PathMark, did_you_mean, map_paths, problems
from persona_rm.errors import MemberError, PersonaRMError, UnknownName

FILE_NAME = re.compile(r"(?P<path>.+\.py):(?P<attribute>\w+)")
"""The form of a member that stands in a file: "./my_method.py:MyMethod"."""


def as_mapping(given: Any) -> dict[str, Any]:
    """A member as a mapping: its bare name "pba" stands for {"name": "pba"}. Raises ValueError for other values."""
    if isinstance(given, str):
        return {"name": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError("a zoo member is its name, or a mapping with `name` and its settings")
    return dict(given)


Member = Annotated[dict[str, Any], BeforeValidator(as_mapping)]
"""A zoo member in a recipe or a bundle: its `name`, and beside it the keys of its config."""


class Registry:
    """A named table `member -> "module:Class"`. `base` is the class ("module:Class") that every member extends."""

    def __init__(self, group: str, table: Mapping[str, str], base: str | None = None) -> None:
        self.group = group
        self.table = dict(table)
        self.base = base

    def names(self) -> list[str]:
        """Every member, those of the table and those that other packages bring."""
        return sorted({*self.table, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str, relative_to: Path | None = None) -> Any:
        """The class behind `name`: a name of this zoo, or "FILE.py:Class".

        The path of such a file is relative to the folder `relative_to`, or to the working directory without it.
        Raises `UnknownName` for a name that does not exist, and `MemberError` for a file that is missing, cannot be
        imported, or has no such class of this zoo.
        """
        # The table comes first, so that no installed package can replace a member of the library.
        if target := self.table.get(name):
            module, _, attribute = target.partition(":")
            return getattr(import_module(module), attribute)
        if is_file_name(name):
            return self._from_file(absolute_name(name, relative_to))
        for point in entry_points(group=self.group, name=name):
            return point.load()
        names = self.names()
        hint = did_you_mean(name, names)
        raise UnknownName(f"no {name!r} in {self.group}; there is: {', '.join(names)}, or FILE.py:CLASS{hint}")

    def member(
        self, given: str | Mapping[str, Any], relative_to: Path | None = None, where: str | None = None
    ) -> tuple[Any, Any]:
        """The class of a member and its checked config; `where` is the key that errors name.

        Raises `MemberError` (`UnknownName` is one) that says which key is wrong and which keys there are.
        """
        where = where or self.group.rpartition(".")[2].removesuffix("s")
        try:
            settings = as_mapping(given)
        except ValueError as error:
            raise MemberError(str(error), where) from error
        name = settings.pop("name")
        try:
            cls = self.load(name, relative_to)
        except UnknownName as error:
            raise UnknownName(error.problem, where) from error
        except MemberError as error:
            raise MemberError(error.problem, where) from error
        try:
            return cls, cls.Config(**settings)
        except ValidationError as error:
            first, *others = problems(error, cls.Config)
            text = "; ".join((first.text, *(f"{other.key}: {other.text}" for other in others)))
            raise MemberError(text, f"{where}.{first.key}" if first.key else where) from error

    def map_paths(
        self, given: Mapping[str, Any], change: PathChange, relative_to: Path | None = None
    ) -> dict[str, Any]:
        """The member with `change` applied to every path in it: to that of "FILE.py:Class" and to those of its config.

        Raises `MemberError` if the class cannot be loaded.
        """
        cls = self.load(given["name"], relative_to)
        settings = map_paths(cls.Config, {key: value for key, value in given.items() if key != "name"}, change)
        match = FILE_NAME.fullmatch(given["name"])
        if match is None or given["name"] in self.table:
            return {"name": given["name"], **settings}
        return {"name": f"{change(match['path'], PathMark())}:{match['attribute']}", **settings}

    def _from_file(self, name: str) -> Any:
        """The class behind "/absolute/FILE.py:Class"."""
        path, _, attribute = name.rpartition(":")
        module = _module_of(Path(path))
        cls = getattr(module, attribute, None)
        classes = [value for value in vars(module).values() if inspect.isclass(value)]
        own = [one.__name__ for one in classes if one.__module__ == module.__name__]
        if not inspect.isclass(cls):
            there = f"its classes are: {', '.join(own)}" if own else "it defines no class"
            raise MemberError(f"{path} has no class {attribute!r}; {there}{did_you_mean(attribute, own)}")
        if self.base is not None:
            base_module, _, base_name = self.base.partition(":")
            if not issubclass(cls, getattr(import_module(base_module), base_name)):
                raise MemberError(f"{attribute} of {path} does not extend {base_module}.{base_name}")
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise MemberError(f"{attribute} of {path} does not define: {', '.join(missing)}")
        if self.base is not None and not isinstance(getattr(cls, "name", None), str):
            raise MemberError(f"{attribute} of {path} has no `name`: add name: ClassVar[str] = ...")
        return cls


def is_file_name(name: str) -> bool:
    """True for a member that stands in a file: "FILE.py:Class"."""
    return FILE_NAME.fullmatch(name) is not None


def absolute_name(name: str, relative_to: Path | None = None) -> str:
    """The name of a member as it means the same everywhere: the path of "FILE.py:Class" is made absolute.

    Other names stay as they are. What travels to another process or folder is named so.
    """
    match = FILE_NAME.fullmatch(name)
    if match is None:
        return name
    path = Path(match["path"]).expanduser()
    return f"{((relative_to or Path()) / path).resolve()}:{match['attribute']}"


def absolute_member(given: Mapping[str, Any], relative_to: Path | None = None) -> dict[str, Any]:
    """The member with an absolute name (`absolute_name`)."""
    return {**given, "name": absolute_name(given["name"], relative_to)}


def _module_of(path: Path) -> ModuleType:
    """The module of a file, imported once per content: an edited file is another module."""
    if not path.is_file():
        where = "the file that names it; given in Python, to the working directory or to `relative_to`"
        raise MemberError(f"there is no file {path}; the path of FILE.py:CLASS is relative to {where}")
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()[:16]
    name = f"persona_rm_member_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MemberError(f"{path} cannot be imported as a Python module")
    # Dataclasses and pickle look a class's module up in sys.modules, so it stands there before it runs.
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except PersonaRMError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise MemberError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
