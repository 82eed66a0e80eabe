"""Threads, pairs and drops as JSON: what the stages of construction hand on through Parquet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from persona_rm.construct.steps import Drop, LabelledPair
from persona_rm.types import Comment, Example, Pair, Persona, Thread, Ugc


def dump(record: Any, drops: Sequence[Drop] = ()) -> str:
    """A row's outcome: the record that goes on (None where it was dropped) and the drops."""
    body = {"record": None if record is None else asdict(record), "drops": [asdict(drop) for drop in drops]}
    return json.dumps(body, ensure_ascii=False)


def load(text: str) -> tuple[dict[str, Any] | None, list[Drop]]:
    """The inverse of `dump`, but for the record's class."""
    body = json.loads(text)
    return body["record"], [Drop(**drop) for drop in body["drops"]]


def thread(body: Mapping[str, Any]) -> Thread:
    """A thread again."""
    return Thread(**{**body, "comments": tuple(comment(c) for c in body["comments"])})


def comment(body: Mapping[str, Any]) -> Comment:
    """A comment again."""
    return Comment(**{**body, "levels": _ints(body["levels"])})


def pair(body: Mapping[str, Any]) -> LabelledPair:
    """A labelled pair again."""
    chosen, rejected = comment(body["chosen"]), comment(body["rejected"])
    return LabelledPair(body["post"], chosen, rejected, tuple(body["directions"]))


def example(body: Mapping[str, Any]) -> Example:
    """An example again."""
    person = dict(body["persona"])
    person["ugc"] = tuple(Ugc(**{**item, "directions": _ints(item["directions"])}) for item in person["ugc"])
    person["pairs"] = tuple(Pair(**{**item, "directions": _ints(item["directions"])}) for item in person["pairs"])
    person["directions"] = _ints(person["directions"])
    return Example(**{**body, "directions": tuple(body["directions"]), "persona": Persona(**person)})


def _ints(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
