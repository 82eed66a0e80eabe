import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from persona_rm.errors import HostError
from persona_rm.hosts.common import command_line, run_host


def python(code):
    return [sys.executable, "-u", "-c", code]


def test_output_goes_to_the_log_and_the_command_beside_it(tmp_path):
    log = tmp_path / "run" / "host.log"
    screen = io.StringIO()
    seconds = run_host(python("print('hello')"), os.environ, log, console=Console(file=screen))
    assert log.read_text() == "hello\n"
    assert sys.executable in screen.getvalue()
    assert "hello" in screen.getvalue()
    assert sys.executable in (tmp_path / "run" / "commands.sh").read_text()
    assert 0 < seconds < 60


def test_the_printed_command_works_when_pasted(tmp_path):
    env = {**os.environ, "PERSONA_RM_X": "it's $HOME"}
    text = command_line(python("import os; print(os.environ['PERSONA_RM_X'])"), env)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "it's $HOME\n"


def test_two_commands_follow_one_another_in_one_file(tmp_path):
    for word in ("first", "second"):
        run_host(python(f"print('{word}')"), os.environ, tmp_path / f"{word}.log", echo=False)
    done = subprocess.run(["bash", tmp_path / "commands.sh"], capture_output=True, text=True, check=True)
    assert done.stdout == "first\nsecond\n"


def test_a_failed_job_shows_its_last_lines_and_where_the_log_is(tmp_path):
    with pytest.raises(HostError, match=r"exit code 3") as error:
        run_host(python("print('the reason'); raise SystemExit(3)"), os.environ, tmp_path / "x.log", echo=False)
    assert "the reason" in str(error.value)
    assert str(tmp_path / "x.log") in str(error.value)


def test_what_is_shown_has_no_colours_and_no_empty_lines_of_actors(tmp_path):
    actor = "\x1b[36m(PolicyModelActor pid=7, ip=10.0.0.1)\x1b[0m"
    said = (f"{actor} reward 0.5", "step 1/8 [00:02]\x1b[A", f"{actor} ", "(EngineCore pid=9) ready")
    code = "".join(f"print({line!r});" for line in said)
    with pytest.raises(HostError) as error:
        run_host(python(code + "raise SystemExit(3)"), os.environ, tmp_path / "x.log", echo=False)
    assert str(error.value).endswith("Last lines:\nreward 0.5\nstep 1/8 [00:02]\nready")
    assert (tmp_path / "x.log").read_text() == "".join(f"{line}\n" for line in said)


def test_a_line_that_shows_a_failure_is_one_although_the_exit_code_is_zero(tmp_path):
    silent = {r"lost \d+ samples": "samples are missing"}
    with pytest.raises(HostError, match=r"the host's job failed \(samples are missing\)"):
        run_host(python("print('lost 3 samples')"), os.environ, tmp_path / "x.log", echo=False, silent=silent)
    run_host(python("print('lost no samples')"), os.environ, tmp_path / "y.log", echo=False, silent=silent)


def test_a_job_that_is_lost_is_ended_at_once(tmp_path):
    code = "import time; print('persona_rm.errors.HostError: no actors', flush=True); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(HostError, match=r"a plugin refused to go on.*(?s:.*)no actors"):
        run_host(python(code), os.environ, tmp_path / "x.log", echo=False)
    assert time.monotonic() - started < 20


def test_progress_bars_and_bytes_that_are_not_text_do_not_stop_the_log(tmp_path):
    code = r"import sys; sys.stdout.buffer.write(b'10%\r20%\r\xff\xfe done\n')"
    run_host(python(code), os.environ, tmp_path / "x.log", echo=False)
    assert "20%" in (tmp_path / "x.log").read_text()


@pytest.fixture
def interruptible():
    """An interrupt raises, also where a shell started the tests in the background, with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_whole_process_group(tmp_path):
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n'); print('up'); time.sleep(60)"
    )

    def interrupt():
        while not pids.is_file() or not pids.read_text().endswith("\n"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_host(python(code), os.environ, tmp_path / "x.log", echo=False)
    deadline = time.monotonic() + 10
    while any(_runs(int(pid)) for pid in pids.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(int(pid)) for pid in pids.read_text().split())


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_path_with_dashes_behind_a_space_is_one_word_of_the_command():
    argv = ["run", "--out", "/my data/a --b", "--fast"]
    text = command_line(argv, {})
    assert shlex.split(text.replace("\\\n", "")) == argv
