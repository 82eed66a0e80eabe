"""The variables that plugins and actors read, before a job reads them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import HostError
from persona_rm.serving.client import read_deadline
from persona_rm.serving.failures import read_policy
from persona_rm.serving.labels import LabelPolicy

LOOKED_AT = "variables"


def check_variables(subject: DoctorSubject) -> list[DoctorFinding]:
    """PERSONA_RM_LABELS, PERSONA_RM_ON_FAILURE, PERSONA_RM_DEADLINE and PERSONA_RM_BUNDLE."""
    findings = []
    given = subject.variables
    checks: Mapping[str, Callable[[], object]] = {
        "PERSONA_RM_LABELS": lambda: LabelPolicy.from_env(given),
        "PERSONA_RM_ON_FAILURE": lambda: read_policy(given.get("PERSONA_RM_ON_FAILURE", "stop")),
        "PERSONA_RM_DEADLINE": lambda: read_deadline(given),
    }
    for name, check in checks.items():
        try:
            check()
        except HostError as error:
            findings.append(DoctorFinding("error", LOOKED_AT, str(error), f"Correct {name}, or unset it"))
    named = given.get("PERSONA_RM_BUNDLE")
    if named and subject.folder is not None and subject.folder.resolve() != Path(named).resolve():
        what = f"PERSONA_RM_BUNDLE is {named}, and the examined bundle is {subject.folder}"
        findings.append(DoctorFinding("warning", LOOKED_AT, what, "Give the job the bundle that you mean"))
    return findings or [DoctorFinding("ok", LOOKED_AT, str(LabelPolicy.from_env(given)))]
