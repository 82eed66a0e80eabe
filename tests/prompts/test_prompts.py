"""The formats equal the published strings, and a user's text passes through them untouched."""

from pathlib import Path

import pytest
import yaml

from persona_rm.errors import DataError, RecipeError, UnknownName
from persona_rm.prompts import ChatTemplate, load_prompts
from persona_rm.prompts.prompts import PACKAGED
from persona_rm.types import Pair, Persona, Ugc
from tests.prompts.chat_samples import chat_tokenizer

PERSONA = Persona("u", (Ugc("post A", "comment A"), Ugc("post B", "comment B")), (Pair("post C", "yes", "no"),))
NAMES = sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def test_released_ica_is_what_their_training_code_writes() -> None:
    assert load_prompts("released", chat="llama3").ica(PERSONA, "the post") == (
        "<|start_header_id|>system<|end_header_id|>\n\nGenerate a task-specific response based on user historical "
        "behavior.\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n***Task***\n\nthe post\n\n"
        "***Historical Behavior***\n\n**This person has commented on some posts:**\n\n"
        "1. *Post:*\npost A\n\n*Comment:*\ncomment A\n\n2. *Post:*\npost B\n\n*Comment:*\ncomment B\n\n"
        "**This person has chosen or rejected comments on some posts:**\n\n"
        "1. *Post:*\npost C\n\n*Chosen:*\nyes\n\n*Rejected:*\nno\n\n"
        "\n\n***Response:***\n\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
    )


def test_released_pba_without_chat_tokens() -> None:
    assert load_prompts().pba("Likes law, Young", "the post") == (
        "Generate a task-specific response based on user preferences.\n\n***Task***\n\nthe post\n\n"
        "***User Preferences***\n\nLikes law, Young\n\n***Response:***\n\n"
    )


def test_released_eval_differs_in_three_places() -> None:
    train, score = load_prompts("released").ica(PERSONA, "x"), load_prompts("released_eval").ica(PERSONA, "x")
    expected = train.replace("***Task***\n\n", "***Task***\n\n**Post:**\n")
    expected = expected.replace("historical behavior.", "historical behavior and preferences.")
    assert score == expected.replace("***Historical Behavior***", "***Historical Behavior and User Preferences***")


def test_paper_format_introduces_the_demo() -> None:
    text = load_prompts("paper").ica(Persona("u", demo="A young executive."), "x")
    assert "\n\nThis person's persona is:\n\nA young executive.\n\nResponse:\n\n" in text
    assert "commented" not in text


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_wrote_is_never_a_template(name: str) -> None:
    nasty = "{prompt} {{x}} {0} {response} %s \\1 \\n $a {'json': 1}\n\n "
    persona = Persona("u", (Ugc(nasty, nasty),), (Pair(nasty, nasty, nasty),), demo=nasty)
    assert load_prompts(name).ica(persona, nasty).count(nasty) == 7
    assert load_prompts(name).pba(nasty, nasty).count(nasty) == 2
    assert load_prompts(name).plain(nasty).count(nasty) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_persona_without_items_renders_as_plain(name: str) -> None:
    prompts = load_prompts(name)
    assert prompts.ica(Persona("u"), "x") == prompts.pba("", "x") == prompts.plain("x")
    assert prompts.plain("x") != prompts.ica(PERSONA, "x")


def test_a_chat_template_wraps_both_messages() -> None:
    prompts, tokenizer = load_prompts("released", chat="template"), chat_tokenizer("llama3")
    assert prompts.with_template(ChatTemplate(lambda: tokenizer)).plain("x") == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nGenerate a task-specific response.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n***Task***\n\nx\n\n***Response:***<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    with pytest.raises(RecipeError, match="with_template"):
        prompts.plain("x")


def test_unknown_name_lists_what_exists() -> None:
    with pytest.raises(UnknownName, match="paper, released, released_eval"):
        load_prompts("relased")


def changed(folder: Path, **changes: object) -> Path:
    content = yaml.safe_load((PACKAGED / "released.yaml").read_text())
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (content | changes).items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"surprise": "x"}, "surprise"),
        ({"task": None}, "task"),
        ({"task": "{promt}"}, "task"),
        ({"plain": "{task}"}, "plain"),
        ({"ugc": {"head": "x", "item": "{prompt}"}}, "ugc.item"),
        ({"pairs": {"head": "x"}}, "pairs.item"),
        ({"chat": "mistral"}, "chat"),
        ({"response": 3}, "response"),
    ],
)
def test_a_wrong_file_names_file_and_key(tmp_path: Path, changes: dict[str, object], key: str) -> None:
    path = changed(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"mine\.yaml, key '{key}'"):
        load_prompts(path)


@pytest.mark.parametrize("content", [b"- a list", b"a: [", b"\xff\xfe"])
def test_not_a_format_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.yaml"):
        load_prompts(path)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = changed(tmp_path, name="mine", plain="{response}{task}")
    assert load_prompts(path).plain("x").endswith("***Response:***\n\n***Task***\n\nx\n\n")
