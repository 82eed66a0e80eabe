"""A bundle of many users: `check --sample` and `bundle`, and fitting by distinct texts against all differences.

    python tests/perf/users_bundle.py [--users 100000] [--per-user 20] [--texts 10000] [--hash-encoder] [--json FILE]

One row per comparison in Parquet; each response belongs to one prompt. Three processes, each with its seconds, CPU
seconds and peak memory: `check --sample 1000`, `bundle` (method centroid, no texts kept), and the obvious fit, which
embeds both sides of every comparison and holds all differences in float64. The obvious fit gets `--obvious` rows only,
because its memory grows by 6 kB per row. `ratio` is its CPU time per row over that of `fit` on the same rows; both are
given the vectors. The goal for 2,000,000 comparisons: 600 seconds and 4,096 MiB for check and bundle each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from random import Random

GOAL_SECONDS, GOAL_MIB, LETTERS, PER_PROMPT = 600, 4096, 400, 10
HASHED = "--hash-encoder"


def write(path: Path, users: int, per_user: int, texts: int) -> None:
    """Comparisons in a fixed random order: half of the users prefer the shorter response."""
    import pyarrow
    from pyarrow import parquet

    draw = Random(0)
    words = ["".join(draw.choices("abcdefghijklmno", k=6)) for _ in range(2000)]
    responses = [" ".join(draw.choices(words, k=draw.randint(LETTERS // 14, LETTERS // 7))) for _ in range(texts)]
    schema = pyarrow.schema([(key, pyarrow.string()) for key in ("user", "prompt", "chosen", "rejected")])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, users, 2000):
            rows = []
            for user in range(start, min(users, start + 2000)):
                for _ in range(per_user):
                    prompt = draw.randrange(texts // PER_PROMPT)
                    sides = [responses[PER_PROMPT * prompt + one] for one in draw.sample(range(PER_PROMPT), 2)]
                    sides.sort(key=len, reverse=bool(user % 2))
                    named = {"user": f"user-{user:06d}", "prompt": f"Subject number {prompt}?"}
                    rows.append({**named, "chosen": sides[0], "rejected": sides[1]})
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


class HashEncoder:
    """Random unit vectors by text: with it the figures are what everything but MiniLM costs."""

    def encode(self, texts):
        import numpy as np

        rows = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=384) for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(texts), 384)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def encoder():
    from persona_rm.backends.minilm import MiniLM

    return HashEncoder() if HASHED in sys.argv else MiniLM()


def check(path: Path, _: int) -> dict[str, object]:
    from persona_rm.backends.base import Backends
    from persona_rm.users.candidates import check_users
    from persona_rm.users.read_file import read_users_data

    data = read_users_data(path)
    return {"verdict": check_users(data.users, sample=1000, backends=Backends(encoder=encoder())).verdict.sentence}


def bundle(path: Path, _: int) -> dict[str, object]:
    from persona_rm.bundle.fit_bundle import fit_bundle
    from persona_rm.users.read_file import read_users_data

    data = read_users_data(path)
    read = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit_bundle(data.users, Path(folder) / "bundle", "centroid", keep_texts=False, encoder=encoder())
        size = sum(file.stat().st_size for file in fitted.folder.rglob("*") if file.is_file())
    return {"users": fitted.users, "bundle_mib": size / 2**20, "cpu_seconds_of_reading": read}


def random_rows(count: int):
    """Vectors of texts as an encoder gives them, and comparisons of them."""
    import numpy as np

    from persona_rm.methods.pairwise import TextPairs

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10_000, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sides = rng.integers(len(vectors), size=(count, 2))
    first = (vectors[sides[:, 0]] - vectors[sides[:, 1]])[:, 0] + rng.normal(size=count) * 0.1 > 0
    sides = np.where(first[:, None], sides, sides[:, ::-1])
    return vectors, TextPairs([("", str(i)) for i in range(len(vectors))], sides[:, 0], sides[:, 1])


def fit(_: Path, count: int) -> dict[str, object]:
    from persona_rm.methods.pairwise import fit_weights

    vectors, pairs = random_rows(count)
    started = time.process_time()
    weights = fit_weights(vectors, pairs, 1e-3, 100)
    return {"fit_cpu_seconds": time.process_time() - started, "first_weight": float(weights[0])}


def obvious(_: Path, count: int) -> dict[str, object]:
    from persona_rm.methods.pairwise import newton

    vectors, pairs = random_rows(count)
    started = time.process_time()
    weights = newton(pairs.differences(vectors), 1e-3, 100)
    return {"fit_cpu_seconds": time.process_time() - started, "first_weight": float(weights[0])}


CHILDREN = {"check": check, "bundle": bundle, "fit": fit, "obvious": obvious}


def child(what: str, path: Path, count: int) -> None:
    started = time.perf_counter()
    said = CHILDREN[what](path, count)
    # Not `ru_maxrss`: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mib": peak}
    print(json.dumps({**seconds, **said}))


def run(what: str, path: Path, count: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--child", what, "--path", str(path), "--obvious", str(count)]
    command += [HASHED] if HASHED in sys.argv else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(f"{what}: " + ", ".join(f"{k} {v:,.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return dict(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--per-user", type=int, default=20)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--obvious", type=int, default=200_000, help="rows of the obvious fit, and of ours beside it")
    parser.add_argument(HASHED, action="store_true", help="random vectors: what everything but MiniLM costs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=CHILDREN)
    parser.add_argument("--path", type=Path, default=Path())
    args = parser.parse_args()
    if args.child:
        child(args.child, args.path, args.obvious)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "users.parquet"
        write(path, args.users, args.per_user, args.texts)
        figures: dict[str, object] = {what: run(what, path, args.obvious) for what in CHILDREN}
    ours, theirs = (figures[what]["fit_cpu_seconds"] for what in ("fit", "obvious"))
    figures["ratio"] = theirs / ours
    print(f"fit of {args.obvious:,} comparisons: {figures['ratio']:.1f} times faster than the obvious one")
    print(f"goal: {GOAL_SECONDS} s and {GOAL_MIB} MiB for check and bundle each, with 2,000,000 comparisons")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
