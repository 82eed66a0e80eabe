"""The doctor: an environment and a recipe or bundle, checked before GPUs are taken.

A check is a function from a `DoctorSubject` to findings, and one entry of `CHECKS`. It looks and changes nothing, and
returns no finding if it does not concern the subject.
"""

from collections.abc import Callable, Iterator

from persona_rm.doctor.chat_match import check_chat
from persona_rm.doctor.disk import check_disk, check_shared_memory
from persona_rm.doctor.finding import SEVERITIES, DoctorFinding, Severity, worst
from persona_rm.doctor.job_command import check_columns, check_command, check_command_chat
from persona_rm.doctor.label_column import check_labels
from persona_rm.doctor.packages import check_packages, check_python
from persona_rm.doctor.placement import check_placement
from persona_rm.doctor.ports import check_http_port, check_ray_address
from persona_rm.doctor.scored_rows import check_scoring
from persona_rm.doctor.statistics_scope import check_statistics
from persona_rm.doctor.subject import DoctorSubject, subject_of, subject_of_command
from persona_rm.doctor.users_files import check_users_files
from persona_rm.doctor.variables import check_variables
from persona_rm.errors import DataError, PersonaRMError

__all__ = ["CHECKS", "SEVERITIES", "DoctorFinding", "DoctorSubject", "Severity", "examine", "subject_of",
           "subject_of_command", "worst"]  # fmt: skip


def check_bundle(subject: DoctorSubject) -> list[DoctorFinding]:
    """Can the bundle be loaded?"""
    if subject.bundle is None:
        if subject.recipe is None:
            return []
        what = "the recipe has no bundle yet, so labels and scoring cannot be checked"
        return [DoctorFinding("note", "bundle", what, "Name a bundle, or run the recipe up to its ppo section")]
    what = f"{subject.folder}: method {subject.bundle.file.method['name']}, {len(subject.bundle.users)} users"
    return [DoctorFinding("ok", "bundle", what)]


Check = Callable[[DoctorSubject], list[DoctorFinding]]
CHECKS: tuple[Check, ...] = (
    check_python,
    check_packages,
    check_variables,
    check_http_port,
    check_ray_address,
    check_placement,
    check_disk,
    check_shared_memory,
    check_users_files,
    check_bundle,
    check_command,
    check_columns,
    check_chat,
    check_command_chat,
    check_labels,
    check_statistics,
    check_scoring,
)
"""Every check, in the order in which the findings are shown."""
AGAIN = "Correct what is named there, and run doctor again"
"""What to do about an error of this library, which names file and key."""
NEED_BUNDLE: tuple[Check, ...] = (
    check_columns,
    check_chat,
    check_command_chat,
    check_labels,
    check_statistics,
    check_scoring,
)
"""Checks that say nothing if the bundle cannot be loaded, because `check_bundle` has said why."""


def examine(subject: DoctorSubject) -> Iterator[DoctorFinding]:
    """The findings of every check. A check that fails with an error of this library is a finding too."""
    broken = False
    for check in CHECKS:
        if broken and check in NEED_BUNDLE:
            continue
        try:
            yield from check(subject)
        except PersonaRMError as error:
            broken = broken or (check is check_bundle and isinstance(error, DataError))
            yield DoctorFinding("error", _name(check), str(error), AGAIN)


def _name(check: Check) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")
