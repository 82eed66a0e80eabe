"""`llm`: reads intensities by asking a local model through vLLM, in the process that asks (paper, section 4.1 (1))."""

from functools import cached_property
from typing import ClassVar

from persona_rm.annotators.prompted import AskingAnnotator, AskingConfig
from persona_rm.backends.base import Generator
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator
from persona_rm.config import Config


class LlmAnnotatorConfig(AskingConfig):
    """`engine` starts a vLLM of its own; without it the generator among the backends is asked."""

    engine: VllmConfig | None = None


class LlmAnnotator(AskingAnnotator):
    """The paper's annotator with any model that vLLM runs (the paper: Qwen2.5-14B-Instruct)."""

    name: ClassVar[str] = "llm"
    Config: ClassVar[type[Config]] = LlmAnnotatorConfig
    option_tokens: ClassVar[int] = 1

    @cached_property
    def generator(self) -> Generator:
        """The engine of the config, or the one handed over."""
        engine = self.config.engine
        return VllmGenerator(engine) if engine else self.backends.need_generator("annotator llm (without `engine`)")

    def close(self) -> None:
        """Stops the engine of the config where it runs. A generator that was handed over is its owner's to close."""
        if isinstance(own := vars(self).get("generator"), VllmGenerator) and self.config.engine:
            own.close()
