"""Rows of a stage in the order of the source.

Ray Data writes the blocks of a stage in the order in which they are ready, and a build that was killed and resumed has
the files of two runs side by side. What is written from all rows at once (the sets that are published) must not depend
on that, so the rows are brought back into the order of stage raw, which the driver reads alone.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError

BUCKET = 20_000
"""Approximate number of rows that are sorted in memory at a time."""
MAX_BUCKETS = 256
"""All bucket files are open at once, and systems allow a process 1,024 open files or more."""


def in_order(
    rows: Iterable[tuple[int, str]], order: npt.NDArray[np.int64], folder: Path, bucket: int = BUCKET
) -> Iterator[str]:
    """The texts of (id, text), sorted by the place of their ids in `order`.

    A bucket sort on disk: each bucket holds the rows of one range of places, in a temporary file in `folder`, and is
    sorted in memory. Memory: 16 bytes per id, and the texts of one bucket. Raises DataError if `order` lacks an id.
    """
    places = np.argsort(order, kind="stable")
    ids = order[places]
    buckets = max(1, min(MAX_BUCKETS, len(order) // bucket))
    with tempfile.TemporaryDirectory(dir=folder, prefix="_order") as temporary, ExitStack() as stack:
        paths = [Path(temporary) / str(number) for number in range(buckets)]
        files = [stack.enter_context(path.open("w+", encoding="utf-8")) for path in paths]
        for id_, text in rows:
            at = int(np.searchsorted(ids, id_))
            if at == len(ids) or ids[at] != id_:
                raise DataError(f"row {id_} is not a row of the source; build --no-resume", file=folder)
            place = int(places[at])
            # The texts are JSON, in which a line break is always escaped, so a line is a row.
            files[place * buckets // len(order)].write(f"{place}\t{text}\n")
        for file in files:
            file.seek(0)
            lines = [line.rstrip("\n").split("\t", 1) for line in file]
            for _, text in sorted(lines, key=lambda line: int(line[0])):
                yield text
