"""AlignX's published file format: JSON array, JSON lines (both also .gz), Parquet, or a folder of Parquet files.

Reading a file and writing it again gives the same file, and writing records and reading them the same records:

- A key that the file lacks stays absent, and null means that the file lacks the key. P-SOUPS has no directions:
  `Example.directions` is then empty, not neutral.
- A column without a field in the records is kept in `Example.extra`.
- `profile`, the text of the inferred directions in AlignX's P-SOUPS files, becomes `Persona.directions`.
- Ids, user ids and groups that the file lacks are derived from its texts, and derived values are not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, OnBad, atomic, need_file, open_atomic, read_rows, report
from persona_rm.io.parquet import DIRECTIONS, ITEMS, read_parquet, write_parquet
from persona_rm.types import Directions, Example, Pair, Persona, Ugc, content_id

if TYPE_CHECKING:
    from persona_rm.space import PreferenceSpace

DEMO = "Demographic Information"
UGC, PAIRS = ITEMS
OPTIONAL = (DIRECTIONS, DEMO, UGC, PAIRS)
TRUTH = "ground_truth_persona"
OWN = ("profile", "id", "user_id", "source", "group")
FIELDS = ("prompt", "chosen", "rejected", *OPTIONAL, *OWN)
ABSENT = "absent keys"
"""The key of `Example.extra` that lists the optional keys that a file lacks."""
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")


def read_examples(path: str | Path, space: PreferenceSpace, on_bad: OnBad | None = None) -> Iterator[Example]:
    """Every example of a file, of a folder of Parquet files or of `data/train-*.parquet`, streamed in order.

    The error of a bad row (cut, not UTF-8, a key missing or of the wrong type, a direction other than 0, 0.5 and 1)
    goes to `on_bad`, and reading goes on; without `on_bad` it is raised. A missing or empty file raises at once.
    """
    if "*" in (name := Path(path).name):
        matches = sorted(Path(path).parent.glob(name))
        if not matches:
            raise DataError("no file matches this pattern", file=path)
        return chain.from_iterable(read_examples(file, space, on_bad) for file in matches)
    if _form(Path(path)) == "json":
        return _examples(read_rows(path, on_bad), space, on_bad)
    files = _parquet_files(Path(path))
    return _examples(chain.from_iterable(read_parquet(file, on_bad) for file in files), space, on_bad)


def write_examples(path: str | Path, examples: Iterable[Example], space: PreferenceSpace) -> int:
    """Write the file whole or not at all, in the format of its suffix. Returns the number of rows."""
    target, rows = Path(path), (to_row(example, space) for example in examples)
    if _form(target) == "json":
        return _write_json(target, rows)
    if target.suffix != ".parquet":
        raise DataError("examples are written to one file: .json, .jsonl (also .gz) or .parquet", file=target)
    with atomic(target) as temporary:
        return write_parquet(temporary, rows, target)


def _form(path: Path) -> str:
    suffixes = path.suffixes[-2:] if path.suffix == ".gz" else [path.suffix]
    if suffixes and suffixes[0] in JSON_SUFFIXES:
        return "json"
    if path.suffix == ".parquet" or path.is_dir():
        return "parquet"
    if path.suffix:
        raise DataError(f"unknown suffix; examples are {', '.join(JSON_SUFFIXES)} (also .gz) or .parquet", file=path)
    raise DataError("no such folder", file=path)


def _parquet_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [need_file(path)]
    if files := sorted(path.glob("*.parquet")):
        return files
    raise DataError("the folder holds no .parquet file", file=path)


def _examples(rows: Iterator[JsonRow], space: PreferenceSpace, on_bad: OnBad | None) -> Iterator[Example]:
    for row in rows:
        try:
            example = from_row(row, space)
        except DataError as error:
            report(error, on_bad)
            continue
        yield example


def _write_json(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    array = path.name.removesuffix(".gz").endswith(".json")
    count = 0
    with open_atomic(path) as stream:
        for count, row in enumerate(rows, start=1):
            before = ("[\n" if count == 1 else ",\n") if array else ""
            stream.write(f"{before}{_dump(row, count, path)}{'' if array else chr(10)}".encode())
        if array:
            stream.write(b"\n]\n" if count else b"[]\n")
    return count


def _dump(row: dict[str, Any], number: int, path: Path) -> str:
    try:
        return json.dumps(row)
    except (TypeError, ValueError) as error:
        raise DataError(f"a value of `extra` is not JSON: {error}", file=path, row=number) from error


def from_row(row: JsonRow, space: PreferenceSpace) -> Example:
    """One row of the format. Raises `DataError` with file, row and key."""
    prompt, chosen, rejected = row.text("prompt"), row.text("chosen"), row.text("rejected")
    extra = {key: value for key, value in row.data.items() if key not in FIELDS and value is not None}
    # Remembered, because an empty list and an absent key are the same in a record and differ in a file.
    if absent := [key for key in OPTIONAL if row.data.get(key) is None]:
        extra[ABSENT] = absent
    persona = _persona(row, space, extra)
    return Example(
        id=_own(row, "id", extra) or _example_id(prompt, chosen, rejected, persona),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        directions=_directions(row, space) or (),
        persona=persona,
        source=_own(row, "source", extra) or "",
        group=content_id(prompt) if (group := _own(row, "group", extra)) is None else group,
        extra=extra,
    )


def _persona(row: JsonRow, space: PreferenceSpace, extra: dict[str, Any]) -> Persona:
    persona = Persona(
        user_id="",
        ugc=tuple(_ugc(item, space) for item in row.children(UGC)),
        pairs=tuple(_pair(item, space) for item in row.children(PAIRS)),
        demo=row.nullable(DEMO, str) or "",
        directions=_profile(row, space, extra),
    )
    user_id = _own(row, "user_id", extra)
    # The P-SOUPS file that AlignX published names the user in this column.
    if user_id is None and (truth := row.nullable(TRUTH, str)) is not None:
        user_id = truth
    return replace(persona, user_id=_user_id(persona) if user_id is None else user_id)


def _ugc(item: JsonRow, space: PreferenceSpace) -> Ugc:
    _only(item, "prompt", "comment", DIRECTIONS, "created")
    return Ugc(item.text("prompt"), item.text("comment"), _directions(item, space), item.nullable("created", str))


def _pair(item: JsonRow, space: PreferenceSpace) -> Pair:
    _only(item, "prompt", "chosen", "rejected", DIRECTIONS, "created", "strength")
    texts = (item.text("prompt"), item.text("chosen"), item.text("rejected"))
    return Pair(*texts, _directions(item, space), item.nullable("created", str), strength_of(item))


def strength_of(item: JsonRow) -> float | None:
    """The strength of a pair: a number of 0 (a tie) or more, None without one. Raises `DataError`."""
    value = item.data.get("strength")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise item.error(f"a strength is a number of 0 (a tie) or more, found {value!r}"[:200], "strength")
    return float(value)


def _only(item: JsonRow, *keys: str) -> None:
    # Items have no `extra` in which an unknown key could be kept.
    for key in item.data:
        if key not in keys:
            raise item.error(f"unknown key, which writing would lose; an item has: {', '.join(keys)}", key)


def _directions(row: JsonRow, space: PreferenceSpace) -> Directions | None:
    values = row.nullable(DIRECTIONS, list)
    return None if values is None else _placed(space.from_file, values, row, DIRECTIONS)


def _profile(row: JsonRow, space: PreferenceSpace, extra: dict[str, Any]) -> Directions | None:
    """The directions of `profile`. Its text is kept if `describe` would write another one."""
    text = row.nullable("profile", str)
    if text is None:
        return None
    directions = _placed(space.parse, text, row, "profile")
    if space.describe(directions) != text:
        extra["profile"] = text
    return directions


def _placed(read: Callable[[Any], Directions], value: Any, row: JsonRow, key: str) -> Directions:
    try:
        return read(value)
    except DataError as error:
        raise row.error(error.problem, key) from error


def _own(row: JsonRow, key: str, extra: dict[str, Any]) -> str | None:
    """A column of this library's own. A number is read as its digits, and kept in `extra`."""
    value = row.data.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        # Kept as a number, so that the file is written back with the type that it had.
        extra[key] = value
        return str(value)
    return row.nullable(key, str)


def _user_id(persona: Persona) -> str:
    """The id of a user whom the file does not name: the same history gives the same user."""
    items = [text for item in persona.ugc for text in (item.prompt, item.comment)]
    pairs = [text for item in persona.pairs for text in (item.prompt, item.chosen, item.rejected)]
    # The word between the two lists keeps a UGC text and a text of a pair apart.
    return content_id("user", persona.demo, *items, "pairs", *pairs)


def _example_id(prompt: str, chosen: str, rejected: str, persona: Persona) -> str:
    return content_id(prompt, chosen, rejected, persona.user_id, _user_id(persona))


def to_row(example: Example, space: PreferenceSpace) -> dict[str, Any]:
    """The row of an example: published keys in the published order, and other columns behind the three texts."""
    row: dict[str, Any] = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
    row |= {key: value for key, value in example.extra.items() if key not in (ABSENT, *OWN)}
    row |= _own_columns(example, space)
    absent = example.extra.get(ABSENT, ())
    persona = example.persona
    row |= {DIRECTIONS: space.to_file(example.directions)} if example.directions else {}
    published = {
        DEMO: persona.demo,
        UGC: [_item(item, space, "prompt", "comment") for item in persona.ugc],
        PAIRS: [_item(item, space, "prompt", "chosen", "rejected") for item in persona.pairs],
    }
    return row | {key: value for key, value in published.items() if value or key not in absent}


def _own_columns(example: Example, space: PreferenceSpace) -> Mapping[str, Any]:
    """The columns of this library's own, without those that reading would derive from the others."""
    persona, extra = example.persona, example.extra
    named = extra.get(TRUTH, _user_id(persona))
    example_id = _example_id(example.prompt, example.chosen, example.rejected, persona)
    columns = {
        "id": (example.id, example_id),
        "user_id": (persona.user_id, named),
        "source": (example.source, ""),
        "group": (example.group, content_id(example.prompt)),
    }
    row = {key: value for key, (value, derived) in columns.items() if value != derived}
    # A column that was read as a number is written as one, unless the record got another value since.
    row |= {key: extra[key] for key in columns if key in extra and str(extra[key]) == columns[key][0]}
    return _profile_column(example, space) | row


def _profile_column(example: Example, space: PreferenceSpace) -> dict[str, Any]:
    directions, text = example.persona.directions, example.extra.get("profile")
    if directions is None:
        return {}
    # The text of the file counts only as long as it says what the record says, which may have been changed.
    kept = text is not None and space.parse(text) == directions
    return {"profile": text if kept else space.describe(directions)}


def _item(item: Ugc | Pair, space: PreferenceSpace, *keys: str) -> dict[str, Any]:
    row: dict[str, Any] = {key: getattr(item, key) for key in keys}
    if item.directions is not None:
        row[DIRECTIONS] = space.to_file(item.directions)
    row |= {"created": item.created} if item.created is not None else {}
    strength = item.strength if isinstance(item, Pair) else None
    return row | ({"strength": strength} if strength is not None else {})
