"""The section about inferred users: who they are, what they prefer in words, and how much evidence is behind it."""

from collections import Counter

from persona_rm.report import markup as html
from persona_rm.report.report_data import ReportData
from persona_rm.report.user_words import DirectionInWords, UserInWords

TITLE = "Users"
MAX_USERS = 20
"""Users with a table of their own; all of them are in infer/directions.jsonl."""
MAX_LABELS = 12
"""Directions in the table of the most common ones."""
IN_SUMMARY = 6
"""Directions in the line about a user."""


def users(data: ReportData) -> str:
    """The whole section; empty in a run that inferred no directions."""
    if not data.inferred_users:
        return ""
    inferred = data.inferred_users
    cold = sum(user.n_items == 0 for user in inferred)
    directions = sum(len(user.directions) for user in inferred) / len(inferred)
    items = sum(user.n_items for user in inferred) / len(inferred)
    words = (
        f"{len(inferred):,} users were inferred, from {items:.1f} items of evidence each: {directions:.1f} directions"
    )
    words += f" each. {cold:,} of them had no evidence and got the population prior." if cold else " each."
    counts = Counter(direction.label for user in inferred for direction in user.directions)
    rows: list[list[html.TableCell]] = [
        [label, html.num(count), (f"{count / len(inferred):.0%}", "num")]
        for label, count in counts.most_common(MAX_LABELS)
    ]
    parts = [html.paragraph(words, "lead")]
    if rows:
        parts.append(html.table(["the most common directions", ("users", "num"), ("share", "num")], rows))
    shown = inferred[:MAX_USERS]
    note = "A direction names at most five items behind it, the strongest ones."
    if len(shown) < len(inferred):
        note = f"The first {len(shown)} users; all of them are in infer/directions.jsonl. {note}"
    parts.append(html.paragraph(note, "soft"))
    return html.section(TITLE, *parts, *(_user(user) for user in shown))


def _user(user: UserInWords) -> str:
    """One user: a line with the most probable directions, and all of them in a table that unfolds."""
    items = f"{user.n_items} item{'' if user.n_items == 1 else 's'}"
    labels = [f"{one.label} ({one.probability or 0:.2f})" for one in user.directions[:IN_SUMMARY]]
    more = len(user.directions) - len(labels)
    said = ", ".join(labels) + (f" and {more} more" if more else "")
    summary = f"{user.user_id}, {items}: {said or 'no direction is probable enough'}"
    head: list[html.TableCell] = [
        "direction",
        "pole",
        "dimension",
        ("probability", "num"),
        ("items named behind it", "num"),
    ]
    return html.details(summary, html.table(head, [_row(direction) for direction in user.directions]))


def _row(direction: DirectionInWords) -> list[html.TableCell]:
    probability = html.num(direction.probability, 2)
    return [direction.label, direction.pole, direction.name, probability, html.num(len(direction.evidence))]
