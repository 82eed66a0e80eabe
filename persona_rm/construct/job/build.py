"""The stages of construction in their order, on Ray Data: what runs where, and what each depends on.

raw -> clean -> unique -> annotate -> (sides) -> pair -> index -> search -> persona -> demo -> mix -> split -> emit.
What is computed stands in the modules beside this package; here is only where it runs. No draw depends on a block, a
worker or an order.
"""

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.construct import records
from persona_rm.construct.job import ending, unique, workers
from persona_rm.construct.job.cluster import cluster
from persona_rm.construct.job.demos import Describe, template
from persona_rm.construct.job.finish import finish
from persona_rm.construct.job.order import STAGES, BuildJob, BuildResult
from persona_rm.construct.job.read import read_source
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.job.workers import each
from persona_rm.construct.search.index import build_index
from persona_rm.errors import DataError

CODE: Mapping[str, tuple[str, ...]] = {
    "raw": ("sources", "types.py", "construct/job/read.py"),
    "clean": ("construct/cleaning", "construct/records.py"),
    "unique": ("construct/cleaning/duplicates.py", "construct/job/unique.py"),
    "annotate": ("annotators", "backends/minilm.py", "construct/job/workers.py"),
    "sides": ("construct/split/sides.py", "construct/job/unique.py"),
    "pair": ("construct/pairing/pairs.py", "construct/pairing/kmeans.py", "construct/pairing/rules.py"),
    "index": ("construct/search/index.py", "construct/search/similarity.py", "construct/search/kernels.py"),
    "search": ("construct/search/personas.py", "construct/search/similarity.py", "construct/search/kernels.py"),
    "persona": ("construct/search/personas.py", "construct/search/index.py"),
    "demo": ("construct/demo.py", "construct/demo.yaml", "construct/pairing/rules.py"),
    "mix": ("construct/mix.py", "sources/universal"),
    "split": ("construct/split/testset.py", "construct/curate.py", "construct/split/leakage.py"),
    "emit": ("io/alignx_format.py", "construct/job/emit.py"),
}
"""The code that a stage's result depends on."""


def keys_of(job: BuildJob, stages: Stages) -> dict[str, str]:
    """The key of every stage, each over those before it."""
    keys: dict[str, str] = {}
    for name in CODE:
        keys[name] = stages.key(name, list(keys.values())[-1:], job.settings(name), CODE[name])
    return keys


def build(job: BuildJob) -> BuildResult:
    """Examples, test set, card and pictures from threads. Raises `DataError` where nothing came in or out.

    Started again after a kill, it goes on where it stopped; a second build in the same folder is refused.
    """
    started = time.monotonic()
    stages = Stages(job.out / STAGES, job.resume)
    with stages.locked():
        keys = keys_of(job, stages)
        read = partial(read_source, job.source, job.config, job.seed)
        stages.run("raw", keys["raw"], read)
        with _cluster_if_needed(stages, {n: k for n, k in keys.items() if n != "sides" or job.config.split.test}):
            _Run(job, stages, keys).all()
        return finish(job, stages, round(time.monotonic() - started, 1))


def _cluster_if_needed(stages: Stages, keys: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Ray, unless everything was done before."""
    return nullcontext() if stages.resume and all(map(stages.is_done, keys, keys.values())) else cluster()


@dataclass(frozen=True)
class _Run:
    job: BuildJob
    stages: Stages
    keys: Mapping[str, str]

    def all(self) -> None:
        """Every stage, from clean to emit."""
        config, seed, stages, keys = self.job.config, self.job.seed, self.stages, self.keys
        stages.mapped("raw", "clean", keys["clean"], each(workers.Clean(config, self.job.salt())))
        self._unique()
        self._annotate()
        self._sides()
        stages.mapped(self._sided, "pair", keys["pair"], workers.pair_rows(config, seed))
        stages.run("index", keys["index"], self._index)
        self._search()
        self._demo()
        stages.run("mix", keys["mix"], partial(ending.mix, self.job, stages))
        stages.run("split", keys["split"], partial(ending.split, self.job, stages))
        ending.emit(self.job, stages, keys["emit"])

    def _done(self, name: str) -> bool:
        return self.stages.resume and self.stages.is_done(name, self.keys[name])

    def _unique(self) -> None:
        plan = self.stages.folder / "_unique"
        plan.mkdir(exist_ok=True)
        rule = None if self._done("unique") else unique.rule(self.stages, self.job.config, plan)
        self.stages.mapped("clean", "unique", self.keys["unique"], each(rule or _never))
        for signatures in plan.glob("*.bin"):  # half a kilobyte per text, of no use once the rule is made
            signatures.unlink()

    def _sides(self) -> None:
        share = self.job.config.split.test
        if share:
            rule = None
            if not self._done("sides"):
                found = unique.sides(self.stages, share, self.job.seed)
                (self.stages.folder / "_unique" / ending.SIDES).write_text(json.dumps(found.counts()) + "\n")
                rule = unique.Sided(found)
            self.stages.mapped("annotate", "sides", self.keys["sides"], each(rule or _never))

    @property
    def _sided(self) -> str:
        return "sides" if self.job.config.split.test else "annotate"

    def _annotate(self) -> None:
        """One actor a core, each with one thread: torch threads that share a busy core wait for each other."""
        config, model = self.job.config, self.job.spec.name in ("llm", "http")
        options = self._actors(1 if model else None) | {"batch_size": config.annotate_batch}
        threads = max(1, _cpus() // options["concurrency"])
        options["fn_constructor_args"] = (self._told("annotate"), self.job.spec, config, self.job.space, threads)
        options |= {"num_gpus": config.gpus} if config.gpus else {}
        self.stages.mapped("unique", "annotate", self.keys["annotate"], workers.AnnotateActor, **options)
        self._few_errors()

    def _few_errors(self) -> None:
        failed, done, reasons = 0.0, 0.0, set[str]()
        for drops, counts in self.stages.notes("annotate"):
            wrong = [drop.reason for drop in drops if drop.what == "response"]
            reasons.update(wrong)
            failed += len(wrong)
            done += counts.get("annotated", 0)
        if failed > self.job.config.max_errors * (failed + done):
            raise DataError(
                f"the annotator could not read {failed:,.0f} of {failed + done:,.0f} responses, more than "
                f"max_errors ({self.job.config.max_errors:.0%}); reasons: {', '.join(sorted(reasons))}. "
                f"Mend what they name, remove {self.stages.folder / 'annotate'} "
                "and start again, or allow more: build.max_errors=0.5"
            )

    def _actors(self, most: int | None = None) -> dict[str, Any]:
        """So many actors as the settings or the cores say; they leave cores to the tasks that read and write."""
        cpus = _cpus()
        actors = self.job.config.workers or most or cpus
        return {"concurrency": actors, "num_cpus": min(1.0, cpus / (2 * actors))}

    def _told(self, name: str) -> Path:
        return self.stages.folder / name / "_rows"

    def _index(self, folder: Path) -> None:
        for side in ("train", "test"):
            posts = (records.to_post(row) for row in self.stages.records(self._sided) if row["side"] == side)
            pairs = (records.to_pairs(row) for row in self.stages.records("pair") if row["side"] == side)
            build_index(posts, pairs, folder / side, self.job.space, self.job.seed)

    def _search(self) -> None:
        indices = {side: self.stages.folder / "index" / side for side in ("train", "test")}
        arguments = (indices, self.job.config, self.job.space, self.job.seed)
        for before, name in (("pair", "search"), ("search", "persona")):
            method = {"search": "find", "persona": "examples"}[name]
            options = self._actors() | {"batch_size": 64}
            options |= {"fn_constructor_args": (self._told(name), *arguments, method)}
            self.stages.mapped(before, name, self.keys[name], workers.SearchActor, **options)

    def _demo(self) -> None:
        job = self.job
        if job.config.demo.by in ("template", "none"):
            rows = each(partial(template, space=job.space, empty=job.config.demo.by == "none"))
            self.stages.mapped("persona", "demo", self.keys["demo"], rows)
            return
        arguments = (self._told("demo"), job.spec, job.config, job.space)
        options = self._actors(1) | {"fn_constructor_args": arguments}
        self.stages.mapped("persona", "demo", self.keys["demo"], Describe, **options)


def _cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1))) if ray.is_initialized() else 1


def _never(_: dict[str, Any]) -> workers.Outcome:
    raise DataError("a stage that is done was run again; this is a fault of persona_rm")
