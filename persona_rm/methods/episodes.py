"""Users' comparisons as arrays, and training users as new ones: what personal methods learn from.

Hyper-parameters of a personal method are chosen on training users alone. An `Episode` treats one of them as a new
user: comparisons under some texts are shown, those under other texts are held out, and the pooled reward behind both
was fitted without the held-out texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from persona_rm.methods.pairwise import Floats, Places, TextPairs
from persona_rm.methods.text_folds import TextFolds
from persona_rm.types import Comparison, content_id

SHOWN = (2, 4, 8, 16)
"""How many comparisons an episode shows, in turn: what is learned must serve users with few and with many."""
HELD = 16
"""Most comparisons that an episode holds out."""
MOST_EPISODES = 1500


@dataclass(frozen=True, slots=True)
class UserRows:
    """A user's comparisons: z(chosen) - z(rejected), shape (n, q), and the pooled margin of each in log-odds, (n,).

    The user chose the first of the two, so a method wants margin + added(differences) to be large. A method that is
    not linear reads both responses (`sides`); then `rejected` holds z of the rejected ones, shape (n, q).
    """

    differences: Floats
    margins: Floats
    rejected: Floats | None = None

    def __len__(self) -> int:
        return len(self.margins)

    def at(self, rows: slice | Sequence[int]) -> "UserRows":
        """Some of the comparisons."""
        rejected = None if self.rejected is None else self.rejected[rows]
        return UserRows(self.differences[rows], self.margins[rows], rejected)

    @property
    def sides(self) -> tuple[Floats, Floats]:
        """z of the chosen and of the rejected responses, each (n, q)."""
        if self.rejected is None:
            raise ValueError("these rows hold differences only: set `both_sides` in the method that reads them")
        return self.differences + self.rejected, self.rejected


@dataclass(frozen=True, slots=True)
class Episode:
    """A training user as a new one: comparisons that are shown, and held-out ones under other texts.

    `population` are all training users without the held-out texts, in the order of `user` (this user is among them);
    the episodes of one fold share it.
    """

    user: int
    shown: UserRows
    held: UserRows
    population: Sequence[UserRows] = ()


@dataclass(frozen=True, slots=True)
class Population:
    """Comparisons of training users, as places in a list of texts whose z is known."""

    comparisons: Sequence[Comparison]
    pairs: TextPairs
    reduced: Floats
    """z of each text, shape (texts, q)."""

    def users(self, pooled: Floats, rows: Places | None = None) -> list[UserRows]:
        """Each user's comparisons (of `rows`), in order of user ids; `pooled` are the pooled rewards of texts."""
        index = self._index()
        rows = np.arange(len(index)) if rows is None else rows
        order = rows[np.argsort(index[rows], kind="stable")]
        ends = np.cumsum(np.bincount(index[rows], minlength=int(index.max()) + 1))
        return [rows_at(self.pairs, part, self.reduced, pooled) for part in np.split(order, ends[:-1])]

    def episodes(self, folds: TextFolds, pooled_without: Callable[[Places], Floats]) -> list[Episode]:
        """Each fold of texts is held out once, for every user who has comparisons on both sides; at most
        `MOST_EPISODES`, drawn by hashes.

        `pooled_without` gives the pooled rewards of the texts, fitted on these comparisons only.
        """
        index, order = self._index(), self._drawn()
        episodes = []
        for seen, held in zip(folds.seen, folds.held, strict=True):
            shown_of, held_of = (_drawn_by_user(side, index, order) for side in (seen, held))
            users = sorted(shown_of.keys() & held_of.keys())
            if len(users) > (most := MOST_EPISODES // len(folds)):
                users = sorted(sorted(users, key=lambda user: order[held_of[user][0]])[:most])
            pooled = pooled_without(seen)
            population = self.users(pooled, seen)
            for place, user in enumerate(users):
                few = shown_of[user][: SHOWN[place % len(SHOWN)]]
                shown = rows_at(self.pairs, few, self.reduced, pooled)
                held_out = rows_at(self.pairs, held_of[user][:HELD], self.reduced, pooled)
                episodes.append(Episode(user, shown, held_out, population))
        return episodes

    def _index(self) -> Places:
        return np.unique([one.user_id for one in self.comparisons], return_inverse=True)[1].astype(np.int64)

    def _drawn(self) -> Places:
        """The place of each comparison in an order drawn by hashes, which does not depend on that of the data."""
        keys = [content_id(one.user_id, one.prompt, *sorted((one.chosen, one.rejected))) for one in self.comparisons]
        return np.argsort(np.argsort(keys, kind="stable"), kind="stable")


def least_loss(losses: Sequence[Floats], episodes: Sequence[Episode], errors: float = 1.0) -> int:
    """Which of several settings has the least held-out loss; `losses[i]` are those of its episodes, shape (episodes,).

    The first one, unless another lowers the loss by more than `errors` standard errors of the difference by user.
    """
    if not episodes:
        return 0
    best = min(range(len(losses)), key=lambda i: losses[i].mean())
    difference = by_user_mean(losses[best] - losses[0], episodes)
    error = difference.std() / max(1, len(difference) - 1) ** 0.5
    return best if difference.mean() <= -errors * error else 0


def by_user_mean(values: Floats, episodes: Sequence[Episode]) -> Floats:
    """The mean over the episodes of each user, because those of one user are not independent."""
    users, index = np.unique([one.user for one in episodes], return_inverse=True)
    return np.bincount(index, values, len(users)) / np.bincount(index, minlength=len(users))


def whole_users(comparisons: Sequence[Comparison], most: int) -> Places:
    """The rows of whole users with at most `most` comparisons together, drawn by a hash of their ids."""
    if len(comparisons) <= most:
        return np.arange(len(comparisons))
    counts: dict[str, int] = {}
    for one in comparisons:
        counts[one.user_id] = counts.get(one.user_id, 0) + 1
    kept, total = set(), 0
    for user in sorted(counts, key=content_id):
        if total and total + counts[user] > most:
            break
        kept.add(user)
        total += counts[user]
    return np.array([row for row, one in enumerate(comparisons) if one.user_id in kept])


def rows_at(pairs: TextPairs, rows: Places, reduced: Floats, pooled: Floats) -> UserRows:
    """These comparisons of texts whose z and pooled rewards are known."""
    chosen, rejected = pairs.chosen[rows], pairs.rejected[rows]
    return UserRows(reduced[chosen] - reduced[rejected], pooled[chosen] - pooled[rejected], reduced[rejected])


def _drawn_by_user(rows: Places, users: Places, order: Places) -> dict[int, Places]:
    """The rows of each user, in drawn order."""
    mine: dict[int, list[int]] = {}
    for row in rows[np.argsort(order[rows], kind="stable")].tolist():
        mine.setdefault(int(users[row]), []).append(row)
    return {user: np.array(places) for user, places in mine.items()}
