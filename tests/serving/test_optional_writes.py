"""A full disk costs log lines and no reward, and the log stays readable."""

import logging
import subprocess
import sys
from pathlib import Path

from persona_rm.io.shared_lines import append_line
from persona_rm.serving.optional_writes import LOG_LINES, OptionalWrites

FULL = Path("/dev/full")
"""Every write to this device fails as on a full disk."""


def test_a_failure_is_counted_each_time_and_reported_once(tmp_path, caplog):
    writes, path = OptionalWrites("reward-0"), tmp_path / "log"
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            writes.attempt(LOG_LINES, lambda: append_line(FULL, "{}"))
        (record,) = caplog.records
        assert "reward-0 cannot write its log lines ([Errno 28] No space left on device)" in record.getMessage()
        for _ in range(2):
            writes.attempt(LOG_LINES, lambda: append_line(path, "{}"))
    assert caplog.records[1].getMessage().endswith("writes its log lines again; 40 were not written")
    assert len(caplog.records) == 2
    assert (writes.failed, path.read_text()) == ({LOG_LINES: 40}, "{}\n{}\n")


def test_of_a_line_without_room_nothing_stays(tmp_path):
    # The limit on the size of a file cuts a write as a full disk does: the first part is written.
    script = """
import resource, signal, sys
from pathlib import Path
from persona_rm.io.shared_lines import append_line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for line in ("a" * 60, "b" * 60, "c" * 30):
    try:
        append_line(Path(sys.argv[1]), line)
    except OSError as error:
        print(type(error).__name__, line[0])
"""
    path = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError b\n"
    assert path.read_text() == "a" * 60 + "\n" + "c" * 30 + "\n"
