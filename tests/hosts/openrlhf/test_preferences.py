"""The layouts of preference data, as the host's own code reads them."""

import pytest

from persona_rm.errors import DataError
from persona_rm.hosts import load_host
from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Message, Pair, text_of

HOST = load_host("openrlhf")


def row(**data):
    return JsonRow(data, "prefs.jsonl", 3)


def turn(role, content):
    return {"role": role, "content": content}


ASKED, YES, NO = turn("user", "Well?"), turn("assistant", "Yes."), turn("assistant", "No.")


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "Well?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": [ASKED], "chosen": [YES], "rejected": [NO]},
        {"chosen": [ASKED, YES], "rejected": [ASKED, NO]},
        {"prompt": None, "chosen": [ASKED, YES], "rejected": [ASKED, NO]},
    ],
)
def test_all_layouts_of_the_host_are_the_same_pair(given):
    assert HOST.read_preference(row(**given)) == ("Well?", "Yes.", "No.")


def test_empty_responses_are_legal():
    assert HOST.read_preference(row(prompt="p", chosen="", rejected="x")).chosen == ""


def test_several_turns_keep_their_roles():
    prompt = [turn("system", "Be brief."), ASKED, YES, turn("user", "Why?")]
    read = HOST.read_prompt(row(prompt=prompt))
    assert read == tuple(Message(**one) for one in prompt)
    assert text_of(read) == "User: Well?\n\nAssistant: Yes.\n\nUser: Why?"


@pytest.mark.parametrize(
    ("given", "key", "problem"),
    [
        ({"chosen": "a", "rejected": "b"}, "prompt", "missing"),
        ({"prompt": "p", "rejected": "b"}, "chosen", "missing"),
        ({"prompt": "p", "chosen": "a", "rejected": 3}, "rejected", "must be text"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "prompt", "empty"),
        ({"prompt": [YES], "chosen": "a", "rejected": "b"}, "prompt", "ends with a message of the user"),
        ({"prompt": [ASKED], "chosen": [ASKED], "rejected": [NO]}, "chosen", "ends with a message of the assistant"),
        ({"chosen": [ASKED, YES], "rejected": [turn("user", "Hm?"), NO]}, "chosen", "different prompts"),
        ({"chosen": [YES], "rejected": [NO]}, "chosen", "no message before the response"),
        ({"prompt": [turn("bot", "x")], "chosen": "a", "rejected": "b"}, "prompt", "unknown role 'bot'"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "prompt", "role and content"),
    ],
)
def test_a_row_that_the_host_cannot_read_names_its_key(given, key, problem):
    with pytest.raises(DataError, match=problem) as error:
        HOST.read_preference(row(**given))
    assert (error.value.file, error.value.row, error.value.key) == ("prefs.jsonl", 3, key)


def test_other_columns_stay_and_responses_can_change_places():
    given = {"prompt": "p", "chosen": [YES], "rejected": [NO], "source": 1}
    assert HOST.preference_row(given, None, 2.0) == {**given, "margin": 2.0}
    turned = HOST.preference_row(given, None, 2.0, turned=True)
    assert turned == {"prompt": "p", "chosen": [NO], "rejected": [YES], "source": 1, "margin": 2.0}
    texts = HOST.preference_row(given, Pair("q", "a", "b"), 0.5)
    assert texts == {"prompt": "q", "chosen": "a", "rejected": "b", "source": 1, "margin": 0.5}


def test_the_flags_are_those_of_a_dpo_job(tmp_path):
    flags = HOST.preference_flags(tmp_path / "rows.jsonl")
    job = HOST.dpo_job(tmp_path, tmp_path / "rows.jsonl", tmp_path, {}, "cpu")
    given = dict(zip(job.argv[3::2], job.argv[4::2], strict=True))
    assert {f"--{key}": value for key, value in flags.items()}.items() <= given.items()
