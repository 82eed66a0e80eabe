"""Shell completion: what may stand where a recipe or a bundle is asked for.

Everything here looks at file names only, because a shell waits for it at every press of the key. What does not begin
with the typed text is left out by typer.
"""

from pathlib import Path

from persona_rm.cli.packaged import recipe_files

BUNDLES = ("bundle.yaml", "*/bundle.yaml", "runs/*/ppo/*/bundle/bundle.yaml", "runs/*/serve/*/bundle/bundle.yaml")
"""Where bundles are looked for, from the working directory."""


def complete_recipe() -> list[str]:
    """The packaged recipes by name, and the YAML files of the working directory."""
    names = [path.stem for path in recipe_files()]
    return list(dict.fromkeys([*names, *sorted(path.name for path in Path().glob("*.yaml"))]))


def complete_bundle() -> list[str]:
    """The bundle folders in and below the working directory, as runs write them."""
    return list(dict.fromkeys(str(path.parent) for pattern in BUNDLES for path in sorted(Path().glob(pattern))))


def complete_target() -> list[str]:
    """A bundle or a recipe."""
    return [*complete_bundle(), *complete_recipe()]


def complete_host() -> list[str]:
    """The hosts that have a plugin."""
    from persona_rm.hosts.common.finder import hosts

    return hosts()
