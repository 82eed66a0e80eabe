"""An environment at a path with a space is refused before a job takes minutes to fail in it."""

import sys

import pytest

from persona_rm.doctor.packages import check_python
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import HostError
from persona_rm.hosts.openrlhf import launch
from persona_rm.interpreter import fault_of_path


def test_a_path_without_spaces_has_no_fault(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/opt/env")
    assert fault_of_path() == ""


def test_a_space_is_named_with_what_to_do(tmp_path, monkeypatch):
    folder, real = tmp_path / "my env", tmp_path / "env"
    monkeypatch.setattr(sys, "prefix", str(folder))
    assert "make install VENV=/path/without/spaces" in fault_of_path()
    real.mkdir()
    folder.symlink_to(real)
    assert f"source {real}/bin/activate" in fault_of_path()


def test_doctor_and_the_launch_of_a_job_name_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "my env"))
    monkeypatch.setattr(launch, "require_host", lambda: "0")
    with pytest.raises(HostError, match="path with a space"):
        launch.run_ppo({}, tmp_path, tmp_path)
    (finding,) = check_python(DoctorSubject())
    assert (finding.severity, finding.what) == ("error", fault_of_path().partition(". ")[0])
    assert finding.todo.startswith("Make one elsewhere")
