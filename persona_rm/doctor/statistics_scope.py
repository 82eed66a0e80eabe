"""Which samples the running statistics of post-processing cover."""

from persona_rm.bundle.postprocess_config import NOT_SHARED
from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject


def check_statistics(subject: DoctorSubject) -> list[DoctorFinding]:
    """Says that actors do not share running statistics, if the bundle reads any."""
    if subject.bundle is None or not subject.bundle.file.postprocess.keeps_statistics:
        return []
    do = "If rewards must be on one scale for all users, serve them from one actor, or standardise by user"
    return [DoctorFinding("note", "statistics", NOT_SHARED, do)]
