"""The stages of construction in their order, on Ray Data.

raw -> clean -> unique -> annotate -> (sides) -> pair -> index -> search -> persona -> demo -> mix -> split -> emit.
`construct.stages` says what each stage computes; this module says where it runs. No random draw depends on a block, a
worker or an order.
"""

import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.cluster.ray_nodes import actor_cpus, node_cpus
from persona_rm.cluster.shared_folder import require_shared
from persona_rm.construct import records
from persona_rm.construct.job.actors import AnnotateActor, DescribeActor, SearchRows
from persona_rm.construct.job.cluster import cluster
from persona_rm.construct.job.finish import finish
from persona_rm.construct.job.order import SIDES, STAGES, BuildJob, BuildResult, universal_sources
from persona_rm.construct.job.publish import emit
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.job.stage_keys import keys_of
from persona_rm.construct.search.index_writer import build_index
from persona_rm.construct.stages.clean_stage import Clean
from persona_rm.construct.stages.demo_stage import template
from persona_rm.construct.stages.mix_stage import mix_examples
from persona_rm.construct.stages.outcome import Outcome, each
from persona_rm.construct.stages.pair_stage import pair_rows
from persona_rm.construct.stages.raw_stage import read_source
from persona_rm.construct.stages.side_stage import Sided, sides_of
from persona_rm.construct.stages.split_stage import split_examples
from persona_rm.construct.stages.unique_stage import unique_rule
from persona_rm.errors import DataError
from persona_rm.extras import require


def build(job: BuildJob) -> BuildResult:
    """Examples, test set, card and pictures from threads.

    A build that was killed resumes where it stopped. Raises DataError if the source gives no thread, if no example
    results, or if another build works in the same folder.
    """
    started = time.monotonic()
    # Absolute, because the workers of a cluster have working folders of their own.
    stages = Stages(job.out.resolve() / STAGES, job.resume, stall_timeout=job.config.stall_timeout)
    with stages.locked():
        keys = keys_of(job)
        due = _due(stages, keys, bool(job.config.split.test))
        if due:
            # Before anything is written: reading a source may take an hour, and the stages after it need Ray.
            require("construction", "ray", extra="data")
        # The source is read on the driver, before Ray starts: a source that gives no thread fails at once.
        read = partial(read_source, job.source, job.config, job.seed)
        stages.run("raw", keys["raw"], read)
        with cluster() if due else nullcontext():
            if due:
                require_shared(stages.folder, "the build folder")
            _Run(job, stages, keys).all()
        return finish(job, stages, round(time.monotonic() - started, 1))


def _due(stages: Stages, keys: Mapping[str, str], test: bool) -> bool:
    """Is there a stage to do? Without a test side stage `sides` does not run and is never done."""
    wanted = {name: key for name, key in keys.items() if name != "sides" or test}
    return not (stages.resume and all(map(stages.is_done, wanted, wanted.values())))


@dataclass(frozen=True)
class _Run:
    job: BuildJob
    stages: Stages
    keys: Mapping[str, str]

    def all(self) -> None:
        """Every stage, from clean to emit."""
        config, seed, stages, keys = self.job.config, self.job.seed, self.stages, self.keys
        stages.mapped("raw", "clean", keys["clean"], each(Clean(config, self.job.salt())))
        self._unique()
        self._annotate()
        self._sides()
        stages.mapped(self._sided, "pair", keys["pair"], pair_rows(config, seed))
        stages.run("index", keys["index"], self._index)
        self._search()
        self._demo()
        stages.run("mix", keys["mix"], self._mix)
        stages.run("split", keys["split"], self._split)
        emit(self.job, stages, keys["emit"])

    def _mix(self, folder: Path) -> None:
        job, rows = self.job, self.stages.ordered_records("demo", folder)
        mix_examples(rows, universal_sources(job), job.config, job.space, job.seed, folder)

    def _split(self, folder: Path) -> None:
        job = self.job
        split_examples(self.stages.folder / "mix", job.config, job.space, job.seed, folder)

    def _done(self, name: str) -> bool:
        return self.stages.resume and self.stages.is_done(name, self.keys[name])

    def _unique(self) -> None:
        plan = self.stages.folder / "_unique"
        plan.mkdir(exist_ok=True)
        rows = self.stages.rows("clean", "record", "prints")
        # The rule needs a pass over all rows, so it is made only if the stage will run.
        rule = None if self._done("unique") else unique_rule(rows, self.job.config, plan)
        self.stages.mapped("clean", "unique", self.keys["unique"], each(rule or _never))
        for signatures in plan.glob("*.bin"):  # half a kilobyte per text, of no use once the rule is made
            signatures.unlink()

    def _sides(self) -> None:
        share = self.job.config.split.test
        if share:
            rule = None
            if not self._done("sides"):
                sides = sides_of(self.stages.records("annotate"), share, self.job.seed)
                (self.stages.folder / "_unique" / SIDES).write_text(json.dumps(sides.counts()) + "\n")
                rule = Sided(sides)
            self.stages.mapped("annotate", "sides", self.keys["sides"], each(rule or _never))

    @property
    def _sided(self) -> str:
        return "sides" if self.job.config.split.test else "annotate"

    def _annotate(self) -> None:
        """One actor a core, each with one thread: torch threads that share a busy core wait for each other."""
        # A language model batches by itself, so one actor for it is enough unless the settings say more.
        config, model = self.job.config, self.job.spec.name in ("llm", "http")
        options = self._actors(1 if model else None) | {"batch_size": config.annotate_batch}
        nodes = node_cpus()
        # An actor's threads are all on one node, however many nodes there are.
        threads = max(1, min(sum(nodes) // options["concurrency"], max(nodes)))
        options["fn_constructor_args"] = (self._told("annotate"), self.job.spec, config, self.job.space, threads)
        options |= {"num_gpus": config.gpus} if config.gpus else {}
        self.stages.mapped("unique", "annotate", self.keys["annotate"], AnnotateActor, **options)
        self._few_errors()

    def _few_errors(self) -> None:
        failed, done, reasons = 0.0, 0.0, set[str]()
        # `max_errors` is not part of the stage's key, so the share is checked in every build, also if the stage was
        # done before: allowing more errors does not annotate again.
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
        """So many actors as the settings or the cores say, with the CPUs that they may hold."""
        nodes = node_cpus()
        actors = self.job.config.workers or most or sum(nodes)
        return {"concurrency": actors, "num_cpus": actor_cpus(actors, nodes)}

    def _told(self, name: str) -> Path:
        return self.stages.folder / name / "_rows"

    def _index(self, folder: Path) -> None:
        for side in ("train", "test"):
            # An index per side: a persona of a test example never holds an item of the train side.
            posts = (records.to_post(row) for row in self.stages.records(self._sided) if row["side"] == side)
            pairs = (records.to_pairs(row) for row in self.stages.records("pair") if row["side"] == side)
            build_index(posts, pairs, folder / side, self.job.space, self.job.seed)

    def _search(self) -> None:
        indices = {side: self.stages.folder / "index" / side for side in ("train", "test")}
        arguments, workers = (indices, self.job.config, self.job.space, self.job.seed), self.job.config.workers
        for before, name, method in (("pair", "search", "find"), ("search", "persona", "examples")):
            # Tasks, which end, may take whole CPUs.
            options = {"batch_size": 64} | ({"concurrency": workers} if workers else {})
            self.stages.mapped(before, name, self.keys[name], SearchRows(*arguments, method), **options)

    def _demo(self) -> None:
        job = self.job
        if job.config.demo.by in ("template", "none"):
            rows = each(partial(template, space=job.space, empty=job.config.demo.by == "none"))
            self.stages.mapped("persona", "demo", self.keys["demo"], rows)
            return
        arguments = (self._told("demo"), job.spec, job.config, job.space)
        options = self._actors(1) | {"fn_constructor_args": arguments}
        self.stages.mapped("persona", "demo", self.keys["demo"], DescribeActor, **options)


def _never(_: dict[str, Any]) -> Outcome:
    raise DataError("a stage that is done was run again; this is a fault of persona_rm")
