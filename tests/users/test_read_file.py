"""Users files of teams: every form in every format, and what is peculiar about their users."""

import json

import pytest

from persona_rm import DataError, Pair, Persona, Ugc, write_bundle
from persona_rm.users.read_file import read_users_data
from persona_rm.users.users_file import user_row
from tests.users.users_samples import PAIRS, ROWS, finding, lines, pairs, table


def test_one_row_per_comparison_in_json_lines(tmp_path):
    data = read_users_data(lines(tmp_path / "users.jsonl", ROWS))
    assert pairs(data) == PAIRS
    assert data.form == "comparisons"
    assert data.summary() == (
        "users.jsonl: 3 comparisons of 2 users (one row per comparison; columns user, chosen, rejected, prompt)"
    )


def test_every_format_gives_the_same_users(tmp_path):
    datasets = pytest.importorskip("datasets")
    same = [{**row, "user": str(row["user"])} for row in ROWS]
    datasets.Dataset.from_list(same).save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": datasets.Dataset.from_list(same)}).save_to_disk(str(tmp_path / "splits"))
    (tmp_path / "folder" / "data").mkdir(parents=True)
    datasets.Dataset.from_list(same).to_parquet(tmp_path / "folder" / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "array.json").write_text(json.dumps(ROWS), encoding="utf-8")
    paths = [
        lines(tmp_path / "users.jsonl.gz", ROWS),
        tmp_path / "array.json",
        table(tmp_path / "users.csv", ROWS),
        table(tmp_path / "users.tsv", ROWS, "\t"),
        tmp_path / "folder" / "data" / "train-00000-of-00001.parquet",
        tmp_path / "folder",
        tmp_path / "saved",
        tmp_path / "splits",
    ]
    for path in paths:
        data = read_users_data(path)
        assert pairs(data) == PAIRS, path
        assert (data.rows, data.remark) == (3, ""), path


def test_one_row_per_user(tmp_path, space):
    pair = {"prompt": "Tea?", "chosen": "Black.", "rejected": "Green.", "created": "2024-05-01", "strength": 2}
    rows = [
        {"id": 1, "pairs": [pair], "ugc": ["I read.", {"prompt": "Hi", "comment": "Yo"}], "demo": "d", "group": "g"},
        {"id": "2", "directions": "Likes Science", "pairs": None},
        {"id": "3", "directions": list(space.parse("Likes Gaming"))},
        {"id": "4"},
    ]
    data = read_users_data(lines(tmp_path / "users.jsonl", rows))
    one, two, three, four = (user.persona for user in data.users)
    assert one.pairs == (Pair("Tea?", "Black.", "Green.", None, "2024-05-01", 2.0),)
    assert one.ugc == (Ugc("", "I read."), Ugc("Hi", "Yo"))
    assert (one.user_id, one.demo, data.users[0].group) == ("1", "d", "g")
    assert two.directions == space.parse("Likes Science")
    assert three.directions == space.parse("Likes Gaming")
    assert four == Persona("4")
    assert "1 comparison and 2 texts of 4 users (one row per user;" in data.summary()
    assert finding(data, "no_history").count == 1


def test_the_users_file_of_a_bundle_is_a_users_file(tmp_path, space):
    personas = [Persona("ann", (Ugc("q", "t", space.neutral),), (Pair("p", "a", "b", None, None, 0.0),), "d")]
    folder = write_bundle(tmp_path / "b", personas, method={"name": "bradley_terry"}, inferrer=None)
    [user] = read_users_data(folder / "users.jsonl").users
    assert user.persona == personas[0]
    assert "strength" not in user_row(Persona("u", pairs=(Pair("p", "a", "b"),)))["pairs"][0]


def test_a_choice_between_two_responses_with_ties(tmp_path):
    rows = [
        {"user": "u", "prompt": "p", "response_a": "x", "response_b": "y", "winner": winner}
        for winner in ("a", "response_b", "tie (bothbad)", "model_b", "Tie")
    ]
    [user] = read_users_data(lines(tmp_path / "arena.jsonl", rows)).users
    assert [(pair.chosen, pair.strength) for pair in user.persona.pairs] == [
        ("x", None), ("y", None), ("x", 0.0), ("y", None), ("x", 0.0),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"row 1, key 'winner': a choice is response_a, response_b or tie, found 3"):
        read_users_data(lines(tmp_path / "odd.jsonl", [{**rows[0], "winner": 3}]))


def test_a_user_without_history_is_a_user(tmp_path):
    data = read_users_data(lines(tmp_path / "users.jsonl", [{"user": "ann"}, {"user": "bob"}]))
    assert [user.persona for user in data.users] == [Persona("ann"), Persona("bob")]
    assert finding(data, "no_history").count == 2


def test_alignx_examples_are_users(tmp_path, space):
    history = {"prompt": "h", "chosen": "c", "rejected": "r", "created": None}
    row = {"user_id": 3, "chosen": "a", "rejected": "b", "User-Generated Content": None}
    row["Pair-wise Comparative Feedback"] = [history]
    rows = [{**row, "prompt": "p"}, {**row, "prompt": "q"}]
    data = read_users_data(lines(tmp_path / "alignx.jsonl", rows))
    assert data.form == "alignx"
    assert pairs(data) == {"3": (Pair("h", "c", "r"), Pair("p", "a", "b"), Pair("q", "a", "b"))}


def test_columns_can_be_mapped_and_are_suggested(tmp_path):
    rows = [{"annotator_id": "u", "prompt": "p", "choosen": "a", "rejected": "b"}]
    path = lines(tmp_path / "users.jsonl", rows)
    with pytest.raises(DataError) as raised:
        read_users_data(path)
    assert "users.jsonl: no column for user, chosen; the columns are: annotator_id, prompt, " in str(raised.value)
    assert "did you mean 'annotator_id'? Rename it to user, or give --map user=annotator_id" in str(raised.value)
    assert "--map chosen=choosen" in str(raised.value)
    assert "one row per rating (user, prompt, response, value;" in str(raised.value)
    data = read_users_data(path, {"user": "annotator_id", "chosen": "choosen"})
    assert pairs(data) == {"u": (Pair("p", "a", "b"),)}
    assert "columns annotator_id as user, choosen as chosen, rejected, prompt" in data.summary()
    with pytest.raises(DataError, match=r"key 'annotator': mapped to user, .* did you mean 'annotator_id'"):
        read_users_data(path, {"user": "annotator"})


def test_wrong_columns_and_a_misspelt_optional_one(tmp_path):
    with pytest.raises(DataError, match="no column for user, chosen, rejected; the columns are: text, label"):
        read_users_data(lines(tmp_path / "other.jsonl", [{"text": "t", "label": 1}]))
    data = read_users_data(lines(tmp_path / "near.jsonl", [{**row, "strenght": 1, "x": 2} for row in ROWS]))
    assert finding(data, "misspelt_column").examples == ("'strenght': 'strength'?",)
    assert finding(data, "unused_columns").examples == ("strenght, x",)


def test_a_format_other_than_the_name_is_read_and_said(tmp_path):
    data = read_users_data(table(tmp_path / "users.jsonl", ROWS))
    assert pairs(data) == PAIRS
    assert data.summary().endswith("; its content is CSV, although its name ends in .jsonl)")
    data = read_users_data(lines(tmp_path / "users.csv", ROWS))
    assert pairs(data) == PAIRS
    assert data.summary().endswith("; its content is JSON lines, although its name ends in .csv)")


def test_contradictions_repetitions_and_ties_are_counted_and_kept(tmp_path):
    pair = {"user": "u", "prompt": "p", "chosen": "a", "rejected": "b", "strength": ""}
    turned = {**pair, "chosen": "b", "rejected": "a"}
    tie = {"user": "tied", "prompt": "p", "chosen": "b", "rejected": "a", "strength": 0}
    data = read_users_data(table(tmp_path / "users.csv", [pair, turned, pair, tie]))
    assert data.n_pairs == 4
    assert finding(data, "contradiction").examples == ("user 'u', comparison 2", "user 'u', comparison 3")
    assert finding(data, "only_ties").examples == ("user 'tied'",)
    assert finding(data, "one_comparison").examples == ("user 'tied'",)
    assert finding(data, "ties").count == 1
    assert [pair.strength for pair in data.users[0].persona.pairs] == [None, None, None]


def test_a_long_answer_is_kept_and_counted(tmp_path):
    long = "word " * 12_000
    data = read_users_data(table(tmp_path / "users.csv", [*ROWS, {**ROWS[0], "user": "bob", "chosen": long}]))
    assert data.users[2].persona.pairs[0].chosen == long
    assert "users.csv, row 5, key 'chosen': 60,000 characters" in finding(data, "long_text").examples[0]
    huge = "x" * 200_000
    data = read_users_data(table(tmp_path / "huge.csv", [{**ROWS[0], "chosen": huge}]))
    assert len(data.users[0].persona.pairs[0].chosen) == 200_000


def test_ids_that_look_the_same_are_two_users_and_said(tmp_path):
    ids = ("caf\u00e9", "cafe\u0301", "ann", "ann ", "Ann", "ann\u200b", "\uff41nn")
    data = read_users_data(lines(tmp_path / "users.jsonl", [{**ROWS[0], "user": user} for user in ids]))
    assert len(data.users) == 7
    assert finding(data, "similar_ids").examples == (
        r"'caf\xe9' and 'cafe\u0301'", "'ann' and 'ann '", "'ann' and 'Ann'", r"'ann' and 'ann\u200b'",
        r"'ann' and '\uff41nn'",
    )  # fmt: skip


def test_whole_numbers_are_the_same_user_as_their_digits(tmp_path):
    rows = [{**ROWS[0], "user": user} for user in (1, "1", 1.0)]
    [user] = read_users_data(lines(tmp_path / "users.jsonl", rows)).users
    assert (user.persona.user_id, len(user.persona.pairs)) == ("1", 3)
    data = read_users_data(table(tmp_path / "pandas.csv", [{**ROWS[0], "user": "1.0"}]))
    assert data.users[0].persona.user_id == "1"
    assert finding(data, "decimal_users").count == 1


def test_times_of_several_kinds(tmp_path):
    rows = [{**ROWS[0], "created_at": value} for value in ("2024-05-01T12:30:00Z", 1714566600, 1714566600000, None)]
    [user] = read_users_data(lines(tmp_path / "users.jsonl", rows)).users
    times = [pair.created for pair in user.persona.pairs]
    assert times == ["2024-05-01T12:30:00Z", "2024-05-01T12:30:00+00:00", "2024-05-01T12:30:00+00:00", None]


def test_equal_texts_are_one_object(tmp_path):
    data = read_users_data(lines(tmp_path / "users.jsonl", ROWS))
    one, other = (user.persona.pairs[0] for user in data.users)
    assert one.chosen is other.rejected
    assert one.prompt is other.prompt


def test_progress_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("persona_rm.users.read_file.PROGRESS", 2)
    told: list[int] = []
    read_users_data(lines(tmp_path / "users.jsonl", ROWS + ROWS), progress=told.append)
    assert told == [2, 4, 6]


def test_a_key_that_first_comes_in_a_late_row_is_read(tmp_path):
    rows = [*ROWS * 50, {**ROWS[0], "strength": 0, "strenght": 1}]
    data = read_users_data(lines(tmp_path / "users.jsonl", rows))
    assert data.users[0].persona.pairs[-1].strength == 0
    assert finding(data, "unused_columns").examples == ("strenght",)
    with pytest.raises(DataError, match="row 151: with its keys the file is one of users, before it was one"):
        read_users_data(lines(tmp_path / "two.jsonl", [*ROWS * 50, {"user": "u", "pairs": []}]))


def test_a_second_column_for_the_same_is_told(tmp_path):
    rows = [{"User": "boss", "user_id": "x", **row} for row in ROWS]
    data = read_users_data(lines(tmp_path / "users.jsonl", rows))
    assert pairs(data) == PAIRS
    assert finding(data, "second_column").examples == ("'User', and 'user' is read", "'user_id', and 'user' is read")
    taken = read_users_data(tmp_path / "users.jsonl", {"user": "User"})
    assert [user.persona.user_id for user in taken.users] == ["boss"]


def test_splits_that_are_read_together_are_told(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{**row, "user": str(row["user"])} for row in ROWS])
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "splits"))
    data = read_users_data(tmp_path / "splits")
    assert data.n_pairs == 6
    assert data.remark == "its splits test, train are read as one; name a folder inside to read one of them"
    assert read_users_data(tmp_path / "splits" / "train").n_pairs == 3
