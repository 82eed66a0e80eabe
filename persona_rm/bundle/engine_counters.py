"""The counters of the engine of a bundle, under the same names for every engine: log-probs, or the encoder."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from persona_rm.backends.base import Backends

ENGINE = ("rows", "rows_cut", "rows_rescored", "tokens_forwarded", "tokens_cached", "tokens_cut")
"""Counters of policy and reference together. Forwarded: tokens that were run through a model. Cached: prompt tokens
that were read from the prefix cache instead. Cut: removed by the truncation policy. Rescored: rows whose first answer
the guard of the vLLM backend rejected."""


def engine_of(backends: Backends) -> Any:
    """The engine whose counters are shown: the log-prob engine, or the encoder of a bundle without a policy."""
    return backends.logprob if backends.logprob is not None else backends.encoder


def counters_of(engine: Any) -> dict[str, int]:
    """The counters of an engine by the names of `ENGINE`; all 0 for one that counts nothing."""
    counters = getattr(engine, "counters", None)
    return engine_figures({} if counters is None else asdict(counters))


def cut_remark(counts: Mapping[str, int]) -> str:
    """How many texts an engine read in part only, because they are longer than its model reads; "" if none. `counts`:
    its counters by the names of `ENGINE`."""
    if not counts["rows_cut"]:
        return ""
    return (
        f"{counts['rows_cut']:,} of {counts['rows']:,} texts are longer than the model reads: it read a part of them, "
        f"and {counts['tokens_cut']:,} tokens were left out"
    )


def engine_figures(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters of one engine by the names of `ENGINE`. vLLM counts all tokens that were sent to it."""
    counted = dict(counters)
    if "rescored" in counted:
        counted |= {"computed": counted["tokens"] - counted["cached"], "reused": counted["cached"]}
    keys = ("rows", "cut_rows", "rescored", "computed", "reused", "cut_tokens")
    return {name: counted.get(key, 0) for name, key in zip(ENGINE, keys, strict=True)}
