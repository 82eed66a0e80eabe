"""The table of docs/pii.md: how much of what is planted is removed, and how much that is no identifier is left.

python -m tests.perf.pii_recall
"""

import random

from persona_rm.construct.cleaning.national_ids import WORLD
from persona_rm.construct.cleaning.pii import scrub
from persona_rm.construct.cleaning.view import view
from tests.construct.cleaning.country_ids import TEMPLATES, world_id
from tests.construct.cleaning.other_numbers import NEGATIVES
from tests.construct.cleaning.planted_ids import KINDS, PROSE
from tests.construct.cleaning.test_pii import SAME, trace

TRIES = 500


def removed(make, kind):
    """The share of planted identifiers of which nothing is left, and that got a mark of their kind."""
    r = random.Random(make.__name__)
    hits = 0
    for _ in range(TRIES):
        planted = make(r)
        out, marks = scrub(r.choice(PROSE).format(planted))
        hits += bool(set(marks) & SAME.get(kind, {kind})) and trace(planted) not in view(out).text
    return hits / TRIES


def changed(make):
    """The share of sentences with a number that is no identifier which were changed."""
    r = random.Random(make.__name__)
    texts = [r.choice(PROSE).format(make(r)) for _ in range(TRIES)]
    return sum(scrub(text)[0] != text for text in texts) / TRIES


def countries():
    """The share per row of the table of national identifiers."""
    for row in WORLD:
        r = random.Random(row.name)
        marks = [scrub(r.choice(PROSE).format(world_id(r, row)))[1] for _ in range(50)]
        hits = sum(bool(set(one) & SAME["NATIONAL_ID"]) for one in marks)
        yield row.name, TEMPLATES[row.name], hits / 50


def main():
    print(f"| kind | made as | removed of {TRIES} |\n|---|---|---:|")
    for kind, makes in KINDS.items():
        for make in makes:
            print(f"| {kind} | {make.__name__.replace('_', ' ')} | {removed(make, kind):.1%} |")
    print("\n| country | form | removed of 50 |\n|---|---|---:|")
    for name, form, share in countries():
        print(f"| {name.replace('_', ' ')} | `{form}` | {share:.0%} |")
    print(f"\n| no identifier | changed of {TRIES} |\n|---|---:|")
    for make in NEGATIVES:
        print(f"| {make.__name__.replace('_', ' ')} | {changed(make):.1%} |")


if __name__ == "__main__":
    main()
