"""Reading a large users file: `read_users_data` against a list of `json.loads` (or of pyarrow's rows) by user.

    python tests/perf/users_file.py --json figures.json [--rows 2000000] [--users 100000] [--folder DIR]

One row per comparison, drawn from `--texts` responses of 400 characters and a tenth as many prompts, in JSON lines and
in Parquet. Each reading is a process of its own: CPU seconds of one thread, and peak memory less that of the same
process before reading. The obvious way parses every row and keeps it as a dict in a list per user; it checks nothing,
shares no text and makes no records. `ratio` of the seconds is the obvious way's over ours (below 1: checking costs
that much), `memory_ratio` the same of the memory. The goal for 2,000,000 rows: 120 seconds and 2,048 MiB.

With 2,000,000 rows the files take 2.5 GB, and all of it about 6 minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

GOAL_SECONDS, GOAL_MIB = 120, 2048
WRITTEN_AT_ONCE = 50_000
LETTERS = 400


def rows_of(count: int, users: int, texts: int):
    """Comparisons in a fixed random order."""
    draw = Random(0)
    responses = [f"{number} " + "".join(draw.choices("abcdefghij klmno", k=LETTERS)) for number in range(texts)]
    prompts = [f"What about subject number {number}?" for number in range(max(1, texts // 10))]
    for number in range(count):
        chosen, rejected = draw.choice(responses), draw.choice(responses)
        yield {
            "user": f"user-{number % users:06d}", "prompt": draw.choice(prompts), "chosen": chosen,
            "rejected": rejected, "time": f"2024-05-{1 + number % 28:02d}T{number % 24:02d}:00:00",
        }  # fmt: skip


def write_json(path: Path, rows) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row) + "\n")


def write_parquet(path: Path, rows) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(key, pyarrow.string()) for key in ("user", "prompt", "chosen", "rejected", "time")])
    with parquet.ParquetWriter(path, schema) as writer:
        batch = []
        for row in rows:
            batch.append(row)
            if len(batch) == WRITTEN_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def obvious(path: Path) -> int:
    """Every row as a dict, in a list per user. Returns the number of rows."""
    users: dict[str, list[dict[str, str]]] = {}
    if path.suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    users.setdefault(row["user"], []).append(row)
    else:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                users.setdefault(row["user"], []).append(row)
    return sum(map(len, users.values()))


def ours(path: Path) -> int:
    from persona_rm.users.read_file import read_users_data

    return read_users_data(path).n_pairs


def peak_mib() -> float:
    # Not `ru_maxrss`: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def child(way: str, path: Path) -> None:
    """Read in this process and print the figures. What is imported before is no cost of reading."""
    import pyarrow.parquet

    from persona_rm.space import load_space
    from persona_rm.users import read_file

    assert read_file.load_space is load_space, pyarrow.__version__
    load_space()
    before, started = peak_mib(), time.process_time()
    count = {"ours": ours, "obvious": obvious}[way](path)
    seconds = time.process_time() - started
    print(json.dumps({"rows": count, "seconds": seconds, "mib": peak_mib() - before, "peak_mib": peak_mib()}))


def measured(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", way, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(folder: Path, count: int, users: int, texts: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, write in (("users.jsonl", write_json), ("users.parquet", write_parquet)):
        path = folder / name
        write(path, rows_of(count, users, texts))
        own, plain = measured("ours", path), measured("obvious", path)
        assert own["rows"] == plain["rows"] == count
        found[name] = {
            "seconds": own["seconds"], "rows_per_second": count / own["seconds"], "peak_mib": own["peak_mib"],
            "obvious_seconds": plain["seconds"], "obvious_peak_mib": plain["peak_mib"],
            "ratio": plain["seconds"] / own["seconds"], "memory_ratio": plain["mib"] / own["mib"],
        }  # fmt: skip
        path.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rows", type=int, default=2_000_000, help="comparisons in the file")
    parser.add_argument("--users", type=int, default=100_000, help="users that they are of")
    parser.add_argument("--texts", type=int, default=10_000, help="distinct responses")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile; a local disk")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(told.child[0], Path(told.child[1]))
        return
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        found = measure(Path(folder), told.rows, told.users, told.texts)
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    if told.json:
        goals = {"seconds": GOAL_SECONDS, "peak_mib": GOAL_MIB}
        figures = {"rows": told.rows, "users": told.users, "texts": told.texts, "goals": goals, **found}
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
