"""Rendered prompts are unwrapped and never wrapped again, and control tokens that users type stay words."""

from datetime import datetime

import pytest

from persona_rm.errors import DataError, RecipeError
from persona_rm.prompts import ChatTemplate, load_prompts, read_prompt
from persona_rm.types import Message, Persona, Ugc
from tests.prompts.chat_samples import chat_tokenizer

KINDS = ("llama3", "chatml", "gemma")
TALK = (
    Message("user", "Tea?"),
    Message("assistant", "Yes, tea.\n\nOr coffee."),
    Message("user", "Why?"),
)
CONVERSATIONS = {
    "one turn": (Message("user", "Tea?"),),
    "several turns": TALK,
    "many turns": (*TALK, Message("assistant", "So."), Message("user", "Oh.")),
    "a system turn": (Message("system", "Be brief."), Message("user", "Tea?")),
    "a system turn and several turns": (Message("system", "Be brief."), *TALK),
    "an empty turn": (Message("user", ""),),
}


def chat_of(kind="llama3", template=None):
    tokenizer = chat_tokenizer(kind, template)
    return ChatTemplate(lambda: tokenizer)


def host(chat, messages):
    """What OpenRLHF does with `--data.apply_chat_template`."""
    turns = [message._asdict() for message in messages]
    return chat.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def count(chat, text, token):
    return chat.tokenizer(text, add_special_tokens=False)["input_ids"].count(
        chat.tokenizer.convert_tokens_to_ids(token)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_rendered_prompt_gives_its_messages_back(kind, name):
    chat, messages = chat_of(kind), CONVERSATIONS[name]
    if kind == "gemma" and messages[0].role == "system":
        pytest.skip("the host cannot render it")
    assert chat.unwrap(host(chat, messages)) == messages
    assert chat.unwrap(messages) == messages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["Tea?", "", "user: Tea?\nassistant: ", "a <|im_end|> b", "<|eot_id|>", "[INST] Tea?"]
)
def test_a_bare_prompt_stays_as_it_is(kind, text):
    assert chat_of(kind).unwrap(text) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_is_nearly_rendered_is_refused_without_its_text(kind):
    chat = chat_of(kind)
    rendered = host(chat, CONVERSATIONS["one turn"])
    for text in (rendered[:-3], rendered + "Well,", rendered.replace("Tea?", "Tea?\n\n", 1) + "x"):
        with pytest.raises(DataError, match="begins as one that was rendered") as caught:
            chat.unwrap(text)
        assert "Tea" not in str(caught.value)


LLAMA31_HEAD = (
    "{{ bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% endif %}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' }}"
    "{{ date_string }}{{ '\n\n' + system + '<|eot_id|>' }}"
)
DATED = {
    "llama 3.1": LLAMA31_HEAD
    + "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "two formats": "{{ bos_token }}<|start_header_id|>{{ strftime_now('%Y-%m-%d') }} ({{ strftime_now('%A') }}, "
    "{{ strftime_now('%Y-%m-%d') }})<|eot_id|>{% for m in messages %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>{{ m['content'] }}<|eot_id|>{% endfor %}"
    "<|start_header_id|>assistant<|end_header_id|>",
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("template", DATED)
def test_a_prompt_that_was_rendered_on_another_day_gives_its_messages_back(template, name):
    chat, messages = chat_of("llama3", DATED[template]), CONVERSATIONS[name]
    turns = [message._asdict() for message in messages]
    for day in (datetime(2024, 7, 26), datetime(2031, 12, 1), datetime.now()):
        given = chat.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, strftime_now=day.strftime
        )
        assert f"{day.year}" in given
        assert chat.unwrap(given) == messages
        assert chat.unwrap(chat.render(chat.unwrap(given))) == messages


def test_a_date_that_the_caller_of_the_template_chose_is_read_and_a_broken_prompt_is_still_refused():
    chat = chat_of("llama3", DATED["llama 3.1"])
    own = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Tea?"}], tokenize=False, add_generation_prompt=True, date_string="1. Mai 24"
    )
    assert "Today Date: 1. Mai 24\n" in own
    assert chat.unwrap(own) == (Message("user", "Tea?"),)
    for text in (own[:-3], own + "Well,", own.replace("1. Mai 24", "1. Mai\n24")):
        with pytest.raises(DataError, match="begins as one that was rendered"):
            chat.unwrap(text)


def test_a_template_that_changes_its_date_is_read_on_the_same_day():
    chat = chat_of("llama3", DATED["two formats"].replace("strftime_now('%A')", "strftime_now('%A') | upper"))
    assert chat.unwrap(host(chat, TALK)) == TALK


def test_a_tokenizer_without_a_template():
    chat = chat_of("none")
    assert chat.unwrap("<bos>Tea?") == "<bos>Tea?"
    with pytest.raises(RecipeError, match="no chat template"):
        chat.render((Message("user", "Tea?"),))


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_in_texts_of_users_stay_words(kind):
    chat = chat_of(kind)
    prompts = load_prompts(chat="template").with_template(chat)
    clean = prompts.ica(Persona("u", (Ugc("post", "comment"),), demo="demo"), (Message("user", "Tea?"),))
    for token in chat.tokenizer.all_special_tokens:
        nasty = f"{token}{token} x {token}"
        persona = Persona("u", (Ugc(f"post{nasty}", f"comment{nasty}"),), demo=f"demo{nasty}")
        rendered = prompts.ica(persona, (Message("user", f"Tea?{nasty}"),))
        assert count(chat, rendered, token) == count(chat, clean, token), token
        assert chat.unwrap(rendered)[-1].role == "user"
        assert chat.escape(chat.escape(nasty)) == chat.escape(nasty)


def test_a_word_that_is_a_token_but_controls_nothing_is_not_escaped():
    tokenizer = chat_tokenizer("llama3")
    tokenizer.add_tokens(["Older", "<tool>"])
    chat = ChatTemplate(lambda: tokenizer)
    assert chat.escape("Older <tool> </s>") == "Older <tool> </s>"


def test_an_added_token_that_the_template_writes_is_a_control_token():
    tokenizer = chat_tokenizer("none", "{% for m in messages %}<User>{{ m['content'] }}{% endfor %}<Bot>")
    tokenizer.add_tokens(["<User>", "<Bot>", "<Other>"])
    assert ChatTemplate(lambda: tokenizer).escape("<User> <Other>") == "< User> <Other>"


@pytest.mark.parametrize("kind", KINDS)
def test_the_persona_enters_the_last_user_turn_and_system_turns_are_kept(kind):
    chat = chat_of(kind)
    prompts = load_prompts(chat="template").with_template(chat)
    rendered = prompts.pba("Likes law", CONVERSATIONS["a system turn and several turns"])
    *before, last = chat.unwrap(rendered)
    line = "Generate a task-specific response based on user preferences."
    assert last.content.strip().startswith("***Task***\n\nWhy?\n\n***User Preferences***\n\nLikes law")
    assert rendered.index("Be brief.\n\n" + line) < rendered.index("Tea?") < rendered.index("Yes, tea.")
    assert [turn.role for turn in before] == ["system"] * (kind != "gemma") + ["user", "assistant"]
    assert rendered.count("***Task***") == 1
    bos = chat.tokenizer.bos_token
    assert count(chat, rendered, bos) == (kind != "chatml")


def test_formats_with_one_turn_get_a_conversation_as_one_text():
    prompts = load_prompts()
    assert prompts.plain((Message("user", "Tea?"),)) == prompts.plain("Tea?")
    rendered = prompts.plain(CONVERSATIONS["a system turn and several turns"])
    assert rendered == "Be brief.\n\n" + prompts.plain(
        "User: Tea?\n\nAssistant: Yes, tea.\n\nOr coffee.\n\nUser: Why?"
    )


@pytest.mark.parametrize(
    ("kind", "text", "kept", "ended"),
    [
        ("llama3", "Yes.<|eot_id|>", "Yes.", True),
        ("llama3", "Yes.</s>", "Yes.</s>", False),
        ("none", "Yes.[|endofturn|]", "Yes.", True),
        ("none", "Yes. <turn|>\n[|endofturn|]<pad><pad>", "Yes.", True),
        ("none", "Yes.<|im_end|>", "Yes.<|im_end|>", False),
        ("none", "Yes. \n", "Yes. \n", False),
        ("none", "[|endofturn|]", "", True),
    ],
)
def test_the_tokenizer_says_where_an_answer_ends(kind, text, kept, ended):
    assert chat_of(kind).split_end(text) == (kept, ended)


def test_ids_become_text_without_special_tokens_and_thinking_stays():
    tokenizer = chat_tokenizer("llama3")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    ids = tokenizer("<think>Hm.</think>Yes.<|eot_id|>", add_special_tokens=False)["input_ids"]
    assert ChatTemplate(lambda: tokenizer).response(ids) == "<think>Hm.</think>Yes."


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "at least one"),
        (7, "found int"),
        (
            [{"role": "tutor", "content": "x"}],
            "message 1 has the unknown role 'tutor'; a role is one of: system",
        ),
        ([{"role": "my secret", "content": "x"}], "message 1 has a role that is no word"),
        ([{"role": "user"}], "an object with role and content, found the keys role"),
        ([{"role": "user", "content": 3}], "must have text as its content.*found int"),
        ([{"my secret text": 1}], r"found the keys \.\.\.$"),
        ([{"role": "user", "content": [{"type": "image"}]}], "must have text as its content; images"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "message 2 is a system turn"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "the last message"),
    ],
)
def test_a_prompt_that_is_none_says_why(value, problem):
    with pytest.raises(DataError, match=problem):
        read_prompt(value)


def test_a_prompt_is_a_text_or_messages():
    assert read_prompt("Tea?") == "Tea?"
    parts = [{"type": "text", "text": "Tea"}, {"type": "text", "text": "?"}]
    assert read_prompt([{"role": "user", "content": parts}]) == (Message("user", "Tea?"),)
