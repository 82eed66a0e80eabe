"""Chat messages in users files, as the texts that rewards read."""

import json

import pytest

from persona_rm import DataError, Pair
from persona_rm.prompts.chat_messages import prompt_text, read_messages, split_response
from persona_rm.users.read_file import read_users_data

ASK = {"role": "user", "content": "Tea?"}
SYSTEM = {"role": "system", "content": "Be short."}


def say(text):
    return {"role": "assistant", "content": text}


def read(tmp_path, **row):
    path = tmp_path / "users.jsonl"
    path.write_text(json.dumps({"user": "u", **row}) + "\n", encoding="utf-8")
    data = read_users_data(path)
    return data.users[0].persona.pairs, data


def test_one_user_turn_is_its_text_and_several_are_a_transcript():
    assert prompt_text(read_messages([ASK])) == "Tea?"
    turns = read_messages([SYSTEM, ASK, say("Black."), {"role": "user", "content": "Milk?"}])
    assert prompt_text(turns) == "User: Tea?\n\nAssistant: Black.\n\nUser: Milk?"


def test_the_last_turn_is_the_response():
    before, response = split_response(read_messages([ASK, say("Black.")]))
    assert (prompt_text(before), response) == ("Tea?", "Black.")
    with pytest.raises(DataError, match="ends with a message of the assistant"):
        split_response(read_messages([ASK]))


def test_content_in_parts():
    parts = [{"type": "text", "text": "Te"}, {"type": "text", "text": "a?"}]
    assert read_messages([{"role": "user", "content": parts}])[0].content == "Tea?"
    with pytest.raises(DataError, match="message 1 must have text as its content; images"):
        read_messages([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}])
    with pytest.raises(DataError, match="an object with role and content, found the keys from, value"):
        read_messages([{"from": "human", "value": "x"}])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Tea?", "chosen": "Black.", "rejected": "Green."},
        {"prompt": [ASK], "chosen": [say("Black.")], "rejected": [say("Green.")]},
        {"chosen": [ASK, say("Black.")], "rejected": [ASK, say("Green.")]},
        {"prompt": "Tea?", "chosen": [ASK, say("Black.")], "rejected": [ASK, say("Green.")]},
        {"prompt": [ASK], "chosen": "Black.", "rejected": "Green."},
    ],
    ids=["texts", "explicit", "implicit", "both", "mixed"],
)
def test_the_forms_in_which_preference_data_come(tmp_path, row):
    pairs, _ = read(tmp_path, **row)
    assert pairs == (Pair("Tea?", "Black.", "Green."),)


def test_a_system_message_is_left_out_and_counted(tmp_path):
    pairs, data = read(tmp_path, prompt=[SYSTEM, ASK], chosen="Black.", rejected="")
    assert pairs == (Pair("Tea?", "Black.", ""),)
    assert [finding.count for finding in data.findings if finding.kind == "system_message"] == [1]


def test_a_system_message_in_the_middle_costs_no_row(tmp_path):
    pairs, data = read(tmp_path, prompt=[ASK, say("Black."), SYSTEM, ASK], chosen="a", rejected="b")
    assert pairs == (Pair("User: Tea?\n\nAssistant: Black.\n\nUser: Tea?", "a", "b"),)
    assert "system_message" in [finding.kind for finding in data.findings]


def test_prompts_that_differ_or_are_missing(tmp_path):
    other = {"role": "user", "content": "Milk?"}
    with pytest.raises(DataError, match="chosen and rejected have different prompts in their messages"):
        read(tmp_path, chosen=[ASK, say("a")], rejected=[other, say("b")])
    with pytest.raises(DataError, match="key 'chosen': its messages have another prompt than the row"):
        read(tmp_path, prompt="Tea?", chosen=[other, say("a")], rejected="b")
    with pytest.raises(DataError, match="chosen and rejected come without a prompt"):
        read(tmp_path, chosen="a", rejected="b")


def test_messages_in_a_cell_of_csv(tmp_path):
    cell = json.dumps([ASK]).replace('"', '""')
    path = tmp_path / "users.csv"
    path.write_text(f'user,prompt,chosen,rejected\nu,"{cell}",Black.,Green.\n', encoding="utf-8")
    assert read_users_data(path).users[0].persona.pairs == (Pair("Tea?", "Black.", "Green."),)
