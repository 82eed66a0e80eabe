"""The key of each stage: a hash of its settings, its code and the key of the stage before.

The code of a stage is the source of its work and of every module that the work imports (`imported_code`), so an edit
runs again exactly the stages that depend on it, and those after them. The work is named here by the functions and
classes themselves; members that a recipe chooses (source, annotator, language model, universal sets) are part of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.minilm import MiniLM
from persona_rm.construct.job.actors import generator_class
from persona_rm.construct.job.imported_code import PACKAGE, ImportedCode
from persona_rm.construct.job.order import BuildJob, universal_sources
from persona_rm.construct.search.index_writer import build_index
from persona_rm.construct.stages.annotate_stage import Annotate
from persona_rm.construct.stages.clean_stage import Clean
from persona_rm.construct.stages.demo_stage import template
from persona_rm.construct.stages.emit_stage import Emit
from persona_rm.construct.stages.mix_stage import mix_examples
from persona_rm.construct.stages.pair_stage import pair_rows
from persona_rm.construct.stages.raw_stage import read_source
from persona_rm.construct.stages.search_stage import Search
from persona_rm.construct.stages.side_stage import Sided
from persona_rm.construct.stages.split_stage import split_examples
from persona_rm.construct.stages.unique_stage import Unique

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
"""The settings that a stage reads, beside those of the stages before it."""


def keys_of(job: BuildJob) -> dict[str, str]:
    """The key of every stage, in the order of the stages; each holds the key of the stage before it."""
    code, keys, before = ImportedCode(), dict[str, str](), list[str]()
    for name, work in work_of(job).items():
        parts = {"name": name, "before": before, "settings": settings_of(job, name), "code": code.hash_of(work)}
        keys[name] = hash_of(parts)
        # Chained, so that a stage that runs again makes all stages after it run again.
        before = [keys[name]]
    return keys


def work_of(job: BuildJob) -> dict[str, tuple[Any, ...]]:
    """The functions and classes that compute each stage, in the order of the stages."""
    reader = _annotator_work(job)
    describer = (generator_class(job.config.demo)[0], *reader) if job.config.demo.by in ("llm", "http") else ()
    # The template is part of every demo, because it also takes the place of a description that is refused.
    return {
        "raw": (read_source, type(job.source)),
        "clean": (Clean,),
        "unique": (Unique,),
        "annotate": (Annotate, *reader),
        "sides": (Sided,),
        "pair": (pair_rows,),
        "index": (build_index,),
        "search": (Search,),
        "persona": (Search,),
        "demo": (template, *describer),
        "mix": (mix_examples, *map(type, universal_sources(job))),
        "split": (split_examples,),
        "emit": (Emit,),
    }


def _annotator_work(job: BuildJob) -> tuple[Any, ...]:
    """The annotator's class. One of this package imports the backends that it uses; for any other one the encoder that
    it is handed counts too."""
    cls = ANNOTATORS.load(job.spec.name)
    return (cls,) if cls.__module__.partition(".")[0] == PACKAGE else (cls, MiniLM)


def settings_of(job: BuildJob, name: str) -> dict[str, Any]:
    """The values on which a stage depends, beside code and earlier stages."""
    settings = job.config.model_dump(mode="json", include=set(PART[name])) | {"seed": job.seed}
    if name == "raw":
        settings |= {"source": job.source.fingerprint()}
    if name == "mix":
        settings |= {"sets": [source.fingerprint() for source in universal_sources(job)]}
    if name == "clean":
        # Stage clean also makes the signatures of posts, if the split looks for near-duplicates.
        settings |= {"salt": hash_of(job.salt().hex()), "posts": job.config.split.near_duplicates}
    if name in ("annotate", "demo"):
        spec = asdict(job.spec) | {"encoder": job.spec.encoder.model_dump()}
        settings |= {"annotator": spec, "space": asdict(job.space)}
    return settings


def hash_of(value: Any) -> str:
    """16 hex digits that change with the value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
