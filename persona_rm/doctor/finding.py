"""What a check of the doctor says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Severity = Literal["ok", "note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From harmless to fatal."""


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One finding: what was looked at, what was found there, and what to do about it ("" if nothing)."""

    severity: Severity
    looked_at: str
    what: str
    todo: str = ""


def worst(findings: Iterable[DoctorFinding]) -> Severity:
    """The highest severity among the findings; "ok" if there is none."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default="ok")
