import pytest

from persona_rm.errors import DataError
from persona_rm.io.yaml_file import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice, in line 1 and in line 3"),
        ("a:\n  b: 1\n  c: {d: 1, d: 2}", "the key 'd' is given twice, in line 3 and in line 3"),
        ("- {a: 1}\n- a: 1\n  'a': 2", "the key 'a' is given twice"),
        ("a: [", "not YAML"),
        ("{[1]: 2}", "not YAML"),
        ("d: 2024-99-99", "not YAML"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(DataError) as caught:
        parse_yaml(text)
    assert words in str(caught.value)


def test_what_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("one: &a {x: 1, y: 2}\ntwo: {<<: *a, x: 3}\nlist: [*a, 5.0e-4]")
    assert read_yaml(path) == {"one": {"x": 1, "y": 2}, "two": {"x": 3, "y": 2}, "list": [{"x": 1, "y": 2}, 0.0005]}
    path.write_text("x: {deep: &a {<<: {k: 1, j: 2}, k: 3}}\ny: {<<: *a, j: 4}")
    assert read_yaml(path) == {"x": {"deep": {"k": 3, "j": 2}}, "y": {"k": 3, "j": 4}}
    path.write_bytes(b"a: \xff")
    with pytest.raises(DataError, match=r"x\.yaml: not YAML"):
        read_yaml(path)


def test_aliases_that_stand_for_billions_of_values_are_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(DataError, match="aliases stand for more than 1,000,000 values"):
        parse_yaml("\n".join(lines))
    assert parse_yaml("\n".join(lines[:3]))["a2"][9][9] == ["x"] * 10


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [*a]", "has no end"),
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "{b: " * 20_000, "nested too deeply"),
    ],
    ids=["cycle", "lists", "mappings"],
)
def test_yaml_without_an_end_is_refused(text, problem):
    with pytest.raises(DataError, match=problem):
        parse_yaml(text)


def test_a_file_is_not_read_if_it_is_too_long(tmp_path):
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match="at most 16,777,216"):
        read_yaml(path)
