"""`summary` with real vLLM and the packaged model."""

import json

import pytest

from persona_rm.backends.base import Backends
from persona_rm.inferrers.item_reader import BOTH_POLES, NO_LABEL, labels_schema, read_labels
from persona_rm.inferrers.summary import CUT, Summary, SummaryConfig
from persona_rm.types import Pair, Persona, Ugc

WHO = Persona(
    "ann",
    tuple(Ugc(f"What about day {i}?", "I read physics journals. Keep it short.") for i in range(3)),
    (Pair("What now?", "We talked until dawn.", "A quick hello will do."),),
)


@pytest.mark.slow
def test_a_real_profile_is_written_updated_and_read_back(engine, space):
    """The packaged model has read no instructions: what it says is noise. That the labels are of the space, and the
    profile is the model's own, is what is seen here."""
    config = SummaryConfig(chunk=3, max_tokens=60, labels=4, max_label_tokens=512)
    summary = Summary(config, space, Backends(generator=engine))
    text = summary.write(WHO)
    assert text
    assert summary.update(text, [Ugc("Where to?", "Let us reach the hills.")]) != text
    found = summary.parse(text)
    assert sum(map(bool, found.directions)) <= 4
    assert summary.unread.keys() <= {CUT, BOTH_POLES}, "a schema leaves no room for other labels"
    assert summary.infer(WHO).directions == found.directions
    assert summary.infer(WHO).n_items == 4


@pytest.mark.slow
def test_real_answers_under_the_schema_are_labels(engine, space):
    prompts = ["I read physics journals. Labels:", "Applause keeps me going. Labels:"]
    for answer in engine.generate(prompts, max_tokens=512, schema=labels_schema(space, 3)):
        left_out = read_labels(answer.text, space)[1]
        assert NO_LABEL not in left_out
        assert len(json.loads(answer.text)["labels"]) <= 3
