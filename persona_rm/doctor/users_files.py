"""The users files that a recipe names: can they be read, and what is wrong in them?"""

from pathlib import Path

from persona_rm.doctor.finding import DoctorFinding, Severity
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import PersonaRMError
from persona_rm.space import load_space
from persona_rm.users.read_file import read_users_data

LOOKED_AT = "users file"


def check_users_files(subject: DoctorSubject) -> list[DoctorFinding]:
    """Each users file of the recipe's sections, once."""
    if subject.recipe is None:
        return []
    recipe = subject.recipe
    sections: dict[str, object] = {"infer": recipe.infer}
    sections |= {f"ppo.{name}": one for name, one in recipe.ppo.items()}
    sections |= {f"dpo.{name}": one for name, one in recipe.dpo.items()}
    named: dict[str, str] = {}
    for key, section in sections.items():
        path = getattr(section, "users", None)
        # A number means users of the source, and a folder is a bundle.
        if isinstance(path, str) and not Path(path).is_dir():
            named.setdefault(path, f"{key}.users")
    return [finding for path, key in named.items() for finding in _read(Path(path), key, recipe.space)]


def _read(path: Path, key: str, space: str) -> list[DoctorFinding]:
    try:
        data = read_users_data(path, space=load_space(space))
    except PersonaRMError as error:
        return [DoctorFinding("error", LOOKED_AT, f"{key}: {error}", "Correct the file, or name another one")]
    findings = [DoctorFinding("ok", LOOKED_AT, data.summary())]
    for one in data.findings:
        severity: Severity = "note" if one.severity == "note" else "warning"
        todo = "" if severity == "note" else "Correct these rows, or leave them out"
        findings.append(DoctorFinding(severity, LOOKED_AT, f"{key}: {one.describe()}", todo))
    return findings
