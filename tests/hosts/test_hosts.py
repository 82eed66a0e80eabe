import json
import subprocess
import sys
from pathlib import Path

import pytest

from persona_rm.errors import UnknownName
from persona_rm.hosts import DEFAULT_HOST, HOSTS, load_host
from persona_rm.hosts.base import Host, HostJob, PpoJob
from persona_rm.hosts.common import hosts


def test_every_host_of_the_table_is_complete_and_has_its_plugins():
    for name in HOSTS.names():
        host = load_host(name)
        assert isinstance(host, Host)
        assert host.name == name
        assert host.versions
        assert name in hosts()
        for part in ("reward", "agent", "rehearsal"):
            [path] = host.reward_entry(part).values()
            assert Path(path).exists()


def test_a_recipe_without_a_host_gets_the_default():
    assert load_host().name == DEFAULT_HOST


def test_an_unknown_host_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(UnknownName, match=f"no 'trlx' in persona_rm.hosts; there is: {DEFAULT_HOST}"):
        load_host("trlx")


def test_loading_a_host_loads_no_heavy_package():
    heavy = ("torch", "transformers", "ray", "vllm", "deepspeed")
    code = "import sys\nfrom persona_rm.hosts import load_host\nload_host()\n"
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_line_of_a_job_runs_when_pasted(tmp_path):
    job = HostJob([sys.executable, "-c", "import os; print(os.environ['PERSONA_RM_X'])"], {"PERSONA_RM_X": "a b"})
    done = subprocess.run(["bash", "-c", job.line()], capture_output=True, text=True, check=True)
    assert done.stdout == "a b\n"


def make_run(folder, rows):
    log = folder / "reward-0.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PpoJob(1.0, folder / "ppo.log", folder / "tb", (log,))


def test_samples_come_in_the_order_of_time(tmp_path):
    run = make_run(tmp_path, [{"time": 2}, {"time": 1}, {"time": 3}])
    assert [row["time"] for row in run.samples()] == [1, 2, 3]


def test_a_run_in_which_nothing_was_left_out_has_no_file_of_it(tmp_path):
    run = make_run(tmp_path, [])
    assert run.skipped() == []
    (tmp_path / "skipped.jsonl").write_text('{"user": "u1"}\n')
    assert run.skipped() == [{"user": "u1"}]
