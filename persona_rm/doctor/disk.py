"""Free space: where a run writes, and the shared memory of Ray."""

import shutil
import tempfile
from pathlib import Path

from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject

LOOKED_AT = "disk"
GIB = 1 << 30
LEAST = 1.0
"""GiB that any run needs: logs, rows, Ray's session."""
SHARED = 1.0
"""GiB of shared memory for Ray's objects. A container has 64 MB unless it is started with --shm-size."""


def check_disk(subject: DoctorSubject) -> list[DoctorFinding]:
    """The folder of the run, and the folder for temporary files, where Ray keeps its session."""
    findings = []
    if subject.recipe is not None:
        findings.append(_room("the run's folder", subject.recipe.folder, LEAST + _models(subject) / GIB))
    findings.append(_room("temporary files", Path(tempfile.gettempdir()), LEAST))
    return findings


def check_shared_memory(subject: DoctorSubject) -> list[DoctorFinding]:
    """Ray and vLLM exchange tensors in /dev/shm."""
    path = Path("/dev/shm")
    if not path.is_dir():
        return []
    free = shutil.disk_usage(path).free / GIB
    if free >= SHARED:
        return [DoctorFinding("ok", "shared memory", f"{free:.1f} GiB are free in {path}")]
    todo = "Start the container with --shm-size 16g, or --ipc host"
    return [DoctorFinding("warning", "shared memory", f"{free:.2f} GiB are free in {path}, Ray needs more", todo)]


def _models(subject: DoctorSubject) -> int:
    """Bytes of the models that the run will write, one of each dpo and ppo section, as large as the starting one."""
    if subject.recipe is None or subject.policy is None:
        return 0
    weights = sum(file.stat().st_size for file in subject.policy.glob("*.safetensors"))
    return weights * (len(subject.recipe.dpo) + len(subject.recipe.ppo))


def _room(what: str, folder: Path, need: float) -> DoctorFinding:
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / GIB
    if free >= need:
        return DoctorFinding("ok", LOOKED_AT, f"{what} ({folder}): {free:.1f} GiB are free")
    problem = f"{what} ({folder}): {free:.1f} GiB are free, and about {need:.1f} GiB are needed"
    return DoctorFinding("error", LOOKED_AT, problem, "Free some space, or write elsewhere: out=FOLDER, TMPDIR")
