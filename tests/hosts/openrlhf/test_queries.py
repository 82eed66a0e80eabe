import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_rm.bundle import write_bundle
from persona_rm.errors import HostError, ScoreError
from persona_rm.hosts.openrlhf.queries import (
    bare_prompt,
    in_form_of,
    policy_chat,
    policy_text,
    strip_prompt,
    strip_special,
)
from persona_rm.prompts import ChatTemplate
from persona_rm.types import Message, Persona
from tests.prompts.chat_samples import chat_tokenizer

PROMPT = "a prompt of more than sixteen letters:"
SLOW = re.compile(
    r"(?:\s*(?:</?s>|<pad>|<eos>|<end_of_turn>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>\s]+\uff5c>|\[PAD\]))+\s*\Z"
)
"""The rule in one pattern, which takes quadratic time."""


@pytest.mark.parametrize(
    ("query", "prompt", "response"),
    [
        ("Hello? Yes.<eos>", "Hello?", " Yes."),
        ("Hello? Yes.<|im_end|>\n<|endoftext|>\n", "Hello?", " Yes."),
        ("Hello? Yes.</s><pad>[PAD]", "Hello?", " Yes."),
        ("Hello?<\uff5cend\uff5c>", "Hello?", ""),
        ("Hello? a <b>bold</b>\n", "Hello?", " a <b>bold</b>\n"),
        ("Hello? <s>x", "Hello?", " <s>x"),
        (PROMPT[5:] + " yes", PROMPT, " yes"),
        ("aab" * 9 + "c yes", "aab" * 12 + "c", " yes"),
        ("answer", "", "answer"),
        ("", "", ""),
    ],
)
def test_the_answer_inside_the_query(query, prompt, response):
    assert strip_prompt(query, prompt)[0] == response


@pytest.mark.parametrize(
    ("query", "prompt"), [("no", PROMPT), ("", "x"), (PROMPT[-10:] + " yes", PROMPT), ("x", "xy")]
)
def test_a_query_without_its_prompt_is_an_error_without_the_texts(query, prompt):
    with pytest.raises(ScoreError, match="does not begin with its prompt") as error:
        strip_prompt(query, prompt)
    assert "letters" not in str(error.value)


@given(
    st.lists(st.sampled_from([" ", "\n", "<eos>", "</s>", "<|end|>", "<|x", "a", "|>", "\u3000", "[PAD]"]), max_size=9)
)
def test_special_tokens_go_as_the_one_pattern_says(parts):
    text = "".join(parts)
    assert strip_special(text) == SLOW.sub("", text)


@given(st.text("ab", max_size=40), st.text("ab", max_size=30))
def test_the_longest_end_of_the_prompt_that_opens_the_query_counts(query, prompt):
    least = min(len(prompt), 16)
    starts = [i for i in range(len(prompt) - least + 1) if query.startswith(prompt[i:])]
    if not starts:
        with pytest.raises(ScoreError):
            strip_prompt(query, prompt)
    else:
        assert strip_prompt(query, prompt)[0] == query[len(prompt) - starts[0] :]


@pytest.mark.parametrize("tail", ["\n" * 300_000 + "x", "<eos>" * 60_000 + "x", "<|" * 150_000, "<eos>\n" * 50_000])
def test_a_policy_that_repeats_itself_takes_linear_time(tail):
    assert strip_prompt(PROMPT + tail, PROMPT)[0] == (tail if tail.strip()[-1] != ">" else "")
    with pytest.raises(ScoreError):
        strip_prompt("a" * 200_000, "a" * 100_000 + "b" + "a" * 10)


def test_a_prompt_that_was_cut_inside_a_character_is_found():
    prompt = "\u4f60\u597d\U0001f600" * 12
    whole = (prompt + " yes").encode()
    for cut in range(1, 40):
        query = whole[cut:].decode(errors="replace")
        assert strip_prompt(query, prompt)[0] == " yes"


@pytest.mark.parametrize(
    ("query", "response", "finished"),
    [
        ("Hello? Yes.[|endofturn|]", " Yes.", True),
        ("Hello? Yes.<turn|>[|endofturn|]<pad>", " Yes.", True),
        ("Hello? Yes.</s>", " Yes.</s>", False),
        ("Hello? Yes", " Yes", False),
    ],
)
def test_the_policys_tokenizer_says_where_the_answer_ends(query, response, finished):
    tokenizer = chat_tokenizer("none")
    assert strip_prompt(query, "Hello?", ChatTemplate(lambda: tokenizer)) == (response, finished)


def test_common_spellings_say_it_without_a_tokenizer():
    assert strip_prompt("Hello? Yes.</s>", "Hello?") == (" Yes.", True)
    assert strip_prompt("Hello? Yes", "Hello?") == (" Yes", False)


def test_the_tokenizer_is_that_of_the_bundle(tmp_path, caplog):
    chat_tokenizer("none").save_pretrained(tmp_path / "tokenizer")
    users, keys = [Persona("u")], {"method": {"name": "bradley_terry"}, "inferrer": None}
    known = write_bundle(tmp_path / "a", users, tokenizer=str(tmp_path / "tokenizer"), **keys)
    chat = policy_chat({"PERSONA_RM_BUNDLE": str(known)})
    assert chat.tokenizer.eos_token == "[|endofturn|]"
    assert not caplog.records
    assert policy_chat({"PERSONA_RM_BUNDLE": str(write_bundle(tmp_path / "b", users, **keys))}) is None
    assert "names no tokenizer" in caplog.text


def test_a_prompt_of_the_data_set_may_be_messages():
    tokenizer = chat_tokenizer("llama3")
    chat = ChatTemplate(lambda: tokenizer)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}]
    turns = (Message("system", "Be brief."), Message("user", "Tea?"))
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert bare_prompt(messages, chat) == bare_prompt(rendered, chat) == turns
    assert bare_prompt("Tea?", chat) == "Tea?"
    assert in_form_of("Why?", turns) == (Message("user", "Why?"),)
    assert in_form_of("Why?", "Tea?") == "Why?"
    assert policy_text(turns, turns, chat) == policy_text(rendered, turns, chat) == rendered
    with pytest.raises(HostError, match="chat: template"):
        policy_text("***Task***", turns, chat)
