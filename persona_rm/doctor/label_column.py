"""The label column of a job's prompt data, against the users that the bundle knows."""

from collections.abc import Sequence

from persona_rm.bundle import Bundle
from persona_rm.bundle.known_users import known_users
from persona_rm.doctor.finding import DoctorFinding, Severity
from persona_rm.doctor.subject import DoctorSubject, need_column
from persona_rm.io.text import shorten
from persona_rm.serving.label_monitor import EXAMPLES, LONGEST
from persona_rm.serving.labels import read_label

LOOKED_AT = "labels"
ENOUGH = 0.95
"""The share of rows with a known user below which a job is probably mistaken."""


def check_labels(subject: DoctorSubject) -> list[DoctorFinding]:
    """How many labels are known users, unknown users, empty, or bad. It needs a bundle and `--data`."""
    if subject.data is None or subject.bundle is None or (subject.columns and not subject.columns.label_flag):
        return []
    rows = subject.data_rows
    if subject.command is None:
        need_column(rows, subject.label, "--label-key")
        need_column(rows, subject.prompt, "--prompt-key")
    elif subject.label not in rows[0].data:
        return []  # the finding about the command's columns says so
    labels = [read_label(row.data.get(subject.label)) for row in rows]
    named = [label.user for label in labels if label.user is not None]
    known = known_users(subject.bundle, named)
    bad = [f"row {row.number}: {label.bad}" for row, label in zip(rows, labels, strict=True) if label.bad]
    unknown = [user for user in named if user not in known]
    n_known = len(named) - len(unknown)
    n_empty = len(rows) - len(named) - len(bad)
    counts = f"{n_known} of {len(rows)} rows name a known user, {len(unknown)} an unknown one, {n_empty} none"
    option = f"--{subject.columns.label_flag} of the command" if subject.columns else "--label-key"
    findings = [DoctorFinding(*_verdict(subject.bundle, n_known, len(rows), counts, unknown, option))]
    if bad:
        what = f"{len(bad)} labels are bad: {'; '.join(bad[:EXAMPLES])}"
        todo = "A label is a user id, or an object with the key 'user'"
        findings.append(DoctorFinding("warning", LOOKED_AT, what, todo))
    return findings


def _verdict(
    bundle: Bundle, known: int, rows: int, counts: str, unknown: Sequence[str], option: str
) -> tuple[Severity, str, str, str]:
    if known >= ENOUGH * rows:
        return "ok", LOOKED_AT, counts, ""
    came = ", ".join(repr(shorten(user, LONGEST, keep_end=False)) for user in list(dict.fromkeys(unknown))[:EXAMPLES])
    there = ", ".join(repr(user) for user in list(bundle.users)[:EXAMPLES]) or "those of its store"
    if not known:
        todo = f"Every sample would get the population prior. Name the column of the user ids by {option}"
        return "error", LOOKED_AT, f"{counts}; labels are {came or 'empty'}, users of the bundle are {there}", todo
    todo = "Unknown users get the population prior: add them to the bundle, or leave their rows out"
    return "warning", LOOKED_AT, f"{counts}; unknown are {came or 'none'}, users of the bundle are {there}", todo
