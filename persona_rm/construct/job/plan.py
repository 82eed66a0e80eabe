"""What a build would do and cost: estimated from the source before anything runs."""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.annotators import Annotator
from persona_rm.annotators.cost import Cost, estimate
from persona_rm.construct.cleaning import Cleaner
from persona_rm.construct.config import ConstructConfig, PriceConfig
from persona_rm.construct.records import PostRecord, from_post
from persona_rm.construct.stages.raw_stage import Quarantine
from persona_rm.errors import DataError
from persona_rm.sources.base import Source
from persona_rm.types import Thread

FIRST = 2000
"""Threads that are cleaned for an estimate."""
SECONDS = 20.0
"""Threads are counted for so long; a source that goes on is extrapolated by its bytes."""
ANNOTATED = 64
"""Responses that are annotated for one."""
PACKED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """Rows that a build would have. `exact`: threads and responses were counted to the end."""

    exact: bool
    threads: int
    responses: int
    usable: int
    posts_with_two: int
    seconds: float
    """For reading and cleaning, on one core."""
    cost: dict[str, float]
    """Of annotation (`annotators.cost.estimate`)."""
    refused: str
    """What could not be read of the sample, with the first reasons; "" for nothing."""


def estimated(source: Source, annotator: Annotator, config: ConstructConfig, bad: Quarantine) -> BuildEstimate:
    """Counts threads for some seconds, cleans the first ones, annotates some responses. Raises DataError if the
    source gives none."""
    threads, read, asked, exact = list[Thread](), 0, 0, True
    started = time.monotonic()
    for thread in source.threads(bad):
        # Even a slow source gives `FIRST` threads: the shares below are those of the threads that were cleaned.
        if time.monotonic() - started > SECONDS and read >= FIRST:
            exact = False
            break
        read += 1
        asked += len(thread.comments)
        threads += [thread] if len(threads) < FIRST else []
    if not threads:
        raise DataError(f"source {source.name!r} gave no thread; {bad.reasons}")
    reading = (time.monotonic() - started) / read
    began = time.monotonic()
    # The hashed authors are thrown away, so any salt will do.
    cleaner = Cleaner(config.clean, b"estimate")
    cleaned = [done.thread for done in map(cleaner.clean, threads) if done.thread is not None]
    cleaning = (time.monotonic() - began) / len(threads)
    total = read if exact else len(threads) * _scale(source.files(), threads)
    # In the order of `raw_stage`: first the sample is drawn, then `max_threads` of it are taken.
    total = min(total * config.sample, config.max_threads or total)
    responses = [(thread.prompt, comment) for thread in cleaned for comment in thread.comments]
    # Spread over the sample, because neighbours are responses to one post.
    some = responses[:: max(1, len(responses) // ANNOTATED)][:ANNOTATED]
    usable = round(len(responses) / len(threads) * total)
    return BuildEstimate(
        exact and config.sample == 1,
        round(total),
        round(asked / read * total),
        usable,
        round(sum(len(thread.comments) > 1 for thread in cleaned) / len(threads) * total),
        (reading + cleaning) * total,
        _cost(annotator, some, usable, config) if some else {},
        bad.reasons if bad.count else "",
    )


def _scale(files: Sequence[Path], threads: Sequence[Thread]) -> float:
    """How many times the sample the files hold, by bytes; a packed file is held against the packed sample."""
    if not files:
        return 1.0
    text = "".join(str(from_post(PostRecord(thread))) for thread in threads).encode()
    # Compressed here with zlib, which is near enough to gzip and zstd for an estimate.
    packed = sum(file.stat().st_size for file in files if file.suffix in PACKED)
    plain = sum(file.stat().st_size for file in files if file.suffix not in PACKED)
    return max(1.0, packed / len(zlib.compress(text, 6)) + plain / len(text))


def _cost(
    annotator: Annotator, some: Sequence[tuple[str, Any]], usable: int, config: ConstructConfig
) -> dict[str, float]:
    """The annotator on a few responses (its start is not counted), in proportion to all; twice for a re-test."""
    prompts, comments = [prompt for prompt, _ in some], [comment for _, comment in some]
    annotator.read(prompts[:1], comments[:1])
    spent: Cost = annotator.cost(prompts, comments)
    times = 2 if config.retest else 1
    prices: PriceConfig = config.prices
    return estimate(
        [spent] * times, len(some), usable, price_in=prices.tokens_in or 0.0, price_out=prices.tokens_out or 0.0,
        gpu_hour_price=prices.gpu_hour or 0.0, tokens_per_second=prices.tokens_per_second,
    )  # fmt: skip


def lines(plan: BuildEstimate, prices: PriceConfig) -> list[tuple[str, str]]:
    """The estimate for a table: what, how much. Money only where a price was given."""
    about = "" if plan.exact else "about "
    rows = [(name, f"{about}{getattr(plan, name):,}") for name in ("threads", "responses")]
    rows += [("usable responses", f"about {plan.usable:,}")]
    rows += [("posts with two usable responses (pairs at most)", f"about {plan.posts_with_two:,}")]
    rows += [("reading and cleaning, one core", _hours(plan.seconds / 3600))]
    if plan.refused:
        rows.append(("of the sample", plan.refused))
    cost = plan.cost
    if not cost:
        return rows
    speed = (
        f"at {prices.tokens_per_second:,.0f} tokens/s" if prices.tokens_per_second else "as measured here, one process"
    )
    for key, name in (("prompt_tokens", "prompt"), ("cached_tokens", "of these cached"), ("output_tokens", "answer")):
        # An annotator without a language model has no tokens to show.
        if cost["prompt_tokens"]:
            rows.append(
                (
                    f"annotation: tokens, {name}",
                    f"{cost[key]:,.0f} ({cost[f'{key}_per_million']:,.0f} a million responses)",
                )
            )
    rows.append(
        (
            f"annotation: hours {speed}",
            f"{_hours(cost['hours'])} ({cost['hours_per_million']:,.1f} h a million responses)",
        )
    )
    if prices.tokens_in or prices.tokens_out:
        rows.append(
            (
                "annotation: money for tokens",
                f"{cost['money_tokens']:,.2f} ({cost['money_tokens_per_million']:,.2f} a million)",
            )
        )
    if prices.gpu_hour:
        rows.append(
            (
                "annotation: money for hours",
                f"{cost['money_hours']:,.2f} ({cost['money_hours_per_million']:,.2f} a million)",
            )
        )
    return rows


def _hours(hours: float) -> str:
    return (
        f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min" if hours >= 1 / 60 else f"{hours * 3600:,.1f} s"
    )
