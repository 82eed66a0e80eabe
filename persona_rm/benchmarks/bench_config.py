"""The section `bench` of a recipe: which sets, which methods, and the protocol."""

from pydantic import Field

from persona_rm.benchmarks.bench_protocol import ProtocolConfig
from persona_rm.config import Config
from persona_rm.registry import Member


class BenchConfig(Config):
    """`persona-rm bench`: every method on every set, under one protocol.

    `reference` is one of `methods`: all others are compared with its accuracy for an unknown user on the same rows.
    """

    sets: dict[str, Member] = Field(min_length=1)
    """Members of the zoo `benchmark` that have comparisons, by the name of their rows."""
    methods: dict[str, Member] = Field(min_length=1)
    """Members of the zoo `method` that are fitted on comparisons, by the name of their rows."""
    reference: str | None = None
    protocol: ProtocolConfig = ProtocolConfig()
    cache: str | None = None
    """Folder that keeps encodings and features between runs."""
