"""Rows come back in the order of the source, whatever order the blocks of a stage had."""

import random

import numpy as np
import pytest

from persona_rm.construct.job.row_order import MAX_BUCKETS, in_order
from persona_rm.errors import DataError


@pytest.mark.parametrize("bucket", [1000, 7, 1])
def test_any_order_of_blocks_gives_the_order_of_the_source(tmp_path, bucket):
    ids = [random.Random(n).randrange(2**63) for n in range(500)]
    rows = [(id_, f'{{"n": {id_}, "text": "tab\\tand line\\nend é \u2028"}}') for id_ in ids]
    for seed in range(3):
        arrived = random.Random(seed).sample(rows, len(rows) - 100)
        expected = [text for id_, text in rows if (id_, text) in set(arrived)]
        assert list(in_order(arrived, np.array(ids), tmp_path, bucket)) == expected
    assert not list(tmp_path.iterdir()), "the buckets are temporary"
    assert len(ids) > MAX_BUCKETS  # with buckets of one row, the number of open files is what bounds them


def test_a_row_that_the_source_does_not_have_is_an_error(tmp_path):
    for ids in ([1, 3], []):
        with pytest.raises(DataError, match="row 2 is not a row of the source; build --no-resume"):
            list(in_order([(2, "{}")], np.array(ids, np.int64), tmp_path))
