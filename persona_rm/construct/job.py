"""Construction on Ray Data: clean -> annotate -> pair -> examples, each Read -> map_batches -> Write in its folder.

What is computed stands in `steps` and `personas`; this file only says where it runs. A finished stage leaves
`_done.json` with a key over its settings, its code and what it read; a stage whose key is unchanged is skipped, and a
new key redoes it and what follows. No draw depends on a block or a worker, and outputs are sorted by row, so a run is
reproducible.
"""

import hashlib
import json
import logging
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from persona_rm.construct import card, records, workers
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.personas import Lookalikes
from persona_rm.construct.progress import shown
from persona_rm.construct.search import min_matches
from persona_rm.construct.steps import Drop, LabelledPair
from persona_rm.construct.workers import Annotate, AnnotatorSpec, Map, Rows, table
from persona_rm.errors import DataError, HostError, PersonaRMError
from persona_rm.files import write_examples
from persona_rm.sources.base import Source
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example, Thread

SHARD = 2000
MIRRORED = "mirrored"
"""The stage, the file and the drops of examples for somebody of the opposite views."""
CODE = Path(__file__).parents[1]
OF_STAGE = {
    "raw": ("sources", "types.py"),
    "clean": ("construct/steps.py", "construct/records.py", "construct/workers.py"),
    "annotate": ("annotators", "backends/encoder.py"),
    "pair": ("construct/steps.py", "construct/search.py"),
    "examples": ("construct", "files.py"),
    MIRRORED: ("construct", "files.py"),
}
"""The code that a stage's result depends on."""

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """Where the examples are, and the data card."""

    examples_path: Path
    card: dict[str, Any]


def build(
    source: Source,
    annotator: AnnotatorSpec,
    config: ConstructConfig,
    space: PreferenceSpace,
    seed: int,
    out_dir: Path,
) -> BuildResult:
    """Examples from threads. Raises `DataError` where nothing came in or nothing came out.

    A Ray that was started here is ended here: whoever comes next (the reward actors) starts their own.
    """
    import ray

    ours = not ray.is_initialized()
    try:
        return _Job(source, annotator, config, space, seed, out_dir.absolute()).run()
    finally:
        if ours:
            ray.shutdown()


@dataclass(frozen=True)
class _Job:
    source: Source
    spec: AnnotatorSpec
    config: ConstructConfig
    space: PreferenceSpace
    seed: int
    out: Path

    def run(self) -> BuildResult:
        started = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        for name in ("examples", MIRRORED):  # of a build with other settings
            (self.out / f"{name}.jsonl").unlink(missing_ok=True)
        config, seed = self.config, self.seed
        raw = self._stage("raw", self.source.fingerprint(), {"max_threads": config.max_threads}, self._read)
        cleaning = {"min_chars": config.min_chars, "max_chars": config.max_chars}
        clean = self._mapped("clean", raw, cleaning, lambda rows: [workers.clean(row, config) for row in rows])
        key = self._hash(
            asdict(self.spec) | {"encoder": self.spec.encoder.model_dump()} | {"space": asdict(self.space)}
        )
        annotated = self._stage("annotate", clean, {"annotator": key}, self._annotate)
        pairing = {"n_clusters": config.n_clusters, "seed": seed}
        paired = self._mapped(
            "pair", annotated, pairing, lambda rows: [workers.pair(row, config, seed) for row in rows]
        )
        rest = config.model_dump(exclude={"workers", "annotate_batch", "mirror"})
        settings = {"config": rest, "seed": seed, "space": asdict(self.space)}
        for name in self._outcomes:
            self._stage(name, paired, settings, partial(self._examples, name))
        return self._finish(round(time.monotonic() - started, 1))

    @staticmethod
    def _hash(value: Any) -> str:
        return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _stage(self, name: str, upstream: str, settings: Mapping[str, Any], work: Callable[[], None]) -> str:
        """Do `work` unless it was done with the same key; the key is what the next stage depends on."""
        key = self._hash({"upstream": upstream, "settings": settings, "code": _code(name)})
        folder, done = self.out / name, self.out / name / "_done.json"
        if done.is_file() and json.loads(done.read_text())["key"] == key:
            console.print(f"[dim]construct {name}: done before, skipped[/dim]")
            return key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        work()
        seconds = round(time.monotonic() - started, 1)
        done.write_text(json.dumps({"key": key, "seconds": seconds}) + "\n")
        console.print(f"construct {name}: {self._count(name):,} rows in {seconds} s")
        return key

    def _count(self, name: str) -> int:
        return sum(pq.read_metadata(file).num_rows for file in (self.out / name).glob("*.parquet"))

    def _told(self, name: str) -> Path:
        """Where workers tell how many rows of a stage are done."""
        return self.out / name / "_rows"

    def _read(self) -> None:
        """The source, on the driver: shards of threads, and the rows that could not be read in quarantine.jsonl."""
        shard: list[tuple[int, str]] = []
        with (self.out / "raw" / "quarantine.jsonl").open("w") as quarantine:
            threads = self.source.threads(lambda error: _quarantine(quarantine, error))
            for number, thread in enumerate(threads):
                if number == self.config.max_threads:
                    break
                shard.append((number, records.dump(thread)))
                if len(shard) == SHARD:
                    self._write_shard(shard)
                    shard = []
        if shard:
            self._write_shard(shard)
        if not self._count("raw"):
            raise DataError(f"source {self.source.name!r} gave no thread; see raw/quarantine.jsonl", file=self.out)

    def _write_shard(self, shard: list[tuple[int, str]]) -> None:
        pq.write_table(table(shard), self.out / "raw" / f"{shard[0][0]:09d}.parquet")

    def _mapped(self, name: str, upstream: str, settings: Mapping[str, Any], rows: Rows) -> str:
        before = {"clean": "raw", "pair": "annotate"}[name]
        return self._stage(name, upstream, settings, lambda: self._ray(before, name, Map(self._told(name), rows)))

    def _ray(self, before: str, name: str, function: Any, **options: Any) -> None:
        """Read -> map_batches -> write. Every row that goes in comes out, as a record or with a reason."""
        ray = _start_ray()
        options = {"batch_size": 1000, "batch_format": "pyarrow", **options}
        try:
            data = ray.data.read_parquet(str(self.out / before), file_extensions=["parquet"])
            with shown(name, self._told(name), self._count(before), console):
                data.map_batches(function, **options).write_parquet(str(self.out / name))
        except Exception as error:
            raise _own(error) or error from error
        rows_in, rows_out = self._count(before), self._count(name)
        if rows_in != rows_out:
            raise DataError(f"stage {name} was given {rows_in} rows and wrote {rows_out}", file=self.out / name)

    def _annotate(self) -> None:
        """One actor a core, each with one thread: torch threads that share a busy core wait for each other."""
        ray = _start_ray()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        actors = self.config.workers or cpus
        arguments = (self._told("annotate"), self.spec, self.space, max(1, cpus // actors))
        options: dict[str, Any] = {"concurrency": actors, "num_cpus": min(1.0, cpus / (2 * actors))}
        options |= {"fn_constructor_args": arguments, "batch_size": self.config.annotate_batch}
        self._ray("clean", "annotate", Annotate, **options)

    @property
    def _outcomes(self) -> tuple[str, ...]:
        return ("examples", MIRRORED) if self.config.mirror else ("examples",)

    def _examples(self, name: str) -> None:
        ray = _start_ray()
        arguments = (self._told(name), ray.put(self.lookalikes), name == MIRRORED)
        self._ray("pair", name, _Persona, fn_constructor_args=arguments, concurrency=1, num_cpus=1)

    def _rows(self, name: str) -> Iterator[tuple[int, dict[str, Any] | None, list[Drop]]]:
        """(number, record or None, drops) of every row of a stage, in the order of the source."""
        files = sorted((self.out / name).glob("*.parquet"))
        rows = pa.concat_tables([pq.read_table(file) for file in files]).sort_by("number")
        for number, body in zip(rows["number"].to_pylist(), rows["body"].to_pylist(), strict=True):
            yield (number, *records.load(body))

    @cached_property
    def annotated(self) -> dict[int, Thread]:
        """Clean threads with levels, by row number."""
        return {number: records.thread(body) for number, body, _ in self._rows("annotate") if body}

    @cached_property
    def pairs(self) -> dict[int, LabelledPair]:
        """Pairs by the row number of their thread."""
        return {n: records.pair(body["pair"]) for n, body, _ in self._rows("pair") if body}

    @cached_property
    def lookalikes(self) -> Lookalikes:
        """What examples are built from."""
        pairs = [(self.annotated[n], pair) for n, pair in self.pairs.items()]
        return Lookalikes(list(self.annotated.values()), pairs, self.config, self.space, self.seed)

    def _finish(self, seconds: float) -> BuildResult:
        """The examples as an AlignX file, with the card beside it."""
        if not self.annotated:
            raise DataError(f"no usable response; reasons: {card.reasons(self._drops())}", file=self.out / "clean")
        raw = [records.thread(body) for _, body, _ in self._rows("raw") if body]
        made = {name: [records.example(body) for _, body, _ in self._rows(name) if body] for name in self._outcomes}
        rows = made["examples"]
        found = self._card(raw, made) | {"seconds": seconds}
        (self.out / "card.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        (self.out / "README.md").write_text(card.readme(found))
        if not rows:
            raise DataError("no example came out; card.json and README.md say why", file=self.out)
        for name, examples in made.items():
            write_examples(self.out / f"{name}.jsonl", examples, self.space)
        return BuildResult(self.out / "examples.jsonl", found)

    def _drops(self) -> list[Drop]:
        stages = ("clean", "pair", *self._outcomes)
        return [drop for stage in stages for *_, found in self._rows(stage) for drop in found]

    def _card(self, raw: list[Thread], made: Mapping[str, list[Example]]) -> dict[str, Any]:
        threads = list(self.annotated.values())
        bad = (self.out / "raw" / "quarantine.jsonl").read_text().count("\n")
        counts = {
            "bad_rows": bad,
            "threads_in": len(raw),
            "threads_usable": len(threads),
            "responses_in": sum(len(thread.comments) for thread in raw),
            "responses_usable": sum(len(thread.comments) for thread in threads),
            "pairs": len(self.pairs),
            **{name: len(examples) for name, examples in made.items()},
        }
        reasons = card.reasons(self._drops())
        card.balance(counts, reasons)
        least = min_matches(len(self.space), self.config.threshold)
        return {
            "source": self.source.name,
            "annotator": self.spec.name,
            "space": self.space.name,
            "seed": self.seed,
            "config": self.config.model_dump(),
            "rows": counts,
            "drops": reasons,
            "levels": card.levels(threads, self.space),
            "similarity": card.similarity(threads, least, self.seed),
            "examples": card.examples(made["examples"], self.space),
        }


class _Persona(Map):
    """Builds examples inside a Ray actor that reads the one copy of the corpus."""

    def __init__(self, told: Path, lookalikes: Any, mirror: bool) -> None:
        import ray

        self.lookalikes: Lookalikes = ray.get(lookalikes)
        self.mirror = mirror
        super().__init__(told, lambda rows: [self.outcome(row) for row in rows])

    def outcome(self, row: dict[str, Any]) -> tuple[Example | None, list[Drop]]:
        if not row:
            return None, []
        pair = records.pair(row["pair"])
        found = self.lookalikes.example(records.thread(row["thread"]), pair.mirrored() if self.mirror else pair)
        if isinstance(found, Drop):
            return None, [replace(found, what=MIRRORED) if self.mirror else found]
        return found, []


def _quarantine(file: Any, error: DataError) -> None:
    """One line per bad row. What the row holds is somebody's text and is not copied: a problem ends at "found"."""
    problem = re.sub(r"\bfound .*", "found something else", error.problem, flags=re.DOTALL)[:200]
    body = {"file": str(error.file), "row": error.row, "key": error.key, "problem": problem}
    file.write(json.dumps(body) + "\n")


def _code(stage: str) -> str:
    """A hash of the code that a stage's result depends on."""
    digest = hashlib.sha256()
    for part in OF_STAGE[stage]:
        path = CODE / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".yaml"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _own(error: BaseException | None) -> PersonaRMError | None:
    """The library's own error behind Ray's wrappers, which carry it as `cause`."""
    while error is not None:
        cause = getattr(error, "cause", None)
        if found := next((e for e in (cause, error) if isinstance(e, PersonaRMError)), None):
            return found
        error = cause if isinstance(cause, BaseException) else error.__cause__
    return None


def _start_ray() -> Any:
    """Ray with its Data library, started quietly where no one has."""
    import ray
    import ray.data

    if not ray.is_initialized():
        environment = {"env_vars": {"PYTHONPATH": str(CODE.parent), "HF_HUB_OFFLINE": "1"}}
        start_ray(logging_level=logging.ERROR, runtime_env=environment)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def start_ray(tries: int = 3, **options: Any) -> None:
    """A cluster of this machine, or the one that `options` name. Ray gives its first process a fixed 30 seconds, which
    a busy machine can miss: hence several tries. Raises `HostError`."""
    import ray

    warnings.filterwarnings("ignore", "Tip: In future versions of Ray", FutureWarning)
    for left in reversed(range(tries)):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, **options)
            return
        except Exception as error:
            if left == 0 or "timed out during startup" not in str(error):
                raise HostError(f"no Ray cluster could be started here: {error}") from error
            console.print(f"Ray did not start within its 30 seconds on this busy machine; {left} tries left")
