import pytest

from persona_rm.errors import DataError
from persona_rm.io.yaml_file import parse_yaml, read_yaml

BILLIONS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice, in line 1 and in line 3"),
        ("a:\n  b: 1\n  c: {d: 1, d: 2}", "the key 'd' is given twice, in line 3 and in line 3"),
        ("- {a: 1}\n- a: 1\n  'a': 2", "the key 'a' is given twice"),
        ("a: [", "not YAML"),
        ("{[1]: 2}", "not YAML"),
        ("d: 2024-99-99", "not YAML"),
        ('!!int ""', "not YAML"),
        ("!!timestamp x", "not YAML"),
        ("!!bool maybe", "not YAML"),
        ("[" * 20_000, "nested more than 64 deep"),
        ("- " * 1000 + "a", "nested more than 64 deep"),
        ("&a [*a]", "an alias stands inside what it names"),
        (BILLIONS, "stands for more than 1,000,000 values"),
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
