"""Run an unmodified host as a process and show its output.

An exit code of 0 is not enough: a host can swallow an error and go on, or hang. While the job runs, its log is
searched for lines that show such a failure.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from persona_rm.errors import HostError
from persona_rm.hosts.common.locks import remove_stale_locks
from persona_rm.hosts.common.root_cause import ACTORS, COLOUR, root_cause
from persona_rm.io.terminal import make_console

REFUSED = {r"persona_rm\.errors\.\w+: ": "a plugin refused to go on"}
"""The failure that every host can show: pattern of a log line -> meaning. Hosts add their own. After such a failure
the process may still exit with 0, or wait for minutes, so the job is ended at the first of them."""

_TAIL = 25
"""Last lines that an error shows if nothing in the log names a cause; a few are enough after a cause."""
_TAIL_AFTER_CAUSE = 6

_SHOWN = (
    "PYTHONPATH",
    "RAY_",
    "VLLM_",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "DS_ACCELERATOR",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_",
    "OMP_NUM_THREADS",
    "PERSONA_RM_",
    "TOKENIZERS_PARALLELISM",
)


def command_line(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """The exact command, ready to be pasted: variables that differ from this process, then the arguments, each flag on
    its own line."""
    added = {k: v for k, v in (env or {}).items() if k.startswith(_SHOWN) and os.environ.get(k) != v}
    exports = [f"{k}={shlex.quote(v)}" for k, v in sorted(added.items())]
    words = [f"\\\n  {word}" if word.startswith("--") else word for word in map(shlex.quote, argv)]
    return " \\\n".join([*exports, " ".join(words)])


def silent_failure(text: str, silent: Mapping[str, str] = REFUSED) -> str | None:
    """The meaning of the first pattern of `silent` that a log line matches, or None."""
    return next((meaning for pattern, meaning in silent.items() if re.search(pattern, text)), None)


def plain(line: str) -> str:
    """A line of the host's output without colours, cursor moves and the prefix of a Ray actor."""
    return ACTORS.sub("", COLOUR.sub("", line)).strip()


def run_host(
    argv: Sequence[str],
    env: Mapping[str, str],
    log_path: Path,
    echo: bool = True,
    *,
    cwd: Path | None = None,
    console: Console | None = None,
    silent: Mapping[str, str] = REFUSED,
) -> float:
    """Run a command to its end and return the seconds it took. The output goes to `log_path`, the command to
    `commands.sh` beside it.

    Raises `HostError` if the exit code is not 0, or if a line matches a pattern of `silent` (pattern -> meaning). The
    error has the first exception of the log (`root_cause`), the path of the log, and the last lines. An interrupt ends
    the whole process group.
    """
    console = console or make_console(stderr=True)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = command_line(argv, env)
    with (log_path.parent / "commands.sh").open("a") as file:
        file.write(f"cd {shlex.quote(str(cwd or Path.cwd()))}\n{command}\n\n")
    if echo:
        console.print(Text(command, style="dim"), soft_wrap=True)
    for lock in remove_stale_locks(env):
        console.print(f"removed {lock}: a killed build had left it, and the host would have waited for it")
    started = time.monotonic()
    code, tail, hidden = _stream(argv, env, log_path, cwd, console if echo else None, silent)
    if code != 0 or hidden:
        raise HostError(_failure(hidden or f"exit code {code}", log_path, list(tail)))
    return time.monotonic() - started


def _failure(why: str, log_path: Path, tail: Sequence[str]) -> str:
    """What the error of a failed job says: the cause comes first, because the last lines name its consequences."""
    failed = f"the host's job failed ({why})."
    cause = root_cause(log_path)
    last = "\n".join(tail[-_TAIL_AFTER_CAUSE:] if cause else tail)
    if not cause:
        return f"{failed} Log: {log_path}. Last lines:\n{last}"
    first = "\n".join(cause)
    return f"{failed} The first exception in its log:\n{first}\nLog: {log_path}. Last lines:\n{last}"


def _stream(
    argv: Sequence[str],
    env: Mapping[str, str],
    log_path: Path,
    cwd: Path | None,
    console: Console | None,
    silent: Mapping[str, str],
) -> tuple[int, deque[str], str | None]:
    """Copy the output line by line; returns the exit code, the last lines and the failure that ended it early."""
    tail: deque[str] = deque(maxlen=_TAIL)
    hidden: str | None = None
    process = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A host may write bytes that are no UTF-8, and its log must not end the job.
        errors="replace",
        # A process group of its own, so that `_end` reaches the host's children and nothing else.
        start_new_session=True,
    )
    assert process.stdout is not None
    view = _View(console)
    try:
        with log_path.open("w") as log, view:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if shown := plain(line):
                    tail.append(shown)
                    view.show(tail)
                    if hidden := silent_failure(line, silent):
                        break
        # After a hidden failure the process is not awaited: it may go on for minutes, and is ended below.
        return (0 if hidden else process.wait()), tail, hidden
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]", timeout: float = 15.0) -> None:
    """Terminate the process group that was started here, if it still runs."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            continue


class _View:
    """Shows the last lines: live on a terminal, elsewhere one line every 20 seconds."""

    def __init__(self, console: Console | None, every: float = 20.0) -> None:
        self.console, self.every = console, every
        self.started = self.shown = time.monotonic()
        self.live = (
            Live(console=console, refresh_per_second=4, transient=True) if console and console.is_terminal else None
        )

    def __enter__(self) -> "_View":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, tail: Sequence[str]) -> None:
        """Show the newest lines of the host."""
        now = time.monotonic()
        if self.live:
            width = self.live.console.width - 2
            text = "\n".join(line[:width] for line in list(tail)[-8:])
            self.live.update(Text(f"{text}\n{now - self.started:.0f} s", style="dim"))
        elif self.console and now - self.shown > self.every:
            self.shown = now
            self.console.print(Text(f"{now - self.started:4.0f} s  {tail[-1][:150]}", style="dim"), soft_wrap=True)
