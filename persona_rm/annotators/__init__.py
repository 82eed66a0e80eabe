"""Annotators: a comment -> a level of intensity per dimension, with a confidence."""

from persona_rm.annotators.base import Annotator
from persona_rm.registry import Registry

ANNOTATORS = Registry(
    "persona_rm.annotators",
    {
        "encoder": "persona_rm.annotators.encoder:EncoderAnnotator",
        "given": "persona_rm.annotators.given:GivenAnnotator",
        "http": "persona_rm.annotators.http:HttpAnnotator",
        "llm": "persona_rm.annotators.llm:LlmAnnotator",
        "simulator": "persona_rm.annotators.simulator:SimulatorAnnotator",
    },
    "persona_rm.annotators.base:Annotator",
)

__all__ = ["ANNOTATORS", "Annotator"]
