"""Descriptions by a language model: what is asked, what is taken, when the template speaks."""

import json

import pytest

from persona_rm.annotators.base import Reading
from persona_rm.backends.base import Generation
from persona_rm.construct.config import DemoConfig
from persona_rm.construct.demo import agrees, describe, described, question
from persona_rm.construct.pairing.rules import demo
from persona_rm.types import Example, Persona

CONFIG = DemoConfig(by="llm")


class Model:
    """A generator with given answers, which remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = answers, []

    def generate(self, prompts, *, max_tokens, schema=None, choices=None):
        self.asked += prompts
        return [answer if isinstance(answer, Generation) else Generation(text=answer) for answer in self.answers]


class Reader:
    """An annotator that reads levels from a table of texts."""

    def __init__(self, table, space):
        self.table, self.space = table, space

    def read(self, prompts, comments, variant=0):
        return [self.table[comment.text] for comment in comments]


def ways(space, **given):
    return tuple(given.get(id_, 0) for id_ in space.ids)


def reading(space, **given):
    return Reading(tuple(2 + given.get(id_, 0) for id_ in space.ids), (1.0,) * len(space))


def example(space, number=0, **given):
    return Example(f"e{number}", "Tell me {all}", "I go out a lot", "I stay in", ways(space, **given), Persona("u"))


def answer(text):
    return json.dumps({"reason": "r", "textual persona": text, "dimension description": {}})


def test_the_question_holds_the_pair_the_dimensions_and_the_keywords(space):
    asked = question(example(space, extraversion=1), space)
    assert "<Response 1>\nI go out a lot\n<Response 2>\nI stay in" in asked
    assert "Query:\nTell me {all}" in asked
    assert "47. " in asked
    assert "48. " not in asked
    assert "stationery and planners" in asked


@pytest.mark.parametrize(
    ("generation", "why"),
    [
        (Generation(error="timed out"), "the model gave no answer"),
        (Generation(text="A person who"), "the answer is not JSON"),
        (Generation(text="[1]"), "the answer has no 'textual persona'"),
        (Generation(text=json.dumps({"textual persona": "  "})), "the answer has no 'textual persona'"),
        (Generation(text=json.dumps({"textual persona": 3})), "the answer has no 'textual persona'"),
    ],
)
def test_an_answer_that_is_none_has_a_reason(generation, why):
    assert described(generation) == ("", why)


def test_agreement_is_about_what_the_text_speaks_of():
    pair = (1, -1, 1, 0)
    assert agrees((1, 0, 0, 0), pair, 0.6)
    assert agrees((1, -1, -1, 0), pair, 0.6)
    assert not agrees((1, 1, -1, 0), pair, 0.6)
    assert not agrees((0, 0, 0, 0), pair, 0.6), "a text that says nothing agrees with nothing"
    assert not agrees((0, 0, 0, 1), pair, 0.6), "nor does one that speaks about something else"


def test_a_description_is_kept_where_it_is_read_back_as_the_pair_says(space):
    examples = [example(space, i, extraversion=1, likes_sports=1) for i in range(5)]
    texts = ["An outgoing sportsman", "A hermit", "Unreadable"]
    reader = Reader(
        {
            "An outgoing sportsman": reading(space, extraversion=1, likes_sports=1),
            "A hermit": reading(space, extraversion=-1),
            "Unreadable": Reading(error="is empty"),
        },
        space,
    )
    model = Model(*map(answer, texts), "no JSON", Generation(error="x"))
    found = describe(examples, CONFIG, space, model, reader)
    template = demo(examples[0].directions, space)
    assert found == [
        ("An outgoing sportsman", ""),
        (template, "the description does not agree with the pair"),
        (template, "the description could not be read back"),
        (template, "the answer is not JSON"),
        (template, "the model gave no answer"),
    ]
    assert len(model.asked) == 5
