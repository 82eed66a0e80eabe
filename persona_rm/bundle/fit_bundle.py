"""A bundle from a team's own users: the population's part and every user's state are fitted on them, and on nothing
else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from persona_rm.backends.base import Backends, Encoder
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.benchmarks.user_check import comparisons_of
from persona_rm.bundle.bundle_file import YAML
from persona_rm.bundle.load import load_bundle, write_bundle
from persona_rm.bundle.startup import startup_check
from persona_rm.bundle.user_states import EVIDENCE, NAMED
from persona_rm.errors import DataError, ScoreError
from persona_rm.inferrers.evidence import bare_item
from persona_rm.methods.base import Method
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.space import load_space
from persona_rm.types import Persona, UserState
from persona_rm.users.annotated_users import ANNOTATOR, DirectionsReader, annotated
from persona_rm.users.candidates import ANNOTATED, decided, make_method, settings_of
from persona_rm.users.users_file import User

STATES, METHOD_DIR = "states.arrow", "method"
SMALL = 5_000_000
"""Characters of evidence that are kept in the bundle without being asked for."""
CHUNK = 5000
"""Users that are adapted at once."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FittedBundle:
    """What was written, and the rewards of the start-up check."""

    folder: Path
    method: str
    users: int
    without_evidence: int
    """Users without evidence that the method reads: the prior answers for them."""
    erased: int
    """Users of the file who were erased from this bundle before, and are left out."""
    kept_texts: bool
    scored: Mapping[str, float]
    """The rewards of one response for a known and an unknown user, and that of an empty response."""


def fit_bundle(
    users: Sequence[User], out: Path, method: str, *, keep_texts: bool | None = None, encoder: Encoder | None = None,
    tokenizer: Path | None = None, progress: Progress = lambda done, of: None,
) -> FittedBundle:  # fmt: skip
    """Fit a method of `candidates.FITTABLE` on these users and write its bundle.

    `keep_texts`: write the users' texts into the bundle; None: if they are few (`SMALL`). Ids of the evidence are
    always written. `tokenizer` is the folder of the policy's tokenizer, as `BundleFile` has it. A user who was erased
    from a bundle in `out` stays erased. Raises `DataError` if no user has a comparison, or if `out` holds something
    else.
    """
    given = settings_of(method)
    _check_folder(out)
    if tokenizer is not None:
        load_tokenizer(tokenizer)
    space, encoder = load_space(), encoder or MiniLM(MiniLMConfig(memory=1_000_000))
    gone = _erased(out, users)
    users = [user for user in users if user.persona.user_id not in gone]
    personas = decided(users)
    known = [row for persona in personas for row in comparisons_of(persona.user_id, persona.pairs)]
    if not known:
        raise DataError("no user has a comparison with a preference, so there is nothing to fit a reward on")
    backends, models = Backends(encoder=encoder), dict[str, Any]()
    if method == ANNOTATED:
        reader = DirectionsReader(space, encoder)
        personas, backends, models = reader.read_any(personas), reader.backends, {"annotator": dict(ANNOTATOR)}
        whole = annotated([user.persona for user in users], backends)
        users = [
            replace(user, persona=every.with_directions(one.directions))
            for user, every, one in zip(users, whole, personas, strict=True)
        ]
    if tokenizer is not None:
        models["tokenizer"] = str(tokenizer.resolve())
    fitted = make_method(given, space, backends)
    if "fit" in fitted.needs:
        fitted.fit(known)
    out.mkdir(parents=True, exist_ok=True)
    fitted.save(out / METHOD_DIR)
    write_snapshot(out / STATES, _states(fitted, personas, progress))
    keep = keep_texts if keep_texts is not None else _size(users) <= SMALL
    write_bundle(
        out, users if keep else (_without_texts(user) for user in users), relative_to=out, method=given,
        method_dir=METHOD_DIR, inferrer=None, policy_prompt="plain", fitted_states=STATES, **models,
    )  # fmt: skip
    evident = [one for one in personas if (any(one.directions or ()) if method == ANNOTATED else one.pairs)]
    scored = _start_up(out, evident[0].user_id)
    return FittedBundle(out, method, len(users), len(users) - len(evident), len(gone), keep, scored)


def _check_folder(out: Path) -> None:
    """Raises `DataError` if the folder is a file, or holds something that is no bundle."""
    if out.is_file():
        raise DataError("this is a file; name a new folder for the bundle", file=out)
    if out.is_dir() and any(out.iterdir()) and not (out / YAML).is_file():
        raise DataError("this folder is not empty and holds no bundle; name a new folder", file=out)


def _erased(out: Path, users: Sequence[User]) -> set[str]:
    """The users who were erased from the bundle that is in the folder."""
    if not (out / STATES).is_file():
        return set()
    with ArrowSnapshot(out / STATES) as snapshot:
        return set(snapshot.erased([user.persona.user_id for user in users]))


def _states(method: Method, personas: Sequence[Persona], progress: Progress) -> Iterator[UserState]:
    """The state of every user, with the ids of the newest items behind it."""
    for start in range(0, len(personas), CHUNK):
        part = personas[start : start + CHUNK]
        for persona, state in zip(part, method.adapt_all(part), strict=True):
            ids = [bare_item(item).id for item in persona.pairs[-NAMED:]]
            yield replace(state, payload={**state.payload, EVIDENCE: ids})
        progress(start + len(part), len(personas))


def _size(users: Sequence[User]) -> int:
    """Characters of the users' texts."""
    total = 0
    for user in users:
        persona = user.persona
        total += len(persona.demo) + sum(len(item.prompt) + len(item.comment) for item in persona.ugc)
        total += sum(len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in persona.pairs)
    return total


def _without_texts(user: User) -> User:
    return User(Persona(user.persona.user_id, directions=user.persona.directions), user.group)


def _start_up(folder: Path, user: str) -> dict[str, float]:
    """Load the bundle as a host would, and score a known user, an unknown user and an empty response."""
    bundle = load_bundle(folder)
    try:
        unknown, _, known, empty = startup_check(bundle, [user])
    except ScoreError as error:
        raise DataError(f"the bundle was written, but {error.problem}", file=folder) from error
    finally:
        bundle.close()
    if not known.trace.user_known:
        raise DataError(f"the bundle was written, but it does not know user {user!r}", file=folder)
    return {"known user": known.reward, "unknown user": unknown.reward, "empty response": empty.reward}
