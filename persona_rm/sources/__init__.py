"""ZOO of sources: raw data set -> `Thread` rows."""

from persona_rm.registry import Registry
from persona_rm.sources.base import OnBad, Source

SOURCES = Registry(
    "persona_rm.sources",
    {
        "simulator": "persona_rm.sources.simulator:SimulatorSource",
        "reddit": "persona_rm.sources.reddit:RedditSource",
        "stackexchange": "persona_rm.sources.stackexchange:StackExchangeSource",
        "stackexchange_dump": "persona_rm.sources.stackexchange_dump:StackExchangeDumpSource",
        "pushshift": "persona_rm.sources.pushshift:PushshiftSource",
        "jsonl": "persona_rm.sources.jsonl:JsonlSource",
        "hf": "persona_rm.sources.hf:HfSource",
    },
    "persona_rm.sources.base:Source",
)

__all__ = ["SOURCES", "OnBad", "Source"]
