"""The request for one construction, and its result."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job.actors import AnnotatorSpec
from persona_rm.sources.base import Source
from persona_rm.sources.universal import UNIVERSAL
from persona_rm.space import PreferenceSpace

STAGES, SIDES = "stages", "sides.json"
SALT = "PERSONA_RM_SALT"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The folder with the data card, and the card; `clean` is False where input was quarantined or rows failed."""

    folder: Path
    card: dict[str, Any]
    clean: bool


@dataclass(frozen=True)
class BuildJob:
    """One construction: its source, its settings and its output folder."""

    source: Source
    spec: AnnotatorSpec
    config: ConstructConfig
    space: PreferenceSpace
    seed: int
    out: Path
    name: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe, for the card."""
    resume: bool = True
    command: str = ""
    """The command that repeats the build, for the card."""

    def salt(self) -> bytes:
        """The key of author hashes: the environment's, or a secret that stays in this folder and is not published."""
        # With a salt in common, several builds give an author one name. Otherwise it stays in the folder, for
        # resuming.
        if given := os.environ.get(SALT):
            return given.encode()
        path = self.out / STAGES / "_salt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # The file has its permissions before the secret is in it.
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16) + "\n")
        return path.read_text().strip().encode()


def universal_sources(job: BuildJob) -> list[Any]:
    """The universal-value sets that the recipe names. Raises MemberError for settings that a set does not have."""
    members = [UNIVERSAL.member(entry, where="build.universal") for entry in job.config.universal]
    return [cls(config) for cls, config in members]
