"""What a method reads of a request: the bare prompt, and the response without the model's thinking."""

import pytest

from persona_rm.bundle.request_reader import RequestReader, for_method, without_thinking
from persona_rm.methods import METHODS
from persona_rm.prompts import ChatTemplate
from persona_rm.types import Message, RewardRequest
from tests.methods.method_samples import make
from tests.prompts.chat_samples import LLAMA3, chat_tokenizer

TALK = (Message("user", "Tea?"), Message("assistant", "Yes."), Message("user", "Why?"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>Hm.</think>\n\nYes.", "Yes."),
        ("<think>Hm.</think>Yes. <think>Or?</think>No.", "Yes. No."),
        ("Yes.", "Yes."),
        ("<think>Hm", ""),
        ("Yes. <think>Hm", "Yes. "),
        ("Hm.</think>Yes.", "Yes."),
        ("<think></think>Yes.", "Yes."),
        ("a < b, a </b>", "a < b, a </b>"),
        ("", ""),
    ],
)
def test_thinking_is_left_out(text, left):
    assert without_thinking(text) == left
    assert without_thinking(left) == left


@pytest.mark.parametrize(
    ("text", "left"), [("Hm", ""), ("Hm.</think>Yes.", "Yes."), ("<think>Hm.</think>Yes.", "Yes.")]
)
def test_a_template_that_opens_the_thinking(text, left):
    tokenizer = chat_tokenizer("llama3", LLAMA3 + "{{ '<think>\n' if add_generation_prompt }}")
    reader = RequestReader(ChatTemplate(lambda: tokenizer), strip_think=True)
    assert reader.chat.opens_thinking
    assert reader.response(text) == left


def test_without_the_option_a_response_stays_as_it_is():
    assert RequestReader(None, strip_think=False).response("<think>Hm.</think>Yes.") == "<think>Hm.</think>Yes."


@pytest.mark.parametrize(("name", "turns"), [("pba", True), ("contrast", True), ("pba_linear", False)])
def test_methods_that_read_no_turns_get_one_text(space, name, turns):
    request = for_method(RewardRequest("u", TALK, "x"), make(name, space))
    assert METHODS.load(name).takes_messages is turns
    assert request.prompt == (TALK if turns else "User: Tea?\n\nAssistant: Yes.\n\nUser: Why?")
