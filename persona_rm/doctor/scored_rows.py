"""Rows that are scored by the bundle as a job would have them scored: what fails, and how long a row takes."""

import time
from collections.abc import Sequence
from dataclasses import replace

from persona_rm.bundle import Bundle
from persona_rm.bundle.startup import PROMPT, SENTENCE, some_users, startup_check
from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject, need_column
from persona_rm.errors import MissingExtra, PersonaRMError, ScoreError
from persona_rm.serving.labels import read_label
from persona_rm.types import RewardRequest

LOOKED_AT = "scoring"
BATCH = 16
"""Rows of one call of the method."""
NAMED = 3
"""Failed rows that a finding names."""


def check_scoring(subject: DoctorSubject) -> list[DoctorFinding]:
    """The start-up check of the bundle, then `--rows` rows: those of the data, or greetings to its users."""
    bundle = subject.bundle
    if bundle is None or not subject.rows:
        return []
    try:
        began = time.perf_counter()
        startup_check(bundle)
        loaded = time.perf_counter() - began
        findings = _score(bundle, requests_of(subject, bundle), loaded)
    except (MissingExtra, ScoreError) as error:
        problem = error.problem if isinstance(error, ScoreError) else str(error)
        findings = [
            DoctorFinding("error", LOOKED_AT, problem, "Correct bundle.yaml or the users file, then try again")
        ]
    finally:
        bundle.close()
    return findings


def requests_of(subject: DoctorSubject, bundle: Bundle) -> dict[str, RewardRequest]:
    """The requests to score, by the name of their row. A row without a response gets a sentence."""
    rows = subject.data_rows[: subject.rows]
    requests = {}
    if rows and subject.command is None:
        need_column(rows, subject.prompt, "--prompt-key")
    for row in rows:
        label, prompt = read_label(row.data.get(subject.label)), row.data.get(subject.prompt)
        # A prompt in chat messages is scored by the host's own rendering, which no row of the file shows.
        if isinstance(prompt, str):
            requests[f"row {row.number}"] = RewardRequest(label.user, label.prompt or prompt, SENTENCE)
    users: list[str | None] = [*some_users(bundle)] or [None]
    for number in range(0 if requests else subject.rows):
        user = users[number % len(users)]
        requests[f"greeting {number + 1}"] = RewardRequest(user, PROMPT, f"{SENTENCE} {number}")
    return requests


def _score(bundle: Bundle, requests: dict[str, RewardRequest], loaded: float) -> list[DoctorFinding]:
    names, failed = list(requests), dict[str, str]()
    began = time.perf_counter()
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        try:
            _rewards(bundle, [requests[name] for name in batch])
        except PersonaRMError:
            failed |= _failures(bundle, {name: requests[name] for name in batch})
    each = 1000 * (time.perf_counter() - began) / len(names)
    took = f"{each:.1f} ms a row in one actor, loading and the start-up check {loaded:.1f} s"
    if not failed:
        return [DoctorFinding("ok", LOOKED_AT, f"{len(names)} rows scored, {took}")]
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:NAMED])
    todo = "Correct or leave out these rows: the job stops at the first of them"
    return [DoctorFinding("error", LOOKED_AT, f"{len(failed)} of {len(names)} rows failed ({shown}); {took}", todo)]


def _failures(bundle: Bundle, requests: dict[str, RewardRequest]) -> dict[str, str]:
    """The rows of a failed batch that fail alone, with the reason."""
    failed = {}
    for name, request in requests.items():
        try:
            _rewards(bundle, [request])
        except PersonaRMError as error:
            failed[name] = error.problem if isinstance(error, ScoreError) else str(error)
    return failed


def _rewards(bundle: Bundle, requests: Sequence[RewardRequest]) -> None:
    if bundle.file.groups is None or not bundle.file.groups.listwise:
        bundle.score(requests)
        return
    # A comparison is of responses to one prompt for one user.
    for request in requests:
        bundle.compare([request, replace(request, response="")])
