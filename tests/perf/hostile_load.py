"""A victim that asks for one reward a second, beside callers that try to take the service away from it.

python tests/perf/hostile_load.py                  # 60 s of each kind of load; a table, and what did not hold
python tests/perf/hostile_load.py --seconds 10 --json FILE

`persona-rm serve` runs with one actor in its process: a fitted bundle (centroid) over MiniLM. The kinds of load: rows
of 16 MB and of 3.9 MB (just below the limit of a body), bodies of these sizes of small JSON values, user ids of 1 MB,
connections that say nothing, and headers without an end.
Goals: the victim's p99 below 1 s, memory below 1.5 times that of the idle service, log below 1 MB.
"""

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

MIB = 1 << 20
SENDERS = 8
"""Hostile callers at once."""
SILENT = 1000
"""Connections that say nothing: the attacker opens as many as it can, and opens closed ones again."""
VICTIM = {"user": "u1", "prompt": "How do I make tea?", "responses": ["Boil water and wait for three minutes."]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each kind of load")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.attack:
        asyncio.run(attack(args.attack[0], int(args.attack[1]), args.seconds))
        return
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (port, pid, log):
        for _ in range(20):
            ask(port)
        idle = memory(pid)
        rows = {kind: measured(kind, port, pid, args.seconds) for kind in LOADS}
        lines = log.stat().st_size
    found = {"idle_mib": idle / MIB, "log_bytes": lines, "loads": rows}
    print(f"idle {idle / MIB:.0f} MiB; log {lines:,} bytes")
    for kind, row in rows.items():
        print(
            f"{kind:16} p50 {row['p50']:.3f} s, p99 {row['p99']:.3f} s, worst {row['worst']:.3f} s, "
            f"lost {row['lost']:.0f} of {row['asked']:.0f}, memory {row['memory'] / idle:.2f} x idle"
        )
    faults = [kind for kind, row in rows.items() if row["p99"] >= 1 or row["lost"] or row["memory"] >= 1.5 * idle]
    faults += ["log"] if lines >= MIB else []
    print(f"did not hold: {', '.join(faults)}" if faults else "held")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """The port, the process and the log of `persona-rm serve`."""
    from persona_rm.bundle.fit_bundle import fit_bundle
    from persona_rm.types import Pair, Persona
    from persona_rm.users.users_file import User

    users = []
    for number in range(40):
        pairs = [Pair(f"question {i}?", f"long and kind answer {i}", f"no {i}") for i in range(4)]
        users.append(User(Persona(f"u{number}", pairs=tuple(pairs))))
    bundle = fit_bundle(users, folder / "bundle", "centroid").folder
    log = folder / "log"
    command = [sys.executable, "-m", "persona_rm.cli", "serve", "--bundle", str(bundle), "--port", "0"]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            while "http://" not in (said := log.read_text(encoding="utf-8")):
                assert process.poll() is None, said
                time.sleep(0.2)
            yield int(said.partition("http://127.0.0.1:")[2].split()[0]), process.pid, log
        finally:
            process.terminate()
            process.wait(60)


def ask(port: int) -> float:
    """Seconds until the victim has its reward."""
    head = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/score", json.dumps(VICTIM).encode(), head)
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert isinstance(json.load(answer)["results"][0]["reward"], float)
    return time.perf_counter() - started


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def measured(kind: str, port: int, pid: int, seconds: float) -> dict[str, float]:
    """The victim's times and the largest memory, while a process of its own attacks."""
    command = [sys.executable, __file__, "--attack", kind, str(port), "--seconds", str(seconds)]
    attacker = subprocess.Popen(command)
    taken: list[float] = []
    lost, peak, ended = 0, [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], memory(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                taken.append(ask(port))
            except (OSError, AssertionError) as error:
                print(f"{kind}: the victim got no reward ({error})")
                lost += 1
            time.sleep(max(0.0, 1 - (taken[-1] if taken else 0)))
    finally:
        ended.set()
        watcher.join()
        attacker.terminate()
        attacker.wait()
    times = sorted(taken) or [float("inf")]
    at = {"p50": times[len(times) // 2], "p99": times[min(int(0.99 * len(times)), len(times) - 1)], "worst": times[-1]}
    return {**at, "lost": lost, "asked": len(taken) + lost, "memory": peak[0]}


async def attack(kind: str, port: int, seconds: float) -> None:
    """Load of one kind until the time is over."""
    work = SILENT if kind == "silent" else SENDERS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + 5):
            await asyncio.gather(*[repeat(LOADS[kind], port) for _ in range(work)])


async def repeat(send: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], port: int) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.5)
            continue
        with contextlib.suppress(OSError):
            await send(reader, writer)
        writer.close()


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    head = "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    await reader.read()


SIZES = (16 * MIB, int(3.9 * MIB))
LONG = [json.dumps({**VICTIM, "responses": ["word " * ((size - 1000) // 5)]}).encode() for size in SIZES]
VALUES = [b'{"prompt": "x", "responses": [' + b"[]," * ((size - 100) // 3) + b"[]]}" for size in SIZES]


async def rows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await post(reader, writer, random.choice(LONG))


async def values(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await post(reader, writer, random.choice(VALUES))


async def ids(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = f"{time.perf_counter_ns()}".ljust(MIB, "x")
    await post(reader, writer, json.dumps({**VICTIM, "user": name}).encode())


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    while True:
        writer.write(b"x-flood: " + b"y" * 8000 + b"\r\n")
        await writer.drain()


LOADS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    "rows": rows, "values": values, "ids": ids, "silent": silent, "headers": headers
}  # fmt: skip

if __name__ == "__main__":
    main()
