import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from persona_rm.hosts.common import run_host
from persona_rm.hosts.common.locks import remove_stale_locks

HOLD = """
import sys
from torch.utils.file_baton import FileBaton
print(FileBaton(sys.argv[1]).try_acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "torch_extensions/py311_cpu/cpu_adam/lock"
    path.parent.mkdir(parents=True)
    return path


def test_the_lock_of_a_build_stays_while_it_runs_and_goes_when_it_was_killed(tmp_path, lock):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    env.pop("TORCH_EXTENSIONS_DIR", None)
    builder = subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert builder.stdout.readline() == "True\n"
    assert remove_stale_locks(env) == []
    assert lock.exists()
    builder.kill()
    builder.wait()
    assert lock.exists(), "this is why the next build waits for ever"
    screen = io.StringIO()
    run_host(
        [sys.executable, "-c", "print('built')"], env, tmp_path / "x.log", console=Console(file=screen, width=500)
    )
    assert not lock.exists()
    assert f"removed {lock}" in screen.getvalue()


def test_a_folder_that_the_user_named_is_left_alone(tmp_path, lock):
    lock.touch()
    assert remove_stale_locks({"XDG_CACHE_HOME": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path)}) == []
    assert lock.exists()


def test_no_cache_no_locks(tmp_path):
    assert remove_stale_locks({"HOME": str(tmp_path)}) == []
