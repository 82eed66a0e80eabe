"""Fuzzing of what reads texts of others: HTML, labels, users files and thread sources.

    python -m tests.fuzz.fuzz html --seconds 150       (or: labels, users, sources)

With atheris (pip install atheris, in an environment of its own) the fuzzer follows the branches of the code; without
it mutations of the seeds are drawn. Anything but a `DataError` is unexpected: it is printed with its input, and the
exit code is 1. The seeds stand in tests/fuzz/seeds.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).parent / "seeds"
SLOW = 2.0
"""Seconds from which an input of this size is a finding of its own."""
LONGEST = 4096
Target = Callable[[bytes], None]


def html(data: bytes) -> None:
    """`to_text`: never raises, and leaves no sign of its own in the text."""
    from persona_rm.sources.html_text import to_text

    text = to_text(data.decode("utf-8", "replace"))
    assert "\x00" not in text
    assert "\x01" not in text


def labels(data: bytes) -> None:
    """`read_label`: never raises; a label is bad or names a user that UTF-8 can write."""
    from persona_rm.serving.labels import read_label

    text = data.decode("utf-8", "surrogateescape")
    given: list[Any] = [text, {"user": text}, [text]]
    with suppress(ValueError, RecursionError):
        given.append(json.loads(text))
    for value in given:
        label = read_label(value)
        assert label.bad is None or label.user is None
        (label.user or "").encode()


def users(data: bytes) -> None:
    """A users file of any format: rows, or a `DataError`."""
    from persona_rm.errors import DataError
    from persona_rm.space import load_space
    from persona_rm.users.read_file import read_users_data

    kind, content = data[:1], data[1:]
    path = _folder() / f"users{('.jsonl', '.csv', '.json', '.parquet', '.jsonl.gz', '.arrow')[sum(kind) % 6]}"
    path.write_bytes(content)
    try:
        read_users_data(path, space=load_space("alignx90"))
    except DataError:
        return


def sources(data: bytes) -> None:
    """Every source over a file of any content: threads of sound texts, whatever is bad in the quarantine."""
    from persona_rm.errors import DataError
    from persona_rm.sources import SOURCES
    from persona_rm.space import load_space

    names = ("reddit", "stackexchange", "stackexchange_dump", "pushshift", "jsonl", "hf")
    name, content = names[sum(data[:1]) % len(names)], data[1:]
    suffix = {"stackexchange_dump": "Posts.xml", "hf": "a.parquet"}.get(name, "a.jsonl")
    path = _folder() / suffix
    path.write_bytes(content)
    source = SOURCES.load(name)
    given = {"submissions": str(path), "comments": str(path)} if name == "pushshift" else {"path": str(path)}
    bad: list[DataError] = []
    try:
        threads = list(source(source.Config(**given), load_space("alignx90")).threads(bad.append))
    except DataError:
        # A file that is empty as a whole is refused before the first row.
        return
    for thread in threads:
        for text in (thread.id, thread.prompt, thread.author or "", *(comment.text for comment in thread.comments)):
            text.encode()
        assert all(comment.score is None or abs(comment.score) < 1 << 63 for comment in thread.comments)


TARGETS: dict[str, Target] = {"html": html, "labels": labels, "users": users, "sources": sources}
_folders: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> Path:
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory(prefix="persona_rm-fuzz-"))
    return Path(_folders[0].name)


def seeds(name: str) -> list[bytes]:
    """The inputs from which fuzzing starts."""
    return [file.read_bytes() for file in sorted((SEEDS / name).iterdir())]


def mutated(seed: bytes, others: list[bytes], drawn: random.Random) -> bytes:
    """A seed with some of its bytes repeated, removed, replaced, or taken from another seed."""
    data = bytearray(seed)
    for _ in range(drawn.randint(1, 8)):
        at, size = drawn.randint(0, len(data)), drawn.choice((1, 2, 4, 16, 64))
        choice = drawn.randrange(5)
        if choice == 0:
            data[at : at + size] = drawn.randbytes(size)
        elif choice == 1:
            del data[at : at + size]
        elif choice == 2:
            data[at:at] = data[at : at + size] * drawn.choice((1, 2, 50))
        elif choice == 3:
            other = drawn.choice(others)
            start = drawn.randint(0, len(other))
            data[at:at] = other[start : start + 4 * size]
        else:
            data[at : at + 1] = drawn.choice((b"<", b'"', b"{", b"[", b"&#", b"\x00", b"\xff", b"\\u", b"1e999", b"-"))
    return bytes(data[:LONGEST])


def run(name: str, seconds: float, seed: int = 0) -> tuple[int, list[bytes]]:
    """Executions and the inputs with an unexpected outcome, of so many seconds of drawn mutations."""
    target, corpus, drawn = TARGETS[name], seeds(name), random.Random(seed)
    count, failures, ends = 0, list[bytes](), time.monotonic() + seconds
    queue = list(corpus)
    while time.monotonic() < ends and len(failures) < 5:
        data = queue.pop() if queue else mutated(drawn.choice(corpus), corpus, drawn)
        count += 1
        started = time.monotonic()
        try:
            target(data)
        except Exception:  # noqa: BLE001 - every exception is a finding
            traceback.print_exc()
            failures.append(data)
        if time.monotonic() - started > SLOW:
            failures.append(data)
    return count, failures


def run_guided(name: str, seconds: float) -> None:
    """The same by atheris, which ends the process. The corpus that it finds is thrown away."""
    import atheris

    with atheris.instrument_imports(include=["persona_rm"]):
        TARGETS[name](seeds(name)[0])
    work = tempfile.mkdtemp(prefix="persona_rm-corpus-")
    flags = [
        f"-max_total_time={int(seconds)}",
        f"-max_len={LONGEST}",
        f"-timeout={int(10 * SLOW)}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={work}/", work, str(SEEDS / name)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--drawn", action="store_true", help="draw mutations even if atheris is installed")
    given = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        given.drawn = True
    if not given.drawn:
        run_guided(given.target, given.seconds)
    count, failures = run(given.target, given.seconds)
    print(f"{given.target}: {count:,} executions, {len(failures)} unexpected")
    for data in failures:
        print(repr(data))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
