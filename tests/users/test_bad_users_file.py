"""What is wrong with a users file: it is named as what it is, and bad rows are left out or refused."""

import gzip
import json
import lzma
from hashlib import sha256

import pytest

from persona_rm import DataError, Pair
from persona_rm.users.read_file import read_users_data
from tests.users.users_samples import bad_rows, finding, lines, pairs, parquet_table


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"PK\x03\x04aaaa", "a zip archive or an Excel workbook"),
        (gzip.compress(b"{}", mtime=0), "it is packed; rename it to end in .gz"),
        ("user,prompt\n".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (b"hello\nworld\n", "its first line is neither a JSON object nor a CSV header"),
        (b"\x00\x01\x02\x03", "it is a binary file"),
        ("user,prompt\n".encode("utf-32"), "UTF-32 text; save it as UTF-8"),
        (("user,prompt\n" * 20).encode("utf-16-le"), "UTF-16 text without a mark; save it as UTF-8"),
        (b"user,user\na,b\n", "row 1, key 'user': the header names this column twice"),
        (b"user,prompt,chosen,rejected\n", "the table has no rows"),
        (b'{"user": \n', "none of its rows can be read; the first: "),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path, content, says):
    path = tmp_path / "users.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_users_data(path)
    assert says in str(raised.value)
    assert "users.jsonl" in str(raised.value)


def test_a_folder_without_data_and_a_missing_file(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"empty: the folder holds no .*\(it holds: notes.md\)"):
        read_users_data(tmp_path / "empty")
    with pytest.raises(DataError, match=r"no such file \(its folder holds: empty\)"):
        read_users_data(tmp_path / "users.jsonl")


def test_a_latin_1_file_says_so_and_a_damaged_row_is_left_out(tmp_path):
    rows = [f"u{number},Tea?,Good.,Bad.\n" for number in range(99)]
    text = "user,prompt,chosen,rejected\n" + "".join(rows) + "u0,Café?,Good.,Bad.\n"
    path = tmp_path / "users.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as raised:
        read_users_data(path)
    assert "row 101, key 'prompt': the file is not UTF-8, but probably latin-1" in str(raised.value)
    assert "iconv -f windows-1252 -t utf-8 FILE > NEW" in str(raised.value)
    path.write_bytes(text.encode("utf-8") + "u0,Café?,Good.,Bad.\n".encode("latin-1"))
    data = read_users_data(path)
    assert (data.n_pairs, finding(data, "unreadable").count) == (100, 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user": 1.5}, "key 'user': a user is text or a whole number, found float 1.5"),
        ({"user": True}, "key 'user': a user is text or a whole number, found bool True"),
        ({"user": float("nan")}, "key 'user': the user is missing, found nan"),
        ({"user": None}, "key 'user': the user is missing"),
        ({"user": "NaN"}, "key 'user': the user is missing, found 'NaN'"),
        ({"user": "[Deleted User]"}, "key 'user': the user is missing, found '[Deleted User]'"),
        ({"chosen": None}, "key 'chosen': missing; the row has: user, prompt, rejected"),
        ({"chosen": 3}, "key 'chosen': must be text or a list of chat messages, found int"),
        ({"chosen": "\ud800"}, "key 'chosen': not UTF-8"),
        (
            {"chosen": [{"role": "bot", "content": "c"}]},
            "key 'chosen': message 1 has the unknown role 'bot'",
        ),
        ({"chosen": [{"role": "usr", "content": "c"}]}, "did you mean 'user'?"),
        ({"chosen": []}, "key 'chosen': the list of chat messages is empty"),
        ({"prompt": [{"role": "assistant", "content": "c"}]}, "key 'prompt': a prompt in chat messages ends with"),
        ({"time": "yesterday"}, "row 101, key 'time': user 'u0': a time is ISO 8601"),
        ({"time": "2999-01-01"}, "key 'time': user 'u0': the time '2999-01-01' has not come yet"),
        ({"time": 1e30}, "key 'time': user 'u0': a time is ISO 8601"),
        ({"time": [1]}, "key 'time': user 'u0': a time is ISO 8601"),
        ({"strength": -1}, "key 'strength': -1 is below 0 (a tie); swap the two responses instead"),
        ({"strength": float("inf")}, "key 'strength': must be a finite number, found inf"),
        ({"strength": 10**400}, "key 'strength': must be a finite number, found int"),
        ({"user": 2.0**60}, "key 'user': a whole number of this size is rounded in a column of fractions"),
        ({"user": "\u200b"}, "key 'user': the user is missing, found '\\u200b'"),
        (
            {"prompt": None},
            "come without a prompt; the row has: user, chosen, rejected. --map",
        ),
        ({"strength": "much"}, "key 'strength': must be a finite number, found 'much'"),
    ],
)
def test_a_bad_row_is_left_out_and_named(tmp_path, changes, says):
    rows = bad_rows(**changes)
    data = read_users_data(lines(tmp_path / "users.jsonl", [{"time": None, "strength": None, **row} for row in rows]))
    assert (data.n_pairs, data.rows) == (100, 101)
    unreadable = finding(data, "unreadable")
    assert (unreadable.count, unreadable.severity) == (1, "bad")
    assert "users.jsonl, row 101, key" in unreadable.examples[0]
    assert says in unreadable.examples[0]


def test_a_file_of_bad_rows_is_refused(tmp_path):
    rows = [*bad_rows()[:9], {"user": "u", "prompt": "p", "chosen": 1, "rejected": "b"}]
    with pytest.raises(DataError, match=r"1 of 10 rows .* be read \(10.0%; up to 5% .*row 10, key 'chosen'"):
        read_users_data(lines(tmp_path / "users.jsonl", rows))


def test_a_broken_line_is_left_out(tmp_path):
    path = lines(tmp_path / "users.jsonl", bad_rows())
    with path.open("a") as stream:
        stream.write('{"user": "cut')
    data = read_users_data(path)
    assert "row 102: not JSON" in finding(data, "unreadable").examples[0]
    rows = "".join(f"u{number},p,a,b\n" for number in range(60))
    path = tmp_path / "users.csv"
    path.write_text(f'user,prompt,chosen,rejected\n{rows}u,p,a\nu,"p"x,a,b\n', encoding="utf-8")
    data = read_users_data(path)
    assert data.n_pairs == 60
    assert "row 62: 3 cells, the header names 4 columns" in finding(data, "unreadable").examples[0]
    assert "row 63: not CSV" in finding(data, "unreadable").examples[1]


def test_a_bad_item_costs_only_itself(tmp_path):
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    items = [{**good, "prompt": f"p{number}"} for number in range(40)]
    rows = [{"user": "u", "pairs": [*items, {"prompt": "p", "choosen": "a", "rejected": "b"}]}]
    data = read_users_data(lines(tmp_path / "users.jsonl", rows))
    assert data.n_pairs == 40
    [example] = finding(data, "unreadable").examples
    assert "row 1, key 'pairs[40].choosen': unknown key; an item has: prompt, chosen, rejected, " in example
    assert "did you mean 'chosen'?" in example


def test_duplicate_users_are_joined_and_said(tmp_path):
    one, two = ({"prompt": text, "chosen": "a", "rejected": "b"} for text in "pq")
    rows = [{"user": 1, "pairs": [one]}, {"user": "1", "pairs": [one, two]}]
    data = read_users_data(lines(tmp_path / "users.jsonl", rows))
    assert pairs(data) == {"1": (Pair("p", "a", "b"), Pair("q", "a", "b"))}
    assert finding(data, "repeated_user").examples == ("user '1' in row 1 and row 2",)
    many = [{"user": f"u{number}", "demo": "old"} for number in range(30)]
    data = read_users_data(lines(tmp_path / "demo.jsonl", [*many, {"user": "u3", "demo": "young"}]))
    assert "row 31, key 'demo': user 'u3' has another demo in row 4" in finding(data, "unreadable").examples[0]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".parquet", ".csv.xz"])
def test_a_file_that_breaks_off_is_refused_because_nothing_tells_what_is_missing(tmp_path, suffix):
    rows = [
        {"user": f"u{number}", "prompt": sha256(b"%d" % number).hexdigest() * 40, "chosen": "a", "rejected": "b"}
        for number in range(300)
    ]
    path = tmp_path / f"users{suffix}"
    if suffix == ".parquet":
        path = parquet_table(path, rows)
    else:
        text = json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows))
        pack = {".jsonl.gz": gzip.compress, ".csv.xz": lzma.compress}.get(suffix, bytes)
        path.write_bytes(pack(text.encode()))
    assert len(read_users_data(path).users) == 300
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(DataError, match="the rows behind this place are missing: copy or download the file again"):
        read_users_data(path)


def test_a_packed_file_with_another_content_is_told(tmp_path):
    path = tmp_path / "users.csv.gz"
    path.write_text("user,prompt,chosen,rejected\nu,p,a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"its name ends in .gz, and its content is not packed; rename it as"):
        read_users_data(path)


def test_a_missing_shard_is_not_a_smaller_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    saved = tmp_path / "saved"
    datasets.Dataset.from_list(bad_rows()[:100]).save_to_disk(str(saved), num_shards=3)
    assert read_users_data(saved).n_pairs == 100
    (saved / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(DataError, match=r"saved: 1 of its 3 shards are missing: data-00001-of-00003.arrow; copy them"):
        read_users_data(saved)


def test_a_column_that_a_table_has_twice_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    columns = ["user", "user", "prompt", "chosen", "rejected"]
    path = tmp_path / "users.parquet"
    write_table(pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 5, names=columns), path)
    with pytest.raises(DataError, match="key 'user': the table has this column twice; rename one of them"):
        read_users_data(path)
