"""What one construction is asked for, and what it gives."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job.stage import hash_of
from persona_rm.construct.job.workers import AnnotatorSpec
from persona_rm.sources.base import Source
from persona_rm.sources.universal import UNIVERSAL
from persona_rm.space import PreferenceSpace

STAGES = "stages"
SALT = "PERSONA_RM_SALT"
PART: Mapping[str, tuple[str, ...]] = {
    "raw": ("max_threads", "sample", "shard"),
    "clean": ("clean",),
    "unique": ("clean",),
    "annotate": ("retest", "min_confidence"),
    "sides": ("split",),
    "pair": ("n_clusters", "pairs_per_post", "pick", "min_contrast"),
    "index": (),
    "search": ("persona", "consistency", "threshold", "n_ugc", "n_pairs", "min_items", "candidates", "mirror"),
    "persona": ("outputs_only",),
    "demo": ("demo",),
    "mix": ("universal", "mix", "split"),
    "split": ("split", "testset", "curate"),
    "emit": (),
}
"""The settings that a stage's result depends on, beside those of the stages before it."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The folder with the data card, and the card; `clean` is False where input was quarantined or rows failed."""

    folder: Path
    card: dict[str, Any]
    clean: bool


@dataclass(frozen=True)
class BuildJob:
    """One construction: what goes in, how, and where to."""

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
    """What makes it again, for the card."""

    def settings(self, name: str) -> dict[str, Any]:
        """What a stage's key holds beside code and upstream."""
        found = self.config.model_dump(mode="json", include=set(PART[name])) | {"seed": self.seed}
        if name == "raw":
            found |= {"source": self.source.fingerprint()}
        if name == "mix":
            found |= {"sets": [source.fingerprint() for source in universal_sources(self)]}
        if name == "clean":
            found |= {"salt": hash_of(self.salt().hex()), "posts": self.config.split.near_duplicates}
        if name in ("annotate", "demo"):
            spec = asdict(self.spec) | {"encoder": self.spec.encoder.model_dump()}
            found |= {"annotator": spec, "space": asdict(self.space)}
        return found

    def salt(self) -> bytes:
        """What author ids are hashed with: the environment's, or a secret that stays here and is not published."""
        if given := os.environ.get(SALT):
            return given.encode()
        path = self.out / STAGES / "_salt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16) + "\n")
        return path.read_text().strip().encode()


def universal_sources(job: BuildJob) -> list[Any]:
    """The universal-value sets that the recipe names. Raises `MemberError` for settings that a set does not have."""
    members = [UNIVERSAL.member(entry, where="build.universal") for entry in job.config.universal]
    return [cls(config) for cls, config in members]
