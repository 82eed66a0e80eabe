import json

import pytest

from persona_rm.benchmarks import BENCHMARKS
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import write_examples
from persona_rm.types import Example
from tests.benchmarks.benchmark_samples import persona


def load(path, space, **more):
    cls = BENCHMARKS.load("alignx")
    return cls(cls.Config(path=path, **more), space).cases()


def write(path, space, n=6):
    directions = (1, -1, *(0,) * (len(space) - 2))
    people = [persona(f"u{i}", None) for i in range(n)]
    examples = [Example(f"e{i}", f"p{i}", f"c{i}", "r", directions, p, "reddit") for i, p in enumerate(people)]
    write_examples(path, examples, space)
    return directions


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.jsonl.gz", "x.parquet"])
def test_golden_directions_are_those_of_the_pair(tmp_path, space, name):
    directions = write(tmp_path / name, space)
    cases = load(tmp_path / name, space)
    assert [c.example.persona.directions for c in cases] == [directions] * 6
    assert {c.unit for c in cases} == {f"u{i}" for i in range(6)}
    assert [c.example.prompt for c in load(tmp_path / name, space, limit=2)] == ["p0", "p3"]


def test_a_bad_row_stops_the_benchmark_by_row_and_key(tmp_path, space):
    write(tmp_path / "x.jsonl", space)
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {"Preference Direction": [0.5] * 89})
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"x\.jsonl, row 4, .*Preference Direction"):
        load(tmp_path / "x.jsonl", space)
