"""`summary` over a generator whose answers a test writes, and over a real server."""

import json
import logging

import numpy as np
import pytest

from persona_rm.backends.base import Backends, Generation
from persona_rm.backends.openai_http import HttpConfig, HttpGenerator
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.item_reader import BOTH_POLES, NO_LABEL
from persona_rm.inferrers.summary import CUT, PACKAGED, in_time
from persona_rm.io.text import shorten
from persona_rm.types import Pair, Persona, Ugc
from tests.http_samples import Server, chat
from tests.inferrers.inferrer_samples import make, toy_space

SPACE = toy_space(4)


def labels(*names):
    return json.dumps({"labels": names})


class Scripted:
    """Answers in the order of the script; keeps (prompt, what was given with it)."""

    def __init__(self, *script):
        self.script, self.asked, self.calls = list(script), [], 0

    def generate(self, prompts, **given):
        self.calls += 1
        self.asked += [(prompt, given) for prompt in prompts]
        answers = [self.script.pop(0) for _ in prompts]
        return [one if isinstance(one, Generation) else Generation(one) for one in answers]


def summary(generator, **config):
    return make("summary", SPACE, Backends(generator=generator), **config)


def person(n, user="ann", **more):
    return Persona(
        user, tuple(Ugc(f"post {i}", f"said {i}.", created=f"2024-01-{i + 1:02}") for i in range(n)), **more
    )


def test_it_is_written_from_the_first_items_and_updated_with_the_new_ones_only():
    model = Scripted("Profile A.", " Profile B. ")
    assert summary(model, chunk=2).write(person(3)) == "Profile B."
    first, second = (prompt for prompt, _ in model.asked)
    assert "said 0." in first
    assert "said 1." in first
    assert "Profile" in second
    assert "Profile A." in second
    assert "said 2." in second
    assert "said 0." not in second
    assert "said 1." not in second
    assert model.asked[0][1] == {"max_tokens": 400}


def test_update_is_one_step_and_nothing_new_asks_nobody():
    model = Scripted("New.")
    one = summary(model)
    assert one.update("Old.", [Ugc("post", "said"), Pair("question", "this", "that")]) == "New."
    prompt = model.asked[0][0]
    assert prompt.index("Old.") < prompt.index("said") < prompt.index("this") < prompt.index("that")
    assert one.update("Old.", []) == "Old."
    assert model.calls == 1


def test_items_come_in_the_order_of_time_each_once_and_undated_ones_first():
    late, early, never = Ugc("p", "late", created="2024-03-01"), Ugc("p", "early", created="2024-01-01"), Ugc("p", "x")
    between = Pair("p", "a", "b", created="2024-02-01T12:00:00Z")
    assert in_time(Persona("ann", (late, early, never, late), (between,))) == [never, early, between, late]


def test_a_demographic_text_is_the_profile_to_begin_with():
    model = Scripted("Profile.")
    assert summary(model).write(Persona("bob", demo="A cook.")) == "A cook."
    assert model.calls == 0
    summary(model).write(person(1, demo="A cook."))
    assert "A cook." in model.asked[0][0]


def test_many_people_are_asked_in_rounds():
    model = Scripted("a1", "b1", "b2", labels("High d0"), labels("Low d0"))
    found = summary(model, chunk=1).infer_many([person(1), person(2, "bob"), Persona("cyd")])
    assert model.calls == 3
    assert [one.directions[0] for one in found] == [1, -1, 0]
    assert [(one.n_items, one.cold) for one in found] == [(1, False), (2, False), (0, True)]
    assert "b1" in model.asked[2][0]


def test_probabilities_are_the_settings():
    found = summary(Scripted(labels("High d0", "Low d2")), confidence=0.7, silent=0.8).parse("text")
    assert found.directions == (1, 0, -1, 0)
    neutral = (0.1, 0.8, 0.1)
    expected = [(0.15, 0.15, 0.7), neutral, (0.7, 0.15, 0.15), neutral]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-12)


def test_labels_are_read_strictly_and_what_is_left_out_is_counted():
    one = summary(
        Scripted(labels("high D0", "High d0", "a made-up label", "Low d1", "High d1", "", "High d0, Low d3"))
    )
    assert one.parse("text").directions == (1, 0, 0, 0)
    assert one.unread == {NO_LABEL: 3, BOTH_POLES: 1}


def test_a_list_without_labels_says_nothing():
    one = summary(Scripted(labels()))
    assert one.parse("text").directions == SPACE.neutral
    assert not one.unread


def test_the_labels_are_asked_for_by_schema():
    model = Scripted(labels())
    summary(model, labels=2).parse("The text.")
    prompt, given = model.asked[0]
    listed = given["schema"]["properties"]["labels"]
    assert listed["items"]["enum"] == [f"{side} d{i}" for i in range(4) for side in ("High", "Low")]
    assert listed["maxItems"] == 2
    assert "High d3 | Low d3" in prompt
    assert prompt.index("High d3") < prompt.index("The text.")


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ("High d0", r"user 'ann': .*answer \(7 characters\) is not JSON"),
        ('{"labels": "High d0"}', "no object with a list of 'labels'"),
        ('["High d0"]', "no object"),
        (labels("secret", "secret 2"), "none of the 2 labels .* space simulator"),
        (Generation(error="too long"), "user 'ann': the model gave no labels: too long"),
    ],
)
def test_a_profile_that_cannot_be_parsed_is_an_error_without_its_text(answer, match):
    with pytest.raises(DataError, match=match) as caught:
        summary(Scripted("secret", answer)).infer(person(1))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Generation(error="the prompt is too long"), "user 'ann': the model gave no profile: the prompt is too long"),
        ("  \n", "user 'ann': the model gave no profile: the answer is empty"),
    ],
)
def test_no_profile_is_made_up(answer, match):
    with pytest.raises(DataError, match=match):
        summary(Scripted("Old.", answer), chunk=1).write(person(2))


def test_a_profile_that_was_cut_is_counted():
    one = summary(Scripted(Generation("A", output_tokens=5), Generation("B", output_tokens=4)), max_tokens=5, chunk=1)
    one.write(person(2))
    assert one.unread == {CUT: 1}


def test_a_generator_that_loses_answers_is_an_error():
    class Lossy:
        def generate(self, prompts, **given):
            return []

    with pytest.raises(DataError, match="asked for 1 answers and gave 0"):
        summary(Lossy()).write(person(1))


def test_long_texts_lose_their_middle():
    model = Scripted("P.")
    text = "a" * 90 + "b" * 60 + "c" * 40
    summary(model, max_chars=100).write(Persona("ann", (Ugc("p", text),)))
    short = shorten(text, 100)
    assert len(short) == 100
    assert short in model.asked[0][0]
    assert text not in model.asked[0][0]
    assert (short[0], short[-1]) == ("a", "c")


def test_braces_of_people_stay_braces():
    model = Scripted("P {items} {summary}", "Q")
    summary(model, chunk=1).write(Persona("ann", (Ugc("{number}", "{comment}"), Ugc("p", "{summary}"))))
    assert "Under the post: {number}\nThe person wrote: {comment}" in model.asked[0][0]
    assert "P {items} {summary}" in model.asked[1][0]


def test_only_the_items_given_are_read():
    model = Scripted("P.", labels())
    one, who = summary(model), person(3)
    assert one.read(one.items(who)[1:], who, "").n_items == 2
    assert "said 0." not in model.asked[0][0]


def test_a_file_of_other_prompts(tmp_path):
    file = tmp_path / "mine.yaml"
    text = PACKAGED.read_text(encoding="utf-8")
    file.write_text(text.replace("Below is what a person", "HERE is what a person"), encoding="utf-8")
    model = Scripted("P.")
    summary(model, wording=str(file)).write(person(1))
    assert model.asked[0][0].startswith("HERE")
    file.write_text(text.replace("{items}", ""), encoding="utf-8")
    with pytest.raises(DataError, match=r"mine.yaml, key 'first'.*needs \['items'\]"):
        summary(model, wording=str(file)).write(person(1))
    file.write_text("first: x", encoding="utf-8")
    with pytest.raises(DataError, match="no SummaryPrompts"):
        summary(model, wording=str(file)).write(person(1))
    with pytest.raises(DataError, match="no prompts here"):
        summary(model, wording=str(tmp_path / "none.yaml")).write(person(1))


def test_without_a_generator_it_says_so():
    with pytest.raises(RecipeError, match="inferrer summary needs a generator"):
        summary(None).infer(person(1))


def test_over_a_real_server_with_canned_answers(caplog):
    def answer(prompt, n):
        if "Labels:" in prompt:
            return chat(labels("Low d1") if "loves d0" in prompt else labels())
        return chat("The person loves d0." if "Profile so far" in prompt else "The person is new.")

    server = Server(answer)
    caplog.set_level(logging.DEBUG)
    try:
        model = HttpGenerator(HttpConfig(base_url=server.url, model="m", retries=0, timeout=5.0))
        found = summary(model, chunk=2).infer(person(3))
    finally:
        server.stop()
    assert found.directions == (0, -1, 0, 0)
    assert len(server.bodies) == 3
    formats = [body.get("response_format", {}).get("type") for _, body in server.bodies]
    assert formats == [None, None, "json_schema"]
    assert "loves" not in caplog.text
    assert "said" not in caplog.text
