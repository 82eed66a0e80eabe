"""A second pass by Presidio's pattern recognisers, for kinds that this library does not know (wallets, passports).

Presidio runs on a blank spaCy pipeline: no model, no network, and no names of people or places either, since those
come from a model. Its e-mail, telephone and similar recognisers run too, on what the first pass left.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from persona_rm.construct.cleaning.pii import replace_spans
from persona_rm.errors import MissingExtra

LANGUAGE = "en"
LEAST = 0.4
"""Score below which Presidio itself is not convinced; a pattern with a check digit gets 1."""
SKIPPED = frozenset({"URL", "DATE_TIME", "PERSON", "LOCATION", "NRP"})
"""Ordinary links and dates stay; the others need a model."""
MARKS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IP_ADDRESS": "IP",
    "MAC_ADDRESS": "MAC",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "CRYPTO": "WALLET",
}
"""Presidio's entities by this library's marks; all others are national or medical identifiers."""


class Presidio:
    """The analyzer, created at the first text. Raises MissingExtra if presidio-analyzer or spaCy is missing."""

    def scrub(self, text: str) -> tuple[str, Counter[str]]:
        """The text with Presidio's findings replaced by marks, and how many of each kind."""
        results = [one for one in self._analyzer.analyze(text, LANGUAGE) if one.entity_type not in SKIPPED]
        spans: list[tuple[int, int, str]] = []
        # Of results that begin together the longest comes first, and those that overlap it are left out.
        for one in sorted(results, key=lambda one: (one.start, -one.end)):
            # What begins behind a bracket is a mark of the first pass and must not be marked again.
            marked = text[one.start - 1 : one.start] == "["
            if one.score >= LEAST and not marked and (not spans or one.start >= spans[-1][1]):
                spans.append((one.start, one.end, MARKS.get(one.entity_type, "NATIONAL_ID")))
        return replace_spans(text, spans), Counter(kind for _, _, kind in spans)

    @cached_property
    def _analyzer(self) -> Any:
        try:
            import spacy
            from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
            from presidio_analyzer.nlp_engine import SpacyNlpEngine
        except ImportError as error:
            raise MissingExtra("the Presidio pass needs presidio-analyzer: pip install persona_rm[pii]") from error
        # The pipeline is set by hand, so the analyzer finds it loaded and does not look for a model to download.
        engine = SpacyNlpEngine(models=[{"lang_code": LANGUAGE, "model_name": "blank"}])
        engine.nlp = {LANGUAGE: spacy.blank(LANGUAGE)}
        registry = RecognizerRegistry(supported_languages=[LANGUAGE])
        registry.load_predefined_recognizers(languages=[LANGUAGE], nlp_engine=engine)
        return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[LANGUAGE])
