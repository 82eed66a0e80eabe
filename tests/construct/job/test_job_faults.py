"""What happens to a build in real life: SIGKILL, a full disk, broken files, huge and odd threads."""

import gzip
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from persona_rm.construct.job.stage import full_disk_told
from persona_rm.errors import DataError
from tests.http_samples import Server, chat

KILLS = 6
RECIPE = """\
name: killed
seed: 3
source: {name: simulator, users: 60, test_users: 10, posts: 240}
build: {threshold: 0.95, mirror: true, split: {test: 0.2}, shard: 16, annotate_batch: 8, workers: 2}
"""
SET = {"PERSONA_RM_SALT": "the same in every run", "PYTHONWARNINGS": "ignore"}


@pytest.fixture
def alone():
    """The environment of a build that starts a cluster of its own, which ends with it."""
    return {**os.environ, **SET}


@pytest.fixture
def beside(shared_ray):
    """The environment of a build that joins the session's cluster."""
    return {**os.environ, **SET, **shared_ray}


def command(recipe, out, *more):
    return [sys.executable, "-m", "persona_rm.cli", "build", str(recipe), f"out={out}", *more]


def rows(out):
    """Every row of every set as text, in its order: what must not change."""
    found = []
    for path in sorted([*out.glob("data/*.parquet"), *out.glob("mirrored/*.parquet")]):
        kind = path.name.split("-")[0]
        found += [f"{kind} {json.dumps(row, sort_keys=True)}" for row in pq.read_table(path).to_pylist()]
    return found


def kill(process):
    """The whole session at once, as a machine that loses power does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finished(out):
    """The stages that are done."""
    return {path.parent.name for path in out.glob("stages/*/_done.json")}


def at_work(process, out, began, least):
    """Waits until this attempt has begun a stage and `least` are done. False where the build ended instead."""
    while process.poll() is None:
        begun = any(path.stat().st_mtime > began for path in out.glob("stages/*/_key.json"))
        if begun and len(finished(out)) >= least:
            return True
        time.sleep(0.02)
    return False


def wait_for_a_moment(seconds, out):
    """So long, or until only the card is left to do: on a quick machine the build could end before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and "split" not in finished(out):
        time.sleep(0.01)


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_same_rows_byte_for_byte(tmp_path, alone, beside):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(recipe, whole), check=True, capture_output=True, env=beside)
    moments, hit, done_before = random.Random(20), [], set()
    for least in range(1, KILLS + 1):
        began = time.time()
        process = subprocess.Popen(
            command(recipe, killed), start_new_session=True, env=alone, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert at_work(process, killed, began, least), f"the build ended after the kills {hit}"
        wait_for_a_moment(moments.uniform(0, 0.8), killed)
        assert process.poll() is None, f"the build ended after the kills {hit}"
        kill(process)
        done = finished(killed)
        assert done_before <= done, "a kill undid a finished stage"
        hit.append(len(done))
        done_before = done
    assert len(set(hit)) > 3, f"stages that were done at each kill: {hit}"
    last = subprocess.run(command(recipe, killed), capture_output=True, text=True, env=beside, check=False)
    assert last.returncode == 0, last.stderr[-2000:]
    assert rows(killed) == rows(whole) != []


def unshare():
    """Can a small file system be mounted here without being root?"""
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    return shutil.which("unshare") is not None and tried.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare") or not unshare(), reason="no user namespaces: no small disk to fill")
def test_a_full_disk_is_told_and_the_build_goes_on_when_there_is_room(tmp_path, alone):
    recipe, disk = tmp_path / "recipe.yaml", tmp_path / "disk"
    recipe.write_text(RECIPE)
    disk.mkdir()
    build, there = shlex.join(command(recipe, disk / "out")), shlex.quote(str(disk))
    script = (
        f"mount -t tmpfs -o size=400k tmpfs {there}; {build}; echo FIRST $?; "
        f"mount -o remount,size=200m {there}; {build}; echo SECOND $?; ls {there}/out/data"
    )
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, env=alone, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "FIRST 1" in said, said
    assert "Make room and start the same command again" in said
    assert "SECOND 0" in said
    assert "train-00000-of-" in said


def test_an_error_of_the_system_says_what_to_do(tmp_path):
    with (
        pytest.raises(DataError, match=r"No space left on device.*MB are free here\. Make room"),
        full_disk_told(tmp_path),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(DataError, match=r"Permission denied: 'x'$"), full_disk_told(tmp_path):
        raise PermissionError(13, "Permission denied", "x")
    with pytest.raises(DataError, match="as it is"), full_disk_told(tmp_path):
        raise DataError("as it is")


def thread(number, replies):
    return {
        "thread_id": f"r{number}", "source": "reddit/test", "prompt": f"What do you think of question {number}?",
        "responses": [{"text": text} for text in replies],
    }  # fmt: skip


LIKES = "I love watching football with my friends and we never miss a match in the stadium, number {}"
HATES = "Honestly I would rather stay at home with a good book than meet anybody at all, number {}"


def odd_dump(folder: Path) -> None:
    """Good threads in one file; beside it files that are cut, of another encoding, empty, and threads that are odd."""
    folder.mkdir()
    good = [
        thread(n, [LIKES.format(n), HATES.format(n), f"Maybe {n} is right, who knows these days"]) for n in range(40)
    ]
    good += [
        thread("big", ["x" * 10_000_000, LIKES.format("big"), HATES.format("big")]),
        thread("many", [f"{LIKES if i % 2 else HATES}".format(f"many {i}") for i in range(1500)]),
        thread("alike", [f"This is reply {i} and it says nothing about its author" for i in range(6)]),
        thread("none", []),
    ]
    text = "".join(json.dumps(row) + "\n" for row in good)
    (folder / "a_good.jsonl").write_text(text + '{"thread_id": "cut", "sour')
    (folder / "b_cut.jsonl.gz").write_bytes(gzip.compress(text.encode())[:20_000])
    latin = json.dumps(
        thread("latin", ["caf\u00e9 au lait is what I drink", HATES.format("latin")]), ensure_ascii=False
    )
    (folder / "c_latin.jsonl").write_bytes(latin.encode("latin-1") + b"\n")
    (folder / "d_empty.jsonl").write_text("")


@pytest.mark.slow
def test_bad_files_and_odd_threads_stop_nothing_and_the_exit_code_and_card_say_so(tmp_path, beside):
    odd_dump(tmp_path / "dump")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: odd\nsource: {{name: reddit, path: {tmp_path / 'dump'}}}\nannotator: encoder\n"
        "build: {threshold: 0.3, min_items: 2, clean: {duplicates: true}, annotate_batch: 8, workers: 2}\n"
    )
    done = subprocess.run(command(recipe, tmp_path / "out"), capture_output=True, text=True, env=beside, check=False)
    assert done.returncode == 3, done.stderr[-2000:]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    (source,) = card["sources"]
    assert source["files"] == 4
    lines = [json.loads(x) for x in (tmp_path / "out/stages/raw/quarantine.jsonl").read_text().splitlines()]
    bad = {Path(line["file"]).name for line in lines}
    assert {"a_good.jsonl", "b_cut.jsonl.gz", "c_latin.jsonl", "d_empty.jsonl"} <= bad
    assert card["drops"]["response"]["too long"] >= 1
    assert card["rows"]["threads_usable"] >= 42
    head = (tmp_path / "out" / "README.md").read_text().split("# odd")[1][:1500]
    assert "Quarantined:" in head
    assert "rows quarantined" in head


def answers(prompt, tries):
    """A server that is busy at first and at times, and that talks rubbish about every eighth response."""
    said = prompt.rsplit("Comment:", 1)[1]
    number = sum(said.encode())
    if tries == 0 and number % 3 == 0:
        return web.Response(status=429, headers={"Retry-After": "0"}, text="busy")
    if number % 8 == 0:
        return chat("I would rather not say")
    poles = [(place, 3 if number >> place & 1 else 1) for place in range(1, 8) if number >> (place + 3) & 1]
    return chat(json.dumps({str(place): pole for place, pole in poles}))


@pytest.mark.slow
def test_annotation_over_http_survives_a_busy_server_counts_rubbish_and_stops_when_it_is_dead(tmp_path, beside):
    server = Server(answers)
    lines = [json.dumps(thread(n, [LIKES.format(n), HATES.format(7 * n), f"Maybe {n} is right"])) for n in range(60)]
    (tmp_path / "threads.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: asked\nsource: {{name: reddit, path: {tmp_path / 'threads.jsonl'}, licence: none}}\n"
        f"annotator: {{name: http, form: json, server: {{base_url: '{server.url}', model: m, retries: 3, "
        "backoff: 0.01, down_after: 5}}\n"
        "build: {threshold: 0.3, min_items: 2, max_errors: 0.5, annotate_batch: 16, shard: 20, workers: 1}\n"
    )
    try:
        done = subprocess.run(
            command(recipe, tmp_path / "out"), capture_output=True, text=True, env=beside, check=False
        )
        assert done.returncode == 3, done.stderr[-2000:]
        card = json.loads((tmp_path / "out" / "card.json").read_text())
        dropped = {why: n for why, n in card["drops"]["response"].items() if why.startswith("not annotated")}
        assert len(dropped) == 1
        assert 5 < sum(dropped.values()) < 60
        assert "rather not say" not in json.dumps(card), "an answer is never repeated"
        assert card["rows"]["examples"] > 10
    finally:
        server.stop()
    dead = subprocess.run(command(recipe, tmp_path / "dead"), capture_output=True, text=True, env=beside, check=False)
    assert dead.returncode == 1
    assert "HostError" in dead.stderr
    assert not list((tmp_path / "dead" / "data").glob("*")), "a score is never made up"
