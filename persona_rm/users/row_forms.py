"""The forms of users files: how a row adds to its user.

A class per form. `add` reads one row and raises `DataError` if it cannot be read; `finish` is called after the last
one. `units` counts what was read: rows, and in a row per user also the items in it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import from_row
from persona_rm.io.json_rows import JsonRow
from persona_rm.types import Pair, Ugc
from persona_rm.users.cells import CellReader, child
from persona_rm.users.columns import NAMES, Columns, plain
from persona_rm.users.drafts import Draft, Drafts
from persona_rm.users.findings import Findings, brief

PAIR_ITEM = ("prompt", "chosen", "rejected", "time", "strength", "directions")
UGC_NAMES: dict[str, tuple[str, ...]] = {
    "prompt": NAMES["prompt"],
    "comment": ("comment", "text", "response"),
    "time": NAMES["time"],
    "directions": NAMES["directions"],
}
FIRST, SECOND = ("a", "first", "left"), ("b", "second", "right")
TIE = ("tie", "both", "equal", "same", "draw", "neither", "tie_(bothbad)")


class RowForm(ABC):
    """Reads the rows of one form."""

    def __init__(self, columns: Columns, cells: CellReader, drafts: Drafts, findings: Findings) -> None:
        self.columns, self.cells, self.drafts, self.findings = columns, cells, drafts, findings
        self.units = 0

    @abstractmethod
    def add(self, row: JsonRow) -> None:
        """Add a row to its user. Raises `DataError`."""

    def finish(self) -> None:  # noqa: B027 - most forms have nothing left to do
        """Add what needs all rows."""

    def _draft(self, row: JsonRow, user: str) -> Draft:
        """The draft of the row's user, with the group that the row names."""
        draft = self.drafts.get(user, row.number)
        column = self.columns.of.get("group")
        if group := self.cells.group(row, column):
            if draft.group and draft.group != group:
                problem = "rows name another group than an earlier row of the same user; the first one counts"
                self.findings.add("other_group", "warning", problem, f"row {row.number}, user {brief(user)}")
            draft.group = draft.group or group
        return draft


class ComparisonForm(RowForm):
    """One row per comparison with `chosen` and `rejected`; a strength of 0 is a tie."""

    def add(self, row: JsonRow) -> None:
        """Add the row's pair."""
        self.units += 1
        of, cells = self.columns.of, self.cells
        user = cells.user(row, of["user"])
        prompt, chosen, rejected = cells.comparison(row, of.get("prompt"), of["chosen"], of["rejected"])
        time = cells.time(row, of.get("time"), user)
        pair = Pair(prompt, chosen, rejected, None, time, cells.strength(row, of.get("strength")))
        self._draft(row, user).pairs.append(pair)


class ChoiceForm(RowForm):
    """One row per comparison with two responses `a` and `b`, and which of them the user chose."""

    def add(self, row: JsonRow) -> None:
        """Add the row's pair. A tie has strength 0, whatever strength the row gives."""
        self.units += 1
        of, cells = self.columns.of, self.cells
        user = cells.user(row, of["user"])
        prompt, a, b = cells.comparison(row, of.get("prompt"), of["a"], of["b"])
        time, order = cells.time(row, of.get("time"), user), self._choice(row, of["choice"])
        strength = cells.strength(row, of.get("strength")) if order else 0.0
        chosen, rejected = (b, a) if order < 0 else (a, b)
        self._draft(row, user).pairs.append(Pair(prompt, chosen, rejected, None, time, strength))

    def _choice(self, row: JsonRow, key: str) -> int:
        """1 for the first response, -1 for the second, 0 for a tie."""
        value, of = row.data.get(key), self.columns.of
        word = plain(value) if isinstance(value, str) else ""
        if word in (*FIRST, plain(of["a"])) or word.endswith("_a"):
            return 1
        if word in (*SECOND, plain(of["b"])) or word.endswith("_b"):
            return -1
        if word in TIE:
            return 0
        accepted = f"a choice is {of['a']}, {of['b']} or tie"
        found = repr(value)[:40] if isinstance(value, str | int | float) else type(value).__name__
        raise row.error(f"{accepted}, found {found}{did_you_mean(word, (*FIRST, *SECOND, *TIE))}", key)


class UserForm(RowForm):
    """One row per user: pairs, texts written, a description, directions. A faulty item costs only itself."""

    def add(self, row: JsonRow) -> None:
        """Add the row's items to its user. A second row of a user adds the items that the first has not."""
        self.units += 1
        of, cells = self.columns.of, self.cells
        user = cells.user(row, of["user"])
        demo = cells.optional_text(row, of.get("demo"))
        directions = cells.directions(row, of["directions"]) if "directions" in of else None
        pairs, ugc = cells.items(row, of.get("pairs")), cells.items(row, of.get("ugc"))
        before = self.drafts.of.get(user)
        if before is not None:
            self._check_repeated(row, user, before, demo, directions)
        draft = self._draft(row, user)
        draft.demo, draft.directions = draft.demo or demo, draft.directions or directions
        for place, item in enumerate(pairs):
            self._item(row, f"{of['pairs']}[{place}]", item, user, self._pair)
        for place, item in enumerate(ugc):
            self._item(row, f"{of['ugc']}[{place}]", item, user, self._ugc)

    def _check_repeated(self, row: JsonRow, user: str, before: Draft, demo: str, directions: Any) -> None:
        for key, old, new in (("demo", before.demo, demo), ("directions", before.directions, directions)):
            if old and new and old != new:
                problem = f"user {brief(user)} has another {key} in row {before.row}; give one row per user"
                raise row.error(problem, self.columns.of[key])
        problem = "rows name a user of an earlier row; their items are added to that user's"
        self.findings.add(
            "repeated_user", "warning", problem, f"user {brief(user)} in row {before.row} and row {row.number}"
        )

    def _item(self, row: JsonRow, place: str, item: Any, user: str, read: Callable[..., None]) -> None:
        self.units += 1
        try:
            read(row, place, item, user)
        except DataError as error:
            self.findings.bad(error)

    def _pair(self, row: JsonRow, place: str, item: Any, user: str) -> None:
        if not isinstance(item, dict):
            raise row.error(f"must be an object with {', '.join(PAIR_ITEM)}, found {type(item).__name__}", place)
        inside, cells = child(row, item, place), self.cells
        of = self._keys(inside, {role: NAMES[role] for role in PAIR_ITEM}, ("chosen", "rejected"))
        prompt, chosen, rejected = cells.comparison(inside, of.get("prompt"), of["chosen"], of["rejected"])
        directions = cells.directions(inside, of["directions"]) if "directions" in of else None
        time, strength = cells.time(inside, of.get("time"), user), cells.strength(inside, of.get("strength"))
        pair, draft = Pair(prompt, chosen, rejected, directions, time, strength), self.drafts.of[user]
        if draft.row == row.number or pair not in draft.pairs:
            draft.pairs.append(pair)

    def _ugc(self, row: JsonRow, place: str, item: Any, user: str) -> None:
        if isinstance(item, str):
            ugc = Ugc("", self.cells.share(row, place, item))
        elif isinstance(item, dict):
            inside, cells = child(row, item, place), self.cells
            of = self._keys(inside, UGC_NAMES, ("comment",))
            prompt = cells.prompt(inside, of["prompt"]) if "prompt" in of else ""
            directions = cells.directions(inside, of["directions"]) if "directions" in of else None
            time = cells.time(inside, of.get("time"), user)
            ugc = Ugc(prompt, cells.text(inside, of["comment"]), directions, time)
        else:
            raise row.error(f"must be text or an object with prompt and comment, found {type(item).__name__}", place)
        draft = self.drafts.of[user]
        if draft.row == row.number or ugc not in draft.ugc:
            draft.ugc.append(ugc)

    def _keys(self, row: JsonRow, names: Mapping[str, tuple[str, ...]], needs: tuple[str, ...]) -> dict[str, str]:
        """role -> key of an item. Raises `DataError` for a key that is no role, and for a missing one."""
        of: dict[str, str] = {}
        for key in row.data:
            role = next((role for role, words in names.items() if plain(key) in words), None)
            if role is None:
                accepted = f"an item has: {', '.join(names)}"
                raise row.error(f"unknown key; {accepted}{did_you_mean(plain(key), names)}", key)
            of.setdefault(role, key)
        for role in needs:
            if role not in of:
                raise row.error(f"missing; the item has: {', '.join(row.data) or 'nothing'}", role)
        return of


class AlignXForm(RowForm):
    """AlignX examples: the history is the user's evidence, and the example is one more comparison by the user."""

    def __init__(self, columns: Columns, cells: CellReader, drafts: Drafts, findings: Findings) -> None:
        super().__init__(columns, cells, drafts, findings)
        self._known: dict[str, set[Ugc | Pair]] = {}
        """The history of each user so far: the rows of a user repeat it."""

    def add(self, row: JsonRow) -> None:
        """Add the example and the part of its history that the user's other examples did not have."""
        self.units += 1
        example = from_row(row, self.cells.space)
        persona, share = example.persona, partial(self.cells.share, row)
        user = share("user_id", persona.user_id)
        draft, known = self._draft(row, user), self._known.setdefault(user, set())
        for ugc in persona.ugc:
            if ugc not in known:
                known.add(ugc)
                prompt, comment = share("prompt", ugc.prompt), share("comment", ugc.comment)
                draft.ugc.append(replace(ugc, prompt=prompt, comment=comment))
        own = Pair(example.prompt, example.chosen, example.rejected, example.directions or None)
        for pair in (*persona.pairs, own):
            if pair is own or pair not in known:
                known.add(pair)
                prompt, chosen = share("prompt", pair.prompt), share("chosen", pair.chosen)
                rejected = share("rejected", pair.rejected)
                draft.pairs.append(replace(pair, prompt=prompt, chosen=chosen, rejected=rejected))
        draft.demo, draft.directions = draft.demo or persona.demo, draft.directions or persona.directions
