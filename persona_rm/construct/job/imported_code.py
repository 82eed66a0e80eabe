"""The source on which a piece of work depends: the modules that can be reached from it by import statements.

Import statements inside functions count, because heavy packages and optional parts are imported there; blocks under
`if TYPE_CHECKING:` do not run and do not count. A package's `__init__` counts only if a name is taken from it. A data
file counts for each module that names it in a string and lies beside it ("demo.yaml" for demo.py). Modules that are
loaded by name, such as zoo members from a registry, are not seen; the caller that chooses one passes it as further
work.
"""

import ast
import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

PACKAGE = "persona_rm"
FOLDER = Path(__file__).resolve().parents[2]
DATA_FILE = re.compile(r"[\w\-]+\.(?!py$)\w+")


class ImportedCode:
    """Reads each file once. `folder` is the folder of the package; code outside it counts only if it is the work."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self._imports: dict[Path, tuple[Path, ...]] = {}

    def hash_of(self, work: Iterable[Any]) -> str:
        """16 hex digits that change with the source of `work` (functions, classes, partials) or of what it imports.

        Names of files count relative to the package, so that a copy elsewhere gives the same hash.
        """
        digest = hashlib.sha256()
        for file in self.files(work):
            inside = file.is_relative_to(self.folder)
            name = file.relative_to(self.folder).as_posix() if inside else file.name
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()[:16]

    def files(self, work: Iterable[Any]) -> list[Path]:
        """The modules and data files on which `work` depends, sorted."""
        files: set[Path] = set()
        waiting = [_file_of(piece) for piece in work]
        while waiting:
            file = waiting.pop()
            if file not in files:
                files.add(file)
                waiting += self._read(file)
        return sorted(files)

    def _read(self, file: Path) -> tuple[Path, ...]:
        """The files to which one file leads."""
        if file not in self._imports:
            leads = _leads(file.read_bytes(), self._package(file)) if file.suffix == ".py" else ()
            self._imports[file] = tuple(dict.fromkeys(self._resolved(leads, file)))
        return self._imports[file]

    def _resolved(self, leads: Iterable[tuple[str, str]], file: Path) -> Iterator[Path]:
        for module, name in leads:
            if not module:
                if (data := file.with_name(name)).is_file():
                    yield data
            elif source := self._source(f"{module}.{name}" if name else module) or self._source(module):
                yield source

    def _source(self, module: str) -> Path | None:
        """The file of a module of the package, None for any other name."""
        first, *parts = module.split(".")
        if first != PACKAGE:
            return None
        path = self.folder.joinpath(*parts)
        files = (path.with_name(f"{path.name}.py"), path / "__init__.py")
        return next((file for file in files if file.is_file()), None)

    def _package(self, file: Path) -> str:
        """The package in which a file's relative imports start, "" outside the package."""
        if not file.is_relative_to(self.folder):
            return ""
        return ".".join([PACKAGE, *file.relative_to(self.folder).parent.parts])


def _file_of(piece: Any) -> Path:
    """The file in which a function or class is written."""
    # A partial has no file of its own.
    while isinstance(piece, partial):
        piece = piece.func
    return Path(inspect.getfile(piece)).resolve()


@cache
def _leads(source: bytes, package: str) -> tuple[tuple[str, str], ...]:
    """(module, imported name or "") of each import statement, ("", name) of each string that may name a data file."""
    leads: list[tuple[str, str]] = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            leads += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            leads += [(_base(node, package), alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DATA_FILE.fullmatch(node.value):
            leads.append(("", node.value))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            # The branch for type checkers does not run, the other one does.
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return tuple(leads)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The module from which an import statement takes names, absolute."""
    if not node.level:
        return node.module or ""
    # One dot is the package itself, so `level` - 1 parts are left out at its end.
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])
