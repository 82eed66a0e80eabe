"""`http`: reads intensities by asking an OpenAI-compatible server, local or hosted."""

from functools import cached_property
from typing import ClassVar

from persona_rm.annotators.prompted import AskingAnnotator, AskingConfig
from persona_rm.backends.base import Generator
from persona_rm.backends.openai_http import HttpConfig, HttpGenerator
from persona_rm.config import Config


class HttpAnnotatorConfig(AskingConfig):
    """`server` is asked; without it the generator among the backends."""

    server: HttpConfig | None = None


class HttpAnnotator(AskingAnnotator):
    """The same questions as `llm`, over HTTP."""

    name: ClassVar[str] = "http"
    Config: ClassVar[type[Config]] = HttpAnnotatorConfig
    option_tokens: ClassVar[int] = 4

    @cached_property
    def generator(self) -> Generator:
        """The server of the config, or the generator handed over."""
        server = self.config.server
        return HttpGenerator(server) if server else self.backends.need_generator("annotator http (without `server`)")
