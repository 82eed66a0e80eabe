"""One row per rating: a user, a prompt, a response and a value. Ratings become comparisons within user and prompt.

The response with the higher value is the chosen one, and the difference is the strength; equal values are a tie. If a
user rated at most `ALL_PAIRS` responses to a prompt, all pairs of them are compared. If they rated more, each response
is compared with `PARTNERS` of another value, spread evenly over them: the number of comparisons then grows with the
number of ratings and not with its square, and every rating takes part.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from persona_rm.config import did_you_mean
from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Pair, content_id
from persona_rm.users.cells import CellReader
from persona_rm.users.columns import Columns, plain
from persona_rm.users.drafts import Drafts
from persona_rm.users.findings import Findings, brief
from persona_rm.users.row_forms import RowForm

ALL_PAIRS = 12
PARTNERS = 4
WORDS: dict[str, float | None] = {
    **dict.fromkeys(("agree", "like", "up", "upvote", "yes", "true", "good", "thumbs_up"), 1.0),
    **dict.fromkeys(("disagree", "dislike", "down", "downvote", "no", "false", "bad", "thumbs_down"), -1.0),
    "neutral": 0.0,
    **dict.fromkeys(("pass", "skip", "skipped"), None),
}
"""Ratings in words. None is no rating: the user gave no opinion."""


class Rating(NamedTuple):
    """One rated response."""

    response: str
    value: float
    time: str | None


class RatingForm(RowForm):
    """Collects the ratings of each user and prompt; `finish` makes the comparisons."""

    def __init__(self, columns: Columns, cells: CellReader, drafts: Drafts, findings: Findings) -> None:
        super().__init__(columns, cells, drafts, findings)
        self._ratings: dict[str, dict[str, dict[str, Rating]]] = {}
        """user -> prompt -> response -> rating."""

    def add(self, row: JsonRow) -> None:
        """Add the row's rating. A later rating of the same response replaces an earlier one."""
        self.units += 1
        of, cells = self.columns.of, self.cells
        user = cells.user(row, of["user"])
        prompt, response = cells.comparison(row, of["prompt"], of["response"])
        time, value = cells.time(row, of.get("time"), user), self._value(row, of["value"])
        self._draft(row, user)
        if value is None:
            problem = "ratings give no opinion (pass, skip) and are left out"
            self.findings.add("no_opinion", "note", problem, f"row {row.number}")
            return
        rated = self._ratings.setdefault(user, {}).setdefault(prompt, {})
        if response in rated and rated[response].value != value:
            problem = "ratings of a response differ from an earlier one by the same user; the later one counts"
            self.findings.add("changed_rating", "warning", problem, f"row {row.number}, user {brief(user)}")
        rated[response] = Rating(response, value, time)

    def _value(self, row: JsonRow, key: str) -> float | None:
        value = row.data.get(key)
        if isinstance(value, bool):
            return 1.0 if value else -1.0
        start = value.strip()[:1] if isinstance(value, str) else "0"
        if isinstance(value, str) and not start.isdigit() and (not start or start not in "+-."):
            word = plain(value)
            if word in WORDS:
                return WORDS[word]
            accepted = f"a rating is a number, or one of: {', '.join(WORDS)}"
            raise row.error(f"{accepted}, found {value!r}"[:240] + did_you_mean(word, WORDS), key)
        return self.cells.number(row, key)

    def finish(self) -> None:
        """Turn the ratings into pairs. Counts ratings that no other one of the same user and prompt is beside."""
        for user, prompts in self._ratings.items():
            pairs = self.drafts.of[user].pairs
            for prompt, rated in prompts.items():
                ratings = list(rated.values())
                pairs += [_pair(prompt, one, other) for one, other in self._compared(user, ratings)]
        self._ratings.clear()

    def _compared(self, user: str, ratings: list[Rating]) -> Iterator[tuple[Rating, Rating]]:
        if len(ratings) < 2:
            problem = (
                "ratings stand alone: the user rated no other response to the same prompt, so nothing is compared"
            )
            self.findings.add("lone_rating", "warning", problem, f"user {brief(user)}")
            return iter(())
        if len(ratings) <= ALL_PAIRS:
            return combinations(ratings, 2)
        problem = (
            f"prompts have over {ALL_PAIRS} ratings of one user; each is compared with {PARTNERS} of other values"
        )
        self.findings.add("many_ratings", "note", problem, f"user {brief(user)}")
        return sampled(ratings)


def _pair(prompt: str, one: Rating, other: Rating) -> Pair:
    """The comparison of two ratings, dated by the later one."""
    chosen, rejected = (one, other) if one.value >= other.value else (other, one)
    # Times of one file are ISO texts of one kind, which sort as the times do.
    time = max((rating.time for rating in (one, other) if rating.time), default=None)
    return Pair(prompt, chosen.response, rejected.response, None, time, chosen.value - rejected.value)


def sampled(ratings: list[Rating]) -> Iterator[tuple[Rating, Rating]]:
    """Each rating with `PARTNERS` others of another value, no pair twice. The texts decide, not the order of rows."""
    # Sorted by value and then by a hash, the ratings of another value are those before and behind a block.
    ordered = sorted(ratings, key=lambda rating: (rating.value, content_id(rating.response)))
    starts: dict[float, int] = {}
    ends: dict[float, int] = {}
    for place, rating in enumerate(ordered):
        starts.setdefault(rating.value, place)
        ends[rating.value] = place + 1
    done: set[tuple[int, int]] = set()
    for place, rating in enumerate(ordered):
        start, end = starts[rating.value], ends[rating.value]
        others = len(ordered) - (end - start)
        for step in range(min(PARTNERS, others)):
            number = (place - start + step * max(1, others // PARTNERS)) % others
            partner = number if number < start else number + end - start
            pair = min(place, partner), max(place, partner)
            if pair not in done:
                done.add(pair)
                yield ordered[pair[0]], ordered[pair[1]]
