import json

from persona_rm.errors import DataError
from persona_rm.io.resumable import ResumableRows

KEY = {"files": ["a"], "pair": (1, 2)}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_output_appears_when_all_is_written(tmp_path):
    out = tmp_path / "o.jsonl"
    kept = ResumableRows(out, KEY)
    kept.add([{"a": "ä"}], [DataError("cut", file="f", row=2, key="k")], [0, 2], dict)
    assert not out.exists()
    assert kept.finish()
    assert lines(out) == [{"a": "ä"}]
    assert lines(tmp_path / "o_quarantine.jsonl") == [{"file": "f", "row": 2, "key": "k", "error": "cut"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jsonl", "o_quarantine.jsonl"]


def test_what_came_after_the_last_record_is_cut_off(tmp_path):
    out = tmp_path / "o.jsonl"
    first = ResumableRows(out, KEY, every=0)
    first.add([{"n": 1}], [], [0, 1], lambda: {"seen": 1})
    first.every = 1000
    first.add([{"n": 2}], [DataError("late")], [0, 2], lambda: {"seen": 2})
    again = ResumableRows(out, KEY)
    assert (again.resumed, again.position, again.state) == (True, [0, 1], {"seen": 1})
    again.add([{"n": 3}], [], [0, 3], dict)
    again.finish()
    assert lines(out) == [{"n": 1}, {"n": 3}]
    assert not (tmp_path / "o_quarantine.jsonl").exists()


def test_an_attempt_without_a_record_or_with_another_key_begins_anew(tmp_path):
    out = tmp_path / "o.jsonl"
    ResumableRows(out, KEY).add([{"n": 1}], [], [0, 1], dict)
    assert not ResumableRows(out, KEY).resumed
    ResumableRows(out, KEY, every=0).add([{"n": 1}], [], [0, 1], dict)
    other = ResumableRows(out, {**KEY, "files": ["b"]})
    assert (other.resumed, other.position) == (False, [])
    other.add([{"n": 2}], [], [0, 1], dict)
    other.finish()
    assert lines(out) == [{"n": 2}]


def test_without_a_row_an_older_output_stays_and_older_faults_go(tmp_path):
    out = tmp_path / "o.jsonl"
    out.write_text("{}\n")
    (tmp_path / "o_quarantine.jsonl").write_text("{}\n")
    assert not ResumableRows(out, KEY).finish()
    assert lines(out) == [{}]
    assert not (tmp_path / "o_quarantine.jsonl").exists()
