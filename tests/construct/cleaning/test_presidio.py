"""The optional second pass."""

import importlib.util

import pytest

from persona_rm.construct.cleaning.presidio import Presidio
from persona_rm.errors import MissingExtra

INSTALLED = importlib.util.find_spec("presidio_analyzer") is not None


@pytest.mark.skipif(not INSTALLED, reason="presidio-analyzer is not installed")
def test_it_finds_what_patterns_tell_and_leaves_marks_links_and_dates():
    presidio = Presidio()
    text, marks = presidio.scrub("pay 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa or 4111 1111 1111 1111")
    assert text == "pay [WALLET] or [CARD]"
    assert marks == {"WALLET": 1, "CARD": 1}
    plain = "On 2015-02-01 [EMAIL] said see https://example.org/page for $1,299.99 and version 1.2.3"
    assert presidio.scrub(plain) == (plain, {})


@pytest.mark.skipif(INSTALLED, reason="presidio-analyzer is installed")
def test_without_it_the_message_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[pii\]"):
        Presidio().scrub("text")
