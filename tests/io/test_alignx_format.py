"""AlignX files: what is read, written back unchanged, and what a bad row is told."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from persona_rm.errors import DataError, MissingExtra
from persona_rm.io.alignx_format import DEMO, DIRECTIONS, PAIRS, UGC, read_examples, write_examples
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example, Pair, Persona, Ugc

NAMES = ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.parquet"]
NEUTRAL: list[float] = [0.5] * 90


def published(number: int, **changes: Any) -> dict[str, Any]:
    """A row as AlignX publishes it, keys in its order."""
    directions = [1 if place == number else 0 if place == number + 1 else 0.5 for place in range(90)]
    return {
        "prompt": f"Post {number} \u2014 d\u00e9j\u00e0 vu \U0001f600\u2028",
        "chosen": "Yes.\n",
        "rejected": f"No {number}",
        DIRECTIONS: directions,
        "Demographic Information": "",
        UGC: [{"prompt": "p", "comment": "c", DIRECTIONS: directions}],
        PAIRS: [{"prompt": "p", "chosen": "a", "rejected": "b", DIRECTIONS: NEUTRAL}] * number,
    } | changes


def psoups(number: int) -> dict[str, Any]:
    """A row as in AlignX's P-SOUPS files: no directions, other keys."""
    return {
        "prompt": f"Post {number}",
        "chosen": "Yes",
        "rejected": "No",
        "ground_truth_persona": "Be friendly.",
        "profile": "Older, Likes humor",
        PAIRS: [{"prompt": "p", "chosen": "a", "rejected": f"b{number}"}],
    }


def save(path: Path, rows: list[Any]) -> Path:
    text = json.dumps(rows) if ".jsonl" not in path.name else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def tokens(path: Path) -> list[str]:
    """The rows of a JSON file as text without white space between tokens, keys in the order of the file."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in data.splitlines()] if ".jsonl" in path.name else json.loads(data)
    return [json.dumps(row) for row in rows]


def our_own(space: PreferenceSpace) -> Example:
    up, down = (1, *space.neutral[1:]), (-1, *space.neutral[1:])
    persona = Persona(
        user_id="u7",
        ugc=(Ugc("p", "c", up, created="2024-01-01"), Ugc("p2", "c2")),
        pairs=(Pair("p", "a", "b", down), Pair("q", "a", "b", None, created="2024-01-02")),
        demo="A retired engineer.",
        directions=down,
    )
    return Example("e1", "prompt", "chosen", "rejected", up, persona, source="reddit/x", group="post-3")


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_published_file_comes_back_as_it_was(tmp_path: Path, space: PreferenceSpace, name: str) -> None:
    path = save(tmp_path / name, [published(number) for number in range(3)])
    examples = list(read_examples(path, space))
    assert write_examples(tmp_path / f"out{name}", examples, space) == 3
    assert tokens(tmp_path / f"out{name}") == tokens(path)
    assert examples[1].directions[:4] == (0, 1, -1, 0)
    assert examples[1].persona.ugc == (Ugc("p", "c", examples[1].directions),)
    assert examples[2].persona.pairs == (Pair("p", "a", "b", space.neutral),) * 2
    assert len({example.id for example in examples}) == len({example.persona.user_id for example in examples}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_psoups_rows_keep_what_they_lack_and_what_they_add(tmp_path: Path, space: PreferenceSpace, name: str) -> None:
    rows = [
        psoups(1),
        psoups(2) | {"profile": "likes HUMOR"},
        psoups(3) | {"id": 7, "user_id": "u", "why": [1, "x"][:1]},
    ]
    examples = list(read_examples(save(tmp_path / "in.json", rows), space))
    write_examples(tmp_path / name, examples, space)
    again = list(read_examples(tmp_path / name, space))
    assert [json.loads(text) for text in tokens_of(again, tmp_path, space)] == rows
    assert [example.directions for example in again] == [()] * 3
    assert space.describe(again[0].persona.directions or ()) == "Older, Likes humor"
    assert [example.persona.user_id for example in again] == ["Be friendly.", "Be friendly.", "u"]
    assert again[2].id == "7"


def tokens_of(examples: list[Example], folder: Path, space: PreferenceSpace) -> list[str]:
    write_examples(folder / "check.json", examples, space)
    return tokens(folder / "check.json")


@pytest.mark.parametrize("name", NAMES)
def test_our_records_come_back_as_they_were(tmp_path: Path, space: PreferenceSpace, name: str) -> None:
    bare = Example("e2", "p", "c", "r", space.neutral, Persona("u8"))
    mixed = [our_own(space), bare, *read_examples(save(tmp_path / "x.json", [published(1)]), space)]
    assert write_examples(tmp_path / name, mixed, space) == 3
    assert list(read_examples(tmp_path / name, space)) == mixed


def test_a_profile_follows_the_record_and_not_the_old_text(tmp_path: Path, space: PreferenceSpace) -> None:
    (example,) = read_examples(save(tmp_path / "a.json", [psoups(1) | {"profile": "young"}]), space)
    assert example.extra["profile"] == "young"
    older = Example(
        "x", "p", "c", "r", (), example.persona.with_directions((-1, *space.neutral[1:])), extra=example.extra
    )
    write_examples(tmp_path / "b.jsonl", [older], space)
    assert json.loads((tmp_path / "b.jsonl").read_text())["profile"] == "Older"


def test_a_folder_of_parquet_is_read_in_the_order_of_names(tmp_path: Path, space: PreferenceSpace) -> None:
    examples = list(read_examples(save(tmp_path / "a.json", [published(number) for number in range(4)]), space))
    write_examples(tmp_path / "parts" / "b.parquet", examples[2:], space)
    write_examples(tmp_path / "parts" / "a.parquet", examples[:2], space)
    assert list(read_examples(tmp_path / "parts", space)) == examples


def test_writing_again_gives_the_same_bytes(tmp_path: Path, space: PreferenceSpace) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_examples(tmp_path / name, [our_own(space)], space)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert write_examples(tmp_path / "none.json", [], space) == 0
    assert list(read_examples(tmp_path / "none.json", space)) == []


def test_reading_streams(tmp_path: Path, space: PreferenceSpace) -> None:
    big = published(1, chosen="x" * 300_000)
    path = save(tmp_path / "a.json", [big] * 9)
    with path.open("ab") as stream:
        stream.truncate(path.stat().st_size - 400_000)
    rows = read_examples(path, space)
    assert len(next(rows).chosen) == 300_000
    with pytest.raises(DataError, match=r"row 8: not JSON.*is the array cut"):
        list(rows)


BAD: list[tuple[bytes, str, str | None]] = [
    (json.dumps(published(1)).encode()[:-9], "not JSON", None),
    (json.dumps(published(1)).encode().replace(b"Yes.", b"Y\xff\xfe."), "not UTF-8", "chosen"),
    (json.dumps(published(1, chosen="\ud83d")).encode(), "not UTF-8", "chosen"),
    (
        json.dumps({key: value for key, value in published(1).items() if key != "rejected"}).encode(),
        "missing",
        "rejected",
    ),
    (json.dumps(published(1) | {DIRECTIONS: NEUTRAL[:89]}).encode(), "90 directions, found 89 values", DIRECTIONS),
    (json.dumps(published(1) | {DIRECTIONS: [0.7, *NEUTRAL[1:]]}).encode(), "direction 1 (age) is 0.7", DIRECTIONS),
    (json.dumps(published(1) | {DIRECTIONS: 3}).encode(), "must be a list, found 3", DIRECTIONS),
    (json.dumps(published(1, prompt=3)).encode(), "must be text, found 3", "prompt"),
    (json.dumps(published(1) | {"user_id": ["u"]}).encode(), "must be text, found ['u']", "user_id"),
    (json.dumps(published(1) | {UGC: {}}).encode(), "must be a list, found {}", UGC),
    (json.dumps(published(1) | {UGC: ["c"]}).encode(), "must be an object, found 'c'", f"{UGC}[0]"),
    (json.dumps(published(1) | {UGC: [{"prompt": "p"}]}).encode(), "missing", f"{UGC}[0].comment"),
    (
        json.dumps(
            published(1) | {PAIRS: [{"prompt": "", "chosen": "", "rejected": "", DIRECTIONS: [2] * 90}]}
        ).encode(),
        "direction 1 (age) is 2",
        f"{PAIRS}[0].{DIRECTIONS}",
    ),
    (json.dumps(published(1) | {UGC: [{"prompt": "", "comment": "", "k": 1}]}).encode(), "unknown key", f"{UGC}[0].k"),
    (json.dumps(published(1) | {"profile": "Older, Purple"}).encode(), "no label 'Purple'", "profile"),
    (b"[1, 2]", "must be a JSON object, found [1, 2]", None),
]


@pytest.mark.parametrize(("line", "problem", "key"), BAD)
def test_a_bad_row_names_file_row_and_key_and_reading_goes_on(
    tmp_path: Path, space: PreferenceSpace, line: bytes, problem: str, key: str | None
) -> None:
    good = json.dumps(published(1)).encode()
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join([good, line, good, b""]))
    found: list[DataError] = []
    assert len(list(read_examples(path, space, found.append))) == 2
    assert [(error.row, error.key, error.file) for error in found] == [(2, key, str(path))]
    assert problem in str(found[0])
    with pytest.raises(DataError, match=r"bad\.jsonl, row 2"):
        list(read_examples(path, space))


def test_a_bad_row_of_parquet_is_handed_over(tmp_path: Path, space: PreferenceSpace) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [published(1), published(2) | {DIRECTIONS: NEUTRAL[:89]}, published(3) | {"chosen": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found: list[DataError] = []
    assert len(list(read_examples(tmp_path, space, found.append))) == 1
    assert [(error.row, error.key) for error in found] == [(2, DIRECTIONS), (3, "chosen")]


def test_a_file_that_breaks_off_gives_its_rows_and_then_an_error(tmp_path: Path, space: PreferenceSpace) -> None:
    whole = save(tmp_path / "a.jsonl.gz", [psoups(number) for number in range(3000)]).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found: list[DataError] = []
    count = len(list(read_examples(tmp_path / "a.jsonl.gz", space, found.append)))
    assert 0 < count < 3000
    assert [error.row for error in found] == [count + 1]
    assert "breaks off" in str(found[0])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"b\.parquet.*cannot be read as Parquet"):
        list(read_examples(tmp_path / "b.parquet", space))
    (tmp_path / "c.json.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match=r"c\.json\.gz: cannot be read"):
        read_examples(tmp_path / "c.json.gz", space)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jsonl", r"none\.jsonl: no such file \(its folder holds: empty\.json\)"),
        ("none.parquet", "no such file"),
        ("no/none.json", r"no such file \(nor its folder\)"),
        ("empty.json", "the file is empty"),
        ("a.csv", "unknown suffix"),
        ("folder", "no such folder"),
        ("", r"holds no \.parquet file"),
    ],
)
def test_a_file_that_is_not_there_raises_at_once(
    tmp_path: Path, space: PreferenceSpace, name: str, message: str
) -> None:
    (tmp_path / "empty.json").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        read_examples(tmp_path / name, space)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, space: PreferenceSpace) -> None:
    path = tmp_path / "a.jsonl"
    write_examples(path, [our_own(space)], space)
    before = path.read_bytes()
    broken = Example("x", "p", "c", "r", (1, 0), Persona("u"))
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(DataError, match="needs 90 directions, found 2"):
            write_examples(tmp_path / name, [our_own(space), broken], space)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_parquet_refuses_what_it_cannot_hold(tmp_path: Path, space: PreferenceSpace) -> None:
    first, later = our_own(space), Example("x", "p", "c", "r", space.neutral, Persona("u"), extra={"late": 1})
    with pytest.raises(DataError, match=r"a\.parquet, row 1025, key 'late'.*write \.jsonl"):
        write_examples(tmp_path / "a.parquet", [first] * 1024 + [later], space)
    mixed = [Example(str(n), "p", "c", "r", (), Persona("u"), extra={"k": value}) for n, value in enumerate(("a", 1))]
    with pytest.raises(DataError, match="do not fit one table"):
        write_examples(tmp_path / "a.parquet", mixed, space)
    with pytest.raises(DataError, match="no rows to write"):
        write_examples(tmp_path / "a.parquet", [], space)
    with pytest.raises(DataError, match=r"a value of `extra` is not JSON"):
        write_examples(tmp_path / "a.json", [Example("x", "p", "c", "r", (), Persona("u"), extra={"k": {1}})], space)
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_error_carries_the_command(
    tmp_path: Path, space: PreferenceSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[data\]"):
        list(read_examples(tmp_path / "a.parquet", space))


def test_the_published_benchmark_comes_back_as_it_was(
    tmp_path: Path, space: PreferenceSpace, shared_data: Path
) -> None:
    source = shared_data / "benchmarks" / "psoups_friendly_unfriendly.json.gz"
    examples = list(read_examples(source, space))
    write_examples(tmp_path / "out.json.gz", examples, space)
    assert tokens(tmp_path / "out.json.gz") == tokens(source)
    assert len({example.persona.user_id for example in examples}) == 2
    assert len({example.id for example in examples}) == len(examples) == 600


def test_a_pattern_names_several_files(tmp_path, space):
    rows = [Example(f"e{i}", f"p{i}", "yes", "no", (1,) * len(space), Persona("u")) for i in range(3)]
    for i, row in enumerate(rows):
        write_examples(tmp_path / f"train-{i}.parquet", [row], space)
    write_examples(tmp_path / "test-0.parquet", rows[:1], space)
    assert [example.id for example in read_examples(tmp_path / "train-*", space)] == ["e0", "e1", "e2"]
    with pytest.raises(DataError, match=r"dev-\*: no file matches this pattern"):
        read_examples(tmp_path / "dev-*", space)


def test_null_means_that_the_row_lacks_the_key(tmp_path: Path, space: PreferenceSpace) -> None:
    row: dict[str, Any] = {"prompt": "p", "chosen": "a", "rejected": "b", DEMO: None, UGC: None, "id": None}
    row[PAIRS] = [{"prompt": "x", "chosen": "y", "rejected": "z", "created": None, DIRECTIONS: None}]
    path = tmp_path / "null.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [example] = read_examples(path, space)
    assert example.persona.pairs == (Pair("x", "y", "z"),)
    assert write_examples(tmp_path / "again.jsonl", [example], space) == 1
    [again] = read_examples(tmp_path / "again.jsonl", space)
    assert again == example


def test_the_strength_of_a_comparison_survives_a_round_trip(tmp_path: Path, space: PreferenceSpace) -> None:
    persona = Persona("u", pairs=(Pair("x", "y", "z", strength=0.0), Pair("x", "v", "w", strength=1.5)))
    example = Example("1", "p", "a", "b", space.neutral, persona)
    write_examples(tmp_path / "pairs.jsonl", [example], space)
    [again] = read_examples(tmp_path / "pairs.jsonl", space)
    assert [pair.strength for pair in again.persona.pairs] == [0.0, 1.5]
    assert [pair.tie for pair in again.persona.pairs] == [True, False]
