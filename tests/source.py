"""What the checks of layers and style read: Python files, their imports, their functions."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "persona_rm"
CODE = ("persona_rm", "plugins", "tests")


class Import(NamedTuple):
    """`importer` imports `module`; `top` is true at module level (it happens on import)."""

    importer: str
    module: str
    top: bool


class Function(NamedTuple):
    where: str
    lines: int


def python_files(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, importer: str) -> Iterator[Import]:
    """Every import statement, also those inside functions; `if TYPE_CHECKING:` blocks do not run and do not count."""
    yield from _walk(tree, importer, top=True)


def _walk(node: ast.AST, importer: str, top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(importer, alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, importer)
            yield from (Import(importer, _target(base, alias.name), top) for alias in child.names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(child, importer, top and not inside)


def _absolute(node: ast.ImportFrom, importer: str) -> str:
    if not node.level:
        return node.module or ""
    package = importer.split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _target(base: str, name: str) -> str:
    """`from persona_rm import space` imports the module persona_rm.space, `from x import y` the module x."""
    return f"{base}.{name}" if base == "persona_rm" else base


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Function(where, (node.end_lineno or node.lineno) - node.lineno + 1)
