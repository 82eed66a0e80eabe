"""What is noteworthy about the users of a file once all their evidence is read."""

from collections.abc import Iterable, Sequence
from unicodedata import category, normalize

from persona_rm.io.text import UNSEEN
from persona_rm.types import Pair
from persona_rm.users.findings import Findings, brief
from persona_rm.users.users_file import User


def check_users(users: Iterable[User], findings: Findings) -> None:
    """Count contradictory and repeated comparisons, ties, users with little evidence, and ids that look the same."""
    looks: dict[str, str] = {}
    for user in users:
        persona = user.persona
        _check_id(persona.user_id, looks, findings)
        _check_pairs(persona.user_id, persona.pairs, findings)
        _check_evidence(
            persona.user_id, persona.pairs, len(persona.ugc), bool(persona.demo or persona.directions), findings
        )


def _check_id(user: str, looks: dict[str, str], findings: Findings) -> None:
    """Two ids that differ in case, Unicode form, spaces or invisible characters look alike but are two users."""
    look = user if user.isascii() else "".join(c for c in normalize("NFKC", user) if category(c) not in UNSEEN)
    look = "".join(look.split()).casefold()
    other = looks.setdefault(look, user)
    if other != user:
        problem = "pairs of users have ids that differ only in case, Unicode form or spaces; they are two users"
        findings.add("similar_ids", "warning", problem, f"{other!a} and {user!a}")


def _check_pairs(user: str, pairs: Sequence[Pair], findings: Findings) -> None:
    seen: set[tuple[str, str, str]] = set()
    ties = 0
    for number, pair in enumerate(pairs):
        ties += pair.tie
        key = (pair.prompt, pair.chosen, pair.rejected)
        if pair.chosen == pair.rejected:
            problem = "comparisons are between two equal responses, so they say nothing"
            findings.add("equal_responses", "note", problem, f"user {brief(user)}, comparison {number + 1}")
        elif not pair.tie and (pair.prompt, pair.rejected, pair.chosen) in seen:
            problem = "comparisons contradict another one of the same user, who preferred the other response there"
            findings.add("contradiction", "warning", problem, f"user {brief(user)}, comparison {number + 1}")
        elif key in seen:
            problem = "comparisons repeat another one of the same user"
            findings.add("repeated", "note", problem, f"user {brief(user)}, comparison {number + 1}")
        seen.add(key)
    if pairs and ties == len(pairs):
        problem = "users have only ties, which say nothing about what they prefer"
        findings.add("only_ties", "warning", problem, f"user {brief(user)}")
    if ties:
        findings.add("ties", "note", "comparisons are ties", count=ties)


def _check_evidence(user: str, pairs: Sequence[Pair], texts: int, described: bool, findings: Findings) -> None:
    if len(pairs) == 1:
        findings.add("one_comparison", "note", "users have a single comparison", f"user {brief(user)}")
    if not (pairs or texts or described):
        findings.add("no_history", "note", "users have no history and get the population prior", f"user {brief(user)}")
