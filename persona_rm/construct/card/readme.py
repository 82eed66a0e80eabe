"""The data card as Markdown, with the front matter that the Hub reads. Problems come first, so that a card never looks
better than the job that it describes."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from persona_rm.construct.card.data_card import DataCard, checked, unbalanced
from persona_rm.construct.card.figure_counts import ExampleFigures

TOP = 50
"""Rows of a table whose length the data decides; the rest stands in card.json."""
HUB_LICENCE = re.compile(r"apache-2\.0|mit|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|odc-by|odbl|pddl|unknown|other")
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

LIMITS = """\
For training and measuring rewards that depend on the user. Not for judging, profiling or imitating real users.

- Personas of look-alikes are composed: their items come from different authors with similar answers. Such a persona
  is not a real user, and an item says nothing else about its author.
- Directions come from an annotator that makes errors, more on some dimensions than on others, and mostly reads
  "cannot reflect". Neutral means that nothing was read, not that a user is indifferent.
- Choices are not observed: a pair is two responses to one post, and "chosen" is what its persona would choose.
- The texts carry the biases, the errors and the offence of where they were written.
- The licences of the inputs bind this output: keep to the strictest of them, and to each source's terms."""
FORMAT = """\
One row is AlignX's quintuple (arXiv 2503.15463): `prompt`, `chosen`, `rejected`, `Preference Direction` (a number per
dimension: 1 positive, 0.5 neutral, 0 negative; positive where the chosen response shows more of the positive pole) and
the persona: `User-Generated Content`, `Pair-wise Comparative Feedback` and `Demographic Information`."""


def cell(value: object) -> str:
    """A value inside a Markdown table: pipes, line breaks and tags are escaped, None is a dash."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, int | float):
        return f"{value:,}"
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, numbers to the right."""
    cells, plain = list(rows), (int, float, type(None))
    rule = ["---:" if all(isinstance(v, plain) for v in column) else "---" for column in zip(*cells, strict=True)]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in (head, rule, *cells)) if cells else "None."


def findings(card: DataCard) -> list[str]:
    """The problems that a reader must know before using the data."""
    problems = [*card.errors, *unbalanced(card.rows, card.drops, card.flows)]
    problems += [f"{s.name}: {s.quarantined_rows:,} rows quarantined" for s in card.sources if s.quarantined_rows]
    problems += [
        f"{s.name}: {s.quarantined_responses:,} responses or ratings quarantined, the rest of their rows read"
        for s in card.sources
        if s.quarantined_responses
    ]
    problems += [f"{s.name}: file {file}: {why}" for s in card.sources for file, why in s.quarantined_files.items()]
    problems += [f"{source.name}: licence not stated" for source in card.sources if not source.licence]
    left = card.pii and card.pii.final_check
    if left is None:
        problems.append(f"personal data: the {'final check' if card.pii else 'removal'} was not run")
    problems += [f"personal data: the final check found {n:,} {kind}" for kind, n in (left or {}).items() if n]
    count, split = card.examples.count if card.examples else 0, sum(split.rows for split in card.splits.values())
    problems += [f"{count:,} examples were counted, the splits hold {split:,}"] if count != split else []
    problems += [] if split else ["no example came out"]
    apart = card.examples.inconsistent if card.examples else 0
    return problems + ([f"{apart:,} examples agree with their persona on no dimension"] if apart else [])


def front_matter(card: DataCard) -> str:
    """The YAML head that the Hub and `datasets` read."""
    licence, rows = card.licence.lower(), sum(split.rows for split in card.splits.values())
    known = HUB_LICENCE.fullmatch(licence)
    head: dict[str, Any] = {"license": licence if known else "other"}
    head |= {} if known else {"license_name": re.sub(r"[^a-z0-9]+", "-", licence).strip("-")}
    head |= {"language": list(card.languages), "pretty_name": card.name}
    head |= {"size_categories": [next((name for size, name in SIZES if rows < size), "10M<n<100M")]}
    head |= {"task_categories": ["text-generation"]}
    head |= {"tags": ["preference", "personalization", "reward-model", "rlhf", "dpo", "alignx", "persona_rm"]}
    files = [{"split": name, "path": split.files} for name, split in card.splits.items() if split.rows]
    configs = [{"config_name": "default", "data_files": files}] if files else []
    configs += [
        {"config_name": name, "data_files": [{"split": "test" if "test" in name else "train", "path": part.files}]}
        for name, part in card.sets.items()
        if part.rows
    ]
    head |= {"configs": configs} if configs else {}
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def _status(card: DataCard) -> str:
    """The first lines: errors of the job, quarantined input, personal data."""
    bad = len(card.errors)
    said = f"THIS BUILD HAD {bad} ERROR{'S' * (bad > 1)}" if bad else "This build finished without errors"
    files, rows = sum(s.files for s in card.sources), sum(s.rows for s in card.sources)
    aside = [sum(len(s.quarantined_files) for s in card.sources), sum(s.quarantined_rows for s in card.sources)]
    lines = [f"**{said}.** Quarantined: {aside[0]:,} of {files:,} files, {aside[1]:,} of {rows:,} rows.", ""]
    return "\n".join(f"> {line}" for line in [*lines, *(f"- {cell(finding)}" for finding in findings(card))])


def _made(card: DataCard) -> str:
    facts: dict[str, object] = {"source": card.source, "annotator": card.annotator, "space": card.space}
    facts |= {"dimensions": str(len(card.dimensions)), "seed": str(card.seed), "made": card.made or None}
    facts |= {"seconds": str(card.seconds)} | {f"annotator: {k}": str(v) for k, v in card.annotation.items()}
    facts |= {f"version of {name}": version for name, version in card.versions.items()}
    stages = [(name, stage.get("seconds"), stage.get("peak_mb")) for name, stage in card.stages.items()]
    recipe = yaml.safe_dump(card.recipe, sort_keys=False, allow_unicode=True)
    times = table(["stage", "seconds", "largest process, MB"], stages)
    return f"{table(['', ''], facts.items())}\n\n{times}\n\nThe recipe, as resolved:\n```yaml\n{recipe}```"


def _flows(card: DataCard) -> str:
    def side(names: Sequence[str]) -> tuple[str, int]:
        return " + ".join(names).replace("_", " "), sum(card.rows.get(name, 0) for name in names)

    dropped = {what: sum(counts.values()) for what, counts in card.drops.items()}
    rows = [(flow.what, *side(flow.before), dropped.get(flow.what, 0), *side(flow.after)) for flow in card.flows]
    drops = [(what, reason, n) for what, counts in card.drops.items() for reason, n in counts.items()]
    head, why = ["unit", "from", "rows in", "dropped", "to", "rows out"], table(["what", "reason", "rows"], drops)
    return "\n\n".join([table(head, rows), *_pictures(card, "rows"), "Dropped, by reason:", why])


def _sources(card: DataCard) -> str:
    names = [(f"{s.name} {s.url}", s.licence or "not stated") for s in card.sources]
    sizes = [(s.files, len(s.quarantined_files), s.rows, s.quarantined_rows) for s in card.sources]
    rows = [(*name, *size) for name, size in zip(names, sizes, strict=True)]
    marks = [(s.name, s.fingerprint, s.quarantine or None) for s in card.sources]
    counts = table(["source", "licence", "files", "bad files", "rows", "bad rows"], rows)
    parts = [counts, table(["source", "fingerprint of what was read", "quarantine"], marks)]
    skipped = [(s.name, why, n) for s in card.sources for why, n in s.skipped.items()]
    skipped += [(s.name, "prompts of several turns, written out", s.rendered) for s in card.sources if s.rendered]
    if skipped:
        parts += [
            "Ratings of the universal-value sets that gave no pair:",
            table(["set", "reason", "ratings"], skipped),
        ]
    return "\n\n".join(parts)


def _pii(card: DataCard) -> str:
    if card.pii is None:
        return "Personal data was not searched: texts are unchanged."
    left = card.pii.final_check
    words = "was not run" if left is None else "found nothing" if not any(left.values()) else f"found {left}"
    missed = "\n".join(f"- {cell(kind)}" for kind in card.pii.not_caught) or "- not stated by the builder"
    said = f"{card.pii.texts:,} texts were searched, and identifiers were replaced by marks. The final check {words}."
    marks = table(["kind", "replaced"], card.pii.replaced.items())
    return f"{said}\n\n{marks}\n\nWhat the search does **not** catch:\n{missed}"


def _columns(card: DataCard, head: str, key: str = "") -> str:
    """Figures of the examples, a column per split: those that are one number, or the entries of the mapping `key`."""
    parts = {"all": card.examples} | {name: split.examples for name, split in card.splits.items()}
    named = {name: part.model_dump() for name, part in parts.items() if part}
    data = [part[key] if key else part for part in named.values()]
    about = {} if key else {n: f"{n}: {field.description}" for n, field in ExampleFigures.model_fields.items()}
    names = [n for n, value in (data or [{}])[0].items() if not isinstance(value, dict)]
    rows = [(about.get(n, n), *(part.get(n, 0) for part in data)) for n in names]
    more = f"\n\n{len(rows) - TOP:,} more in card.json." if rows[TOP:] else ""
    return table([head, *named], rows[:TOP]) + more


def _examples(card: DataCard) -> str:
    splits = table(["split", "rows", "files"], [(name, s.rows, f"`{s.files}`") for name, s in card.splits.items()])
    if card.sets:
        more = [(name, part.rows, f"`{part.files}`") for name, part in card.sets.items()]
        splits += f"\n\nFurther sets, each a config of its own:\n\n{table(['set', 'rows', 'files'], more)}"
    parts = [splits, _columns(card, "figure"), "By source:", _columns(card, "source", "by_source")]
    parts += ["By what the persona consists of:", _columns(card, "persona", "by_persona")]
    for key, words in (("n_ugc", "UGC items"), ("n_pairs", "PAIR items")):
        parts += [f"Examples by their number of {words}:", _columns(card, words, key)]
    return "\n\n".join([*parts, *_pictures(card, "personas")])


def _dimensions(card: DataCard) -> str:
    """Table 7: per dimension, pairs by direction, of these those that all items agree with, and responses by level."""
    ways = (card.examples.by_dimension, card.examples.consistent_by_dimension) if card.examples else ({}, {})
    levels = card.levels.by_dimension if card.levels else {}
    rows = [
        (int(d["number"]), f"{d['id']}: {d['name']} ({d['source']})", d["positive"], d["negative"],
         *(way.get(d["id"], {}).get(side) for side in ("positive", "negative") for way in ways),
         *(levels.get(d["id"], {}).get(level) for level in ("low", "none", "high"))) for d in card.dimensions
    ]  # fmt: skip
    head = ["", "dimension", "positive", "negative", "+", "+ all items", "-", "- all items", "low", "none", "high"]
    return "\n\n".join([table(head, rows), *_pictures(card, "directions", "levels")])


def _levels(card: DataCard) -> str:
    if card.levels is None:
        return "Not counted."
    figures, shares = card.levels, [(name, f"{share:.2%}") for name, share in card.levels.shares.items()]
    weak = "none" if figures.below_half is None else f"{figures.below_half:.2%}"
    parts = [
        f"{figures.responses:,} responses on {len(card.dimensions)} dimensions.",
        table(["level", "cells"], shares),
    ]
    parts += ["Similarity of two random responses:", table(["figure", "value"], card.similarity.items())]
    parts += [f"Pearson's r of the levels: |r| < 0.5 for {weak} of the pairs of dimensions. The strongest:"]
    parts += [table(["dimension", "dimension", "r"], figures.strongest), *_pictures(card, "correlation")]
    return "\n\n".join([*parts, f"Of one level throughout, hence without r: {', '.join(figures.constant) or 'none'}."])


def _pictures(card: DataCard, *names: str) -> list[str]:
    why = cell(card.figures_missing or "none was made")
    shown = {name: f"![{name}]({file})" for name, file in card.figures.items()}
    return [shown.get(name, f"No picture of {name}: {why}.") for name in names]


def readme(card: Mapping[str, Any] | DataCard) -> str:
    """The card as Markdown, with the Hub's front matter. Raises DataError for a mapping that is no `DataCard`."""
    card = checked(card)
    load = 'from datasets import load_dataset\ndata = load_dataset("FOLDER")  # this folder'
    sections = {
        "What this is": f"{card.about}\n\n{FORMAT}".strip(),
        "How it was made": _made(card),
        "Rows in and out": _flows(card),
        "Sources and licences": _sources(card),
        "Personal data": _pii(card),
        "Examples": _examples(card),
        "Levels": _levels(card),
        "Dimensions and directions": _dimensions(card),
        "Use and limits": LIMITS,
        "Load": f"```python\n{load}\n```",
        "Make it again": f"```\n{card.command}\n```",
    }
    body = "\n\n".join(f"## {title}\n{text}" for title, text in sections.items())
    return f"{front_matter(card)}# {cell(card.name)}\n\n{_status(card)}\n\n{body}\n"
