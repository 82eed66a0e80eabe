"""The counters of the log-prob engine of a bundle, under the same names for every engine."""

from collections.abc import Mapping

ENGINE = ("rows", "rows_cut", "rows_rescored", "tokens_forwarded", "tokens_cached", "tokens_cut")
"""Counters of policy and reference together. Forwarded: tokens that were run through a model. Cached: prompt tokens
that were read from the prefix cache instead. Cut: removed by the truncation policy. Rescored: rows whose first answer
the guard of the vLLM backend rejected."""


def engine_figures(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters of one engine by the names of `ENGINE`. vLLM counts all tokens that were sent to it."""
    counted = dict(counters)
    if "rescored" in counted:
        counted |= {"computed": counted["tokens"] - counted["cached"], "reused": counted["cached"]}
    keys = ("rows", "cut_rows", "rescored", "computed", "reused", "cut_tokens")
    return {name: counted.get(key, 0) for name, key in zip(ENGINE, keys, strict=True)}
