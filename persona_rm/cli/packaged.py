"""The recipes that are packaged."""

from pathlib import Path


def recipe_files() -> list[Path]:
    """The packaged recipes: those of the checkout, or of the installed package."""
    here = Path(__file__).resolve().parents[1]
    roots = (here.parent / "recipes", here / "_recipes")
    root = next((r for r in roots if r.is_dir()), None)
    return sorted(p for p in root.rglob("*.yaml")) if root else []
