"""A user's preference directions in words, with the evidence behind each: for the console, for reports, as JSON.

Three sources can give them: a stored state together with the inferrer that wrote it, a stored state alone, and a row
of `infer/directions.jsonl`. A stored state alone holds votes but no probabilities, because those depend on what the
inferrer learned from its population.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from persona_rm.bundle.bundle import Bundle
from persona_rm.errors import DataError
from persona_rm.inferrers.base import Inferrer
from persona_rm.inferrers.evidence import bare_item
from persona_rm.inferrers.tally import Answered, Entry, Tally, read_tally
from persona_rm.io.json_rows import read_rows
from persona_rm.io.text import counted, shorten
from persona_rm.io.user_ids import near_user
from persona_rm.space import Dimension, PreferenceSpace
from persona_rm.types import Persona, Ugc, UserState

QUOTE = 72
"""Characters of a text that is quoted as evidence."""
SHORT_ID = 8
"""Characters of an item's id on the console; JSON holds the whole id."""
KINDS = {"ugc": "a text that the user wrote", "pair": "a choice between two texts", "demo": "a self-description",
         "critique": "a reason that the user gave", "answer": "an answer to a question"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvidenceNote:
    """One item of evidence. `text` is what it says, or the kind of item if only that is known."""

    id: str
    text: str = ""

    def line(self) -> str:
        """The note as a line below a direction: the beginning of the id, then what the item says."""
        return f"    {self.id[:SHORT_ID]}  {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class DirectionInWords:
    """One direction that is not neutral. `probability` is that of the named pole, None if no inferrer was there."""

    dimension: str
    name: str
    pole: Literal["positive", "negative"]
    label: str
    probability: float | None
    evidence: tuple[EvidenceNote, ...] = ()
    votes_for: int | None = None
    votes_against: int | None = None


@dataclass(frozen=True, slots=True)
class UserInWords:
    """All that a state says about a user. `note` says why something is missing."""

    user_id: str
    method: str
    version: int
    n_items: int
    directions: tuple[DirectionInWords, ...]
    dimensions: int
    """The number of dimensions of the space; 0 if the state has no directions at all."""
    note: str = ""
    items: tuple[EvidenceNote, ...] = ()
    """The items themselves, if no directions stand between them and the reward."""
    comparisons: int = 0
    """Comparisons of the user whose texts are at hand, ties included."""
    ties: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON of the record."""
        return asdict(self)


def directions_in_words(
    space: PreferenceSpace,
    directions: Sequence[int],
    probabilities: Sequence[Sequence[float]],
    evidence: Mapping[str, Sequence[str]],
    notes: Mapping[str, EvidenceNote] | None = None,
) -> tuple[DirectionInWords, ...]:
    """The directions that are not neutral, the most probable first.

    `directions` (D,) are -1, 0 or 1; `probabilities` (D, 3) are P(negative), P(neutral), P(positive); `evidence` maps
    the id of a dimension to ids of items, which `notes` explains as far as they are known.
    """
    notes = notes or {}
    words = []
    for dimension, direction, row in zip(space.dimensions, directions, probabilities, strict=True):
        if direction == 0:
            continue
        ids = evidence.get(dimension.id, ())
        behind = tuple(notes.get(id_, EvidenceNote(id_)) for id_ in ids)
        words.append(_in_words(dimension, direction, row[direction + 1], behind))
    return tuple(sorted(words, key=lambda one: -(one.probability or 0.0)))


def user_in_words(
    state: UserState, space: PreferenceSpace, inferrer: Inferrer | None = None, persona: Persona | None = None
) -> UserInWords:
    """What a stored state says. `inferrer` is the one that wrote it, if it is at hand; `persona` has the texts.

    Raises `DataError` if the inferrer cannot read the state, for example because it was fitted on another space.
    """
    reader = inferrer.stateful() if inferrer else None
    if reader is not None:
        posterior = reader.of(reader.resume(state), explain=True)
        evidence = {space.ids[place]: ids for place, ids in posterior.evidence.items()}
        words = directions_in_words(
            space, posterior.directions, posterior.probabilities, evidence, _notes(state, persona)
        )
        return _of_state(state, words, space)
    if "sources" in state.payload:
        payload = state.payload
        tally = read_tally(state, len(space), tuple(payload["sources"]), None)
        note = "These are votes of items. Probabilities need the fitted inferrer: add --model or --bundle."
        return _of_state(state, _voted(space, tally, _notes(state, persona)), space, note)
    if state.directions is not None and len(state.directions) == len(space):
        given = tuple(
            _in_words(dimension, direction, None)
            for dimension, direction in zip(space.dimensions, state.directions, strict=True)
            if direction
        )
        return _of_state(state, given, space)
    note = f"A state of {state.method!r} holds no preference directions; `persona-rm profile --json` prints all of it."
    return _of_state(state, (), space, note)


def user_of_bundle(bundle: Bundle, user: str) -> UserInWords:
    """What a bundle knows about a user: given or inferred directions, and the items behind each.

    Raises `DataError` if the bundle does not know the user.
    """
    state = bundle.inferred(user)
    if not state.known:
        hint = near_user(user, bundle.users)
        problem = "was erased" if state.status == "erased" else f"is not in this bundle{hint}"
        raise DataError(f"user {user!r} {problem}", file=bundle.folder)
    persona = bundle.users[user].persona if user in bundle.users else Persona(user)
    notes = notes_of(persona)
    space = bundle.space
    given = persona.directions is not None and not state.version
    method = "the users file" if given else state.method or bundle.method.name
    if state.directions is None:
        reads = "reads the items themselves"
        if bundle.method.reads == "nothing":
            reads = "does not read the user's history, so every user gets the same reward, whatever the items say"
        note = f"No directions: the method {bundle.method.name!r} {reads}."
        return UserInWords(
            user, method, state.version, state.n_items, (), 0, note, tuple(notes.values()),
            len(persona.pairs), persona.n_ties,
        )  # fmt: skip
    evidence = {space.ids[dim]: ids for dim, ids in bundle.user_states.evidence(state).items()}
    words = directions_in_words(space, state.directions, state.payload["probabilities"], evidence, notes)
    return UserInWords(
        user, method, state.version, state.n_items, words, len(space), comparisons=len(persona.pairs),
        ties=persona.n_ties,
    )  # fmt: skip


def read_directions(path: Path, space: PreferenceSpace) -> Iterator[UserInWords]:
    """The users of a run's `infer/directions.jsonl`. Raises `DataError` naming file, row and key for a bad row."""
    for row in read_rows(path):
        directions, probabilities = row.required("directions", list), row.required("probabilities", list)
        if not len(directions) == len(probabilities) == len(space):
            raise row.error(f"{len(directions)} directions; the space {space.name} has {len(space)}", "directions")
        if unknown := [direction for direction in directions if direction not in (-1, 0, 1)]:
            raise row.error(f"a direction is -1, 0 or 1, found {unknown[0]!r}", "directions")
        evidence = row.required("evidence", dict)
        words = directions_in_words(space, directions, probabilities, evidence)
        yield UserInWords(row.text("user_id"), "infer", 0, row.required("items", int), words, len(space))


def notes_of(persona: Persona) -> dict[str, EvidenceNote]:
    """What each item of the user says, by the item's id."""
    notes = {}
    for item in persona.items:
        id_ = bare_item(item).id
        if isinstance(item, Ugc):
            text = f"wrote {_quoted(item.comment)} under {_quoted(item.prompt)}"
        elif not item.is_decided:
            two = f"{_quoted(item.chosen)} and {_quoted(item.rejected)}"
            text = f"could not choose between {two} under {_quoted(item.prompt)}"
        else:
            text = f"preferred {_quoted(item.chosen)} to {_quoted(item.rejected)} under {_quoted(item.prompt)}"
        notes[id_] = EvidenceNote(id_, text)
    return notes


def lines_of(user: UserInWords) -> list[str]:
    """The record as lines of text, for a console."""
    evidence = evidence_words(user.n_items, user.comparisons, user.ties)
    lines = [f"User {user.user_id!r}: {evidence}; state version {user.version}, written by {user.method!r}."]
    lines += [user.note] if user.note else []
    for direction in user.directions:
        lines += ["", _head(direction)]
        lines += [note.line() for note in direction.evidence]
    lines += [note.line() for note in user.items]
    if user.dimensions:
        silent = user.dimensions - len(user.directions)
        neutral = f"The other {silent} of {user.dimensions} dimensions are neutral: the evidence does not decide them."
        lines += ["", neutral]
    return lines


def evidence_words(n_items: int, comparisons: int = 0, ties: int = 0) -> str:
    """The size of a user's evidence: "2 items of evidence (6 comparisons, 4 of them ties)"."""
    said = f"{counted(n_items, 'item')} of evidence"
    return f"{said} ({counted(comparisons, 'comparison')}, {ties:,} of them ties)" if ties else said


def _head(direction: DirectionInWords) -> str:
    head = f"{direction.label}: {direction.pole} pole of {direction.dimension} ({direction.name})"
    if direction.probability is not None:
        return f"{head}, probability {direction.probability:.2f}"
    if direction.votes_for is not None:
        return f"{head}, {direction.votes_for} votes for it and {direction.votes_against} against it"
    return head


def _in_words(
    dimension: Dimension,
    direction: int,
    probability: float | None,
    evidence: tuple[EvidenceNote, ...] = (),
    votes: tuple[int, int] | tuple[None, None] = (None, None),
) -> DirectionInWords:
    pole = dimension.pole(direction)
    if pole is None:
        raise DataError(f"a direction of {dimension.id} is -1 or 1 to be told, found {direction!r}")
    side: Literal["positive", "negative"] = "positive" if direction > 0 else "negative"
    return DirectionInWords(dimension.id, dimension.name, side, pole.label, probability, evidence, *votes)


def _of_state(
    state: UserState, words: tuple[DirectionInWords, ...], space: PreferenceSpace, note: str = ""
) -> UserInWords:
    return UserInWords(str(state.user_id), state.method, state.version, state.n_items, words, len(space), note)


def _notes(state: UserState, persona: Persona | None) -> dict[str, EvidenceNote]:
    """What each item in a state is: its text if `persona` has it, else its kind, which every state knows."""
    sources = state.payload.get("sources", ())
    kinds = {id_: sources[item[0]] for id_, item in state.payload.get("items", {}).items()}
    kinds |= dict.fromkeys(state.payload.get("answers", ()), "answer")
    notes = {id_: EvidenceNote(id_, KINDS.get(kind, f"an item of {kind!r}")) for id_, kind in kinds.items()}
    return {**notes, **(notes_of(persona) if persona else {})}


def _voted(space: PreferenceSpace, tally: Tally, notes: Mapping[str, EvidenceNote]) -> tuple[DirectionInWords, ...]:
    """The poles with more votes for them than against them, those with the most votes first."""
    given: dict[str, Entry | Answered] = {**tally.entries, **tally.answers}
    words = []
    for place, dimension in enumerate(space.dimensions):
        votes = {id_: one.vote(place) for id_, one in given.items()}
        balance = sum(votes.values())
        if balance == 0:
            continue
        direction = 1 if balance > 0 else -1
        behind = tuple(notes[id_] for id_, vote in votes.items() if vote == direction)
        against = sum(vote == -direction for vote in votes.values())
        words.append(_in_words(dimension, direction, None, behind, (len(behind), against)))
    return tuple(sorted(words, key=lambda one: -(one.votes_for or 0)))


def _quoted(text: str) -> str:
    """A text on one line, between quotation marks."""
    return f'"{shorten(" ".join(text.split()), QUOTE)}"'
