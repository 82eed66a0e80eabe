"""What the log-prob engines of a bundle count, under one set of names whichever engine it is."""

from collections.abc import Mapping

ENGINE = ("rows", "rows_cut", "rows_rescored", "tokens_forwarded", "tokens_cached", "tokens_cut")
"""Counters of policy and reference together. Forwarded: run through a model. Cached: prompt tokens that were read from
the prefix cache instead. Cut: by the truncation policy. Rescored: rows whose first answer vLLM's guard rejected."""


def engine_figures(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters of one engine by the names of `ENGINE`. vLLM counts all tokens that were sent to it."""
    counted = dict(counters)
    if "rescored" in counted:
        counted |= {"computed": counted["tokens"] - counted["cached"], "reused": counted["cached"]}
    keys = ("rows", "cut_rows", "rescored", "computed", "reused", "cut_tokens")
    return {name: counted.get(key, 0) for name, key in zip(ENGINE, keys, strict=True)}
