"""Values of Parquet files that Python cannot hold."""

from pathlib import Path

import pytest

from persona_rm.errors import DataError
from persona_rm.io.parquet import read_parquet

pyarrow = pytest.importorskip("pyarrow")


def test_a_time_in_the_year_55969_costs_its_row_and_no_other(tmp_path: Path) -> None:
    from pyarrow import parquet

    moments = pyarrow.array([0, 1_704_067_200_000_000_000, 1], pyarrow.int64()).cast(pyarrow.timestamp("ms"))
    path = tmp_path / "times.parquet"
    parquet.write_table(pyarrow.table({"id": ["a", "b", "c"], "created": moments}), path)
    bad: list[DataError] = []
    assert [(row.number, row.text("id")) for row in read_parquet(path, bad.append)] == [(1, "a"), (3, "c")]
    assert [(error.row, error.key) for error in bad] == [(2, "created")]
    with pytest.raises(DataError, match=r"times\.parquet, row 2, key 'created': cannot be read"):
        list(read_parquet(path))
