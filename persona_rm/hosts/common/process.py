"""Run the unmodified host as a process, show what it does, and believe neither its silence nor its exit code alone."""

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
from persona_rm.io.terminal import make_console

SILENT = {
    r"Failed to fetch reward from remote RM": "a reward raised; the host logs that as information and trains on",
    r"reward_model_group is required": "no sample had a reward",
    r"persona_rm\.errors\.\w+: ": "a plugin refused to go on",
    r"(<pad>\s*){8}": "rollouts are padding: the trained weights did not reach vLLM",
    r"'(?:rollout/reward_mean|policy_loss|actor_grad_norm|loss)': nan": "training has become NaN",
}
"""Failures after which the host may still exit with 0, or wait for minutes: the job is ended at the first of them."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ACTOR = re.compile(r"^\(\w+ pid=\d+[^()]*\)")
"""What Ray puts before a line of an actor."""

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
    """The exact command, ready to paste: what we add to the environment, then the arguments, each flag on its line."""
    added = {k: v for k, v in (env or {}).items() if k.startswith(_SHOWN) and os.environ.get(k) != v}
    exports = [f"{k}={shlex.quote(v)}" for k, v in sorted(added.items())]
    words = [f"\\\n  {word}" if word.startswith("--") else word for word in map(shlex.quote, argv)]
    return " \\\n".join([*exports, " ".join(words)])


def silent_failure(text: str) -> str | None:
    """What a log line betrays that the exit code may not, or None."""
    return next((meaning for pattern, meaning in SILENT.items() if re.search(pattern, text)), None)


def plain(line: str) -> str:
    """What a line of the host says, without colours, cursor moves and the name of the Ray actor that said it."""
    return _ACTOR.sub("", _COLOUR.sub("", line)).strip()


def run_host(
    argv: Sequence[str],
    env: Mapping[str, str],
    log_path: Path,
    echo: bool = True,
    *,
    cwd: Path | None = None,
    console: Console | None = None,
) -> float:
    """Run it to the end and return the seconds it took. Output goes to `log_path`, the command to `commands.sh` beside
    it.

    Raises `HostError` with the last lines and the path of the log when the exit code is not 0, or when the log shows
    one of the failures in `SILENT`. An interrupt ends the whole process group.
    """
    console = console or make_console(stderr=True)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = command_line(argv, env)
    with (log_path.parent / "commands.sh").open("a") as file:
        file.write(f"cd {shlex.quote(str(cwd or Path.cwd()))}\n{command}\n\n")
    if echo:
        console.print(Text(command, style="dim"), soft_wrap=True)
    for lock in remove_stale_locks(env):
        console.print(f"removed {lock}: a build that was killed had left it, and the host would have waited for it")
    started = time.monotonic()
    code, tail, hidden = _stream(argv, env, log_path, cwd, console if echo else None)
    if code != 0 or hidden:
        why = hidden or f"exit code {code}"
        lines = "\n".join(tail)
        raise HostError(f"the host's job failed ({why}). Log: {log_path}. Last lines:\n{lines}")
    return time.monotonic() - started


def _stream(
    argv: Sequence[str], env: Mapping[str, str], log_path: Path, cwd: Path | None, console: Console | None
) -> tuple[int, deque[str], str | None]:
    """Copy the output line by line; returns the exit code, the last lines and the failure that ended it early."""
    tail: deque[str] = deque(maxlen=25)
    hidden: str | None = None
    process = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    view = _View(console)
    try:
        with log_path.open("w") as log, view:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if said := plain(line):
                    tail.append(said)
                    view.show(tail)
                    if hidden := silent_failure(line):
                        break
        return (0 if hidden else process.wait()), tail, hidden
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]", patience: float = 15.0) -> None:
    """Terminate the process group that we started, if it still runs."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


class _View:
    """The last lines, live on a terminal; elsewhere one line now and then."""

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
