"""JSON lines, or a JSON array, of any shape: `mapping.MappingConfig` says which key holds what."""

from typing import ClassVar

from persona_rm.config import Config
from persona_rm.sources.mapping import MappedSource, MappingConfig


class JsonlConfig(MappingConfig):
    """`source_name`: what the threads give as their source."""

    source_name: str = "jsonl"


class JsonlSource(MappedSource):
    """A team's own rows."""

    name: ClassVar[str] = "jsonl"
    Config: ClassVar[type[Config]] = JsonlConfig
