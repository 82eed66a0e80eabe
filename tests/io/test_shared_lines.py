"""Lines that others append while a file is rewritten are not lost."""

import json
import threading

from persona_rm.io.shared_lines import append_line, rewrite_lines


def test_no_line_is_lost_while_the_file_is_rewritten(tmp_path):
    path, n = tmp_path / "log", 400
    append_line(path, json.dumps({"user": "ann", "n": -1}))

    def append(writer):
        for i in range(n):
            append_line(path, json.dumps({"user": f"w{writer}", "n": i}))

    writers = [threading.Thread(target=append, args=(writer,)) for writer in range(3)]
    for thread in writers:
        thread.start()
    removed = 0
    while any(thread.is_alive() for thread in writers):
        append_line(path, json.dumps({"user": "ann", "n": 0}))
        removed += rewrite_lines(path, lambda line: None if b'"ann"' in line else line)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((row["user"], row["n"]) for row in rows) == [(f"w{w}", i) for w in range(3) for i in range(n)]
    assert removed > 1


def test_a_file_that_needs_no_change_stays_the_same_file_and_a_new_one_keeps_the_rights(tmp_path):
    path = tmp_path / "log"
    path.write_text("a\nb\n")
    path.chmod(0o600)
    before = path.stat()
    assert rewrite_lines(path, lambda line: line) == 0
    assert path.stat().st_ino == before.st_ino
    assert rewrite_lines(path, lambda line: None if line == b"a\n" else line) == 1
    assert (path.read_text(), path.stat().st_mode) == ("b\n", before.st_mode)
