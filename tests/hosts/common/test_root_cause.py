import os
import sys

import pytest

from persona_rm.errors import HostError
from persona_rm.hosts.common import run_host
from persona_rm.hosts.common.root_cause import LINES, first_exception

WORKER = "\x1b[36m(RolloutRayActor pid=7)\x1b[0m (Worker pid=9) ERROR 12-01 00:31:19 [multiproc_executor.py:1055] "
ENGINE = "\x1b[36m(RolloutRayActor pid=7)\x1b[0m (EngineCore pid=8) ERROR 12-01 00:31:19 [core.py:1376] "
TRAINER = "\x1b[36m(PPOTrainer pid=5)\x1b[0m "
COMPILER = [
    "Traceback (most recent call last):",
    '  File "cpp_builder.py", line 627, in _run_compile_cmd',
    "    raise exc.CppCompileError(cmd, output) from e",
    "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:",
    "CppCompileError: C++ compile error",
    "",
    "Output:",
    "ERROR: ld.so: object '/x' from LD_PRELOAD cannot be preloaded (cannot read file data): ignored.",
    "main.cpp:16:17: error: 'at::vec' has not been declared",
]
DEAD = [
    "Traceback (most recent call last):",
    '  File "async_llm.py", line 819, in output_handler',
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)",
]


def log_of_a_dead_engine():
    """The order of a real log: the worker, an engine that quotes it, then hundreds of lines of consequences."""
    lines = ["loading", *(WORKER + line for line in COMPILER), *(ENGINE + line for line in COMPILER)]
    return lines + [TRAINER + line for _ in range(60) for line in DEAD]


def test_the_cause_of_a_dead_engine_is_the_exception_of_its_worker():
    cause = first_exception(log_of_a_dead_engine())
    assert cause == [
        "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:",
        "CppCompileError: C++ compile error",
        "Output:",
        "main.cpp:16:17: error: 'at::vec' has not been declared",
    ]


def test_the_error_of_a_job_shows_the_cause_the_log_and_a_few_last_lines(tmp_path):
    text = tmp_path / "text"
    text.write_text("\n".join(log_of_a_dead_engine()) + "\n")
    code = f"print(open({str(text)!r}).read()); raise SystemExit(1)"
    log = tmp_path / "ppo.log"
    with pytest.raises(HostError) as error:
        run_host([sys.executable, "-c", code], os.environ, log, echo=False)
    said = str(error.value)
    assert "The first exception in its log:\ntorch._dynamo.exc.BackendCompilerFailed" in said
    assert "main.cpp:16:17: error:" in said
    assert f"Log: {log}." in said
    assert said.rstrip().endswith(DEAD[-1])
    assert len(said.splitlines()) < 15


def test_of_a_chain_the_first_exception_is_the_cause_and_lines_of_other_actors_are_not_its_message():
    lines = [
        "(A pid=1) Traceback (most recent call last):",
        "(B pid=2) step 3",
        '(A pid=1)   File "x.py", line 1, in f',
        "(A pid=1) FileNotFoundError: no file 'model'",
        "(B pid=2) step 4",
        "(A pid=1) ",
        "(A pid=1) The above exception was the direct cause of the following exception:",
        "(A pid=1) Traceback (most recent call last):",
        "(A pid=1) RuntimeError: could not start",
    ]
    assert first_exception(lines) == ["FileNotFoundError: no file 'model'"]


def test_an_exception_that_python_ignored_is_no_cause():
    ignored = [
        "Exception ignored in: <function X.__del__>",
        "Traceback (most recent call last):",
        "  f()",
        "KeyError: 1",
    ]
    assert first_exception([*ignored, *DEAD]) == [DEAD[-1]]
    assert first_exception(ignored) == []


def test_without_a_traceback_a_line_that_names_an_error_is_the_cause():
    assert first_exception(["ready", "persona_rm.errors.HostError: no actors", "end"]) == [
        "persona_rm.errors.HostError: no actors"
    ]
    assert first_exception(["ready", "error: unrecognized arguments"]) == []


def test_a_long_message_is_cut():
    lines = ["Traceback (most recent call last):", "ValueError: " + "x" * 1000, *map(str, range(100))]
    cause = first_exception(lines)
    assert len(cause) == LINES + 1
    assert len(cause[0]) < 300
