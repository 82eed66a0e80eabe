"""Reading states of random users in batches: the three profile stores against one JSON file per user on disk.

    python tests/perf/profiles.py --json figures.json [--users 100000] [--lookups 1000000] [--folder DIR]

States of about 1 KB, batches of 256, each user's state read into a `UserState` on both sides. Wall time, because a
Redis server works in another process; medians of `REPEATS` rounds in which all take part, on a warm page cache. Beside
each store's own rate stands that of its bytes alone (`raw`): parsing JSON costs the same everywhere.
Writing: users per second, all in puts of 1,000 (the snapshot in one go). `erase`: seconds for 100 users at once.

Then a lookup among `--lookups` users with small states (100 bytes; 0 leaves it out, 1 M take about 2 minutes): CPU
seconds of this one thread. `lookups_per_s` is the snapshot's, which training reads; the goal is 100,000. Beside it
SQLite, the bytes alone, and the obvious way: SQLite asked for one user at a time.
"""

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from statistics import median

from persona_rm.profiles import ProfileStore, open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.profiles.base import hashes
from persona_rm.types import UserState

BATCH, REPEATS, ROUND, PUT = 256, 5, 40, 1000
ERASED = 100
GOAL, SMALL_PUT, ALONE = 100_000, 10_000, 2000


def made(number: int) -> UserState:
    """About 1 KB: 90 directions and some evidence ids."""
    draw = Random(number)
    payload = {"directions": [draw.choice([-1, 0, 1]) for _ in range(90)]}
    evidence = [f"{draw.getrandbits(64):016x}" for _ in range(32)]
    return UserState("vote", f"user-{number:08d}", payload | {"evidence": evidence}, n_items=32)


def small(number: int) -> UserState:
    """What a method keeps of a few answers."""
    return UserState("vote", f"user-{number:08d}", {"directions": [number % 3 - 1, 1, 0, -1]}, n_items=4)


class Files:
    """The obvious alternative: a folder with a JSON file per user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, states: list[UserState]) -> None:
        for state in states:
            (self.folder / f"{state.user_id}.json").write_text(state.to_json(), encoding="utf-8")

    def raw(self, user_ids: list[str]) -> dict[str, bytes]:
        return {user: (self.folder / f"{user}.json").read_bytes() for user in user_ids}

    def get(self, user_ids: list[str]) -> dict[str, UserState]:
        return {user: UserState.from_json(text.decode()) for user, text in self.raw(user_ids).items()}


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started


def fill(store: ProfileStore | Files, users: int) -> float:
    """Seconds in `put`; making the states does not count."""
    spent = 0.0
    for start in range(0, users, PUT):
        states = [made(number) for number in range(start, min(start + PUT, users))]
        spent += seconds(lambda states=states: store.put(states))
    return spent


def snapshot(path: Path, users: int) -> float:
    """Seconds of writing; making the states does not count."""
    making = 0.0

    def states() -> Iterator[UserState]:
        nonlocal making
        for number in range(users):
            started = time.perf_counter()
            state = made(number)
            making += time.perf_counter() - started
            yield state

    return seconds(lambda: write_snapshot(path, states())) - making


def read(get: Callable[[list[str]], object], batches: list[list[str]]) -> None:
    for batch in batches:
        assert len(get(batch)) == len(batch)


def rates(stores: dict[str, ProfileStore | Files], users: int) -> dict[str, dict[str, float]]:
    """name -> users per second, parsed and raw; medians over rounds in which all take part."""
    draw = Random(0)
    calls = {(name, "users_per_second"): store.get for name, store in stores.items()}
    for name, store in stores.items():
        calls[name, "raw_per_second"] = store.raw if isinstance(store, Files) else reader(store)
    spent: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(REPEATS):
        batches = [[f"user-{n:08d}" for n in draw.sample(range(users), BATCH)] for _ in range(ROUND)]
        for key, get in calls.items():
            spent[key].append(seconds(lambda get=get, batches=batches: read(get, batches)))
    found: dict[str, dict[str, float]] = {name: {} for name in stores}
    for (name, what), times in spent.items():
        found[name][what] = BATCH * ROUND / median(times)
    return found


def reader(store: ProfileStore) -> Callable[[list[str]], object]:
    return lambda batch: store._read(hashes(batch))


def measure(folder: Path, users: int) -> dict[str, dict[str, float]]:
    (folder / "files").mkdir()
    with ExitStack() as end:
        written = {"arrow": snapshot(folder / "p.arrow", users)}
        stores: dict[str, ProfileStore | Files] = {"arrow": open_store(str(folder / "p.arrow"))}
        stores["sqlite"] = open_store(str(folder / "p.sqlite"), create=True)
        if shutil.which("redis-server"):
            stores["redis"] = open_store(end.enter_context(redis_server(folder)))
        stores["files"] = Files(folder / "files")
        written |= {name: fill(store, users) for name, store in stores.items() if name != "arrow"}
        found = rates(stores, users)
        for name, figures in found.items():
            figures["ratio"] = figures["users_per_second"] / found["files"]["users_per_second"]
            figures["raw_ratio"] = figures["raw_per_second"] / found["files"]["raw_per_second"]
            figures["written_per_second"] = users / written[name]
            if isinstance(store := stores[name], ProfileStore):
                figures["erase_seconds"] = erasing(store)
                store.close()
    return found


def erasing(store: ProfileStore) -> float:
    return seconds(lambda: store.erase([f"user-{number:08d}" for number in range(ERASED)]))


def lookups(folder: Path, users: int) -> dict[str, float]:
    """Users per CPU second of one thread, medians over rounds in which all take part."""
    write_snapshot(folder / "many.arrow", map(small, range(users)))
    arrow, sqlite = open_store(str(folder / "many.arrow")), open_store(str(folder / "many.sqlite"), create=True)
    for start in range(0, users, SMALL_PUT):
        sqlite.put([small(number) for number in range(start, min(start + SMALL_PUT, users))])
    calls = {"": arrow.get, "_raw": reader(arrow), "_sqlite": sqlite.get, "_sqlite_raw": reader(sqlite)}
    draw = Random(1)
    spent: dict[str, list[float]] = {name: [] for name in [*calls, "_one_by_one"]}
    for _ in range(REPEATS):
        batches = [[f"user-{n:08d}" for n in draw.sample(range(users), BATCH)] for _ in range(ROUND)]
        singles = [[user] for batch in batches for user in batch][:ALONE]
        for name, get in [*calls.items(), ("_one_by_one", sqlite.get)]:
            asked = singles if name == "_one_by_one" else batches
            work = seconds(lambda get=get, asked=asked: read(get, asked), time.process_time)
            spent[name].append(work / sum(map(len, asked)))
    found = {f"lookups{name}_per_s": 1 / median(times) for name, times in spent.items()}
    found["lookups_ratio"] = found["lookups_per_s"] / found["lookups_one_by_one_per_s"]
    return {"lookups_users": users, "lookups_goal_per_s": GOAL, **found}


def show(found: dict[str, dict[str, float]]) -> None:
    columns = ["users_per_second", "ratio", "raw_per_second", "raw_ratio", "written_per_second", "erase_seconds"]
    print(f"{'store':<8}" + "".join(f"{column:>20}" for column in columns))
    for name, figures in found.items():
        print(f"{name:<8}" + "".join(f"{figures.get(column, float('nan')):>20,.2f}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--users", type=int, default=100_000, help="users with states of 1 KB; 0 leaves them out")
    parser.add_argument("--lookups", type=int, default=1_000_000, help="users in the store of the lookup figure")
    parser.add_argument("--folder", type=Path, help="where the stores lie meanwhile; a local disk")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        found = measure(Path(folder), told.users) if told.users else {}
        looked = lookups(Path(folder), told.lookups) if told.lookups else {}
    show(found)
    for key, value in looked.items():
        print(f"{key:28}{value:>16,.1f}")
    if told.json:
        figures = {"users": told.users, "stores": found, **looked}
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
