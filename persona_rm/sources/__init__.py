"""ZOO of sources: raw data set -> `Thread` rows."""

from persona_rm.registry import Registry
from persona_rm.sources.base import OnBad, Source

SOURCES = Registry(
    "persona_rm.sources",
    {
        "toy": "persona_rm.sources.toy:ToySource",
        "reddit": "persona_rm.sources.reddit:RedditSource",
        "stackexchange": "persona_rm.sources.stackexchange:StackExchangeSource",
    },
)

__all__ = ["SOURCES", "OnBad", "Source"]
