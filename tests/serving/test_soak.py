"""The soak of tests/perf for a minute: nothing lost, nothing broken, memory flat."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "perf" / "soak.py"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_a_minute_of_steady_load(tmp_path):
    out = tmp_path / "soak.json"
    command = [sys.executable, str(SCRIPT), "--minutes", "1", "--method", "pba_linear", "--json", str(out)]
    subprocess.run(command, check=True)
    found = json.loads(out.read_text())
    assert found["calls"] > 5000
    assert min(found[kind] for kind in ("row", "group", "malformed", "hang_up")) > 0
    assert (found["lost"], found["server_errors"], found["accepted"]) == (0, 0, 0)
    assert found["kib_per_call"] < 1
