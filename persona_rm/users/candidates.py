"""The reward methods that a users file is enough for, and the check of them on a team's own users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM
from persona_rm.benchmarks.comparisons import drawn
from persona_rm.benchmarks.figures import Figure
from persona_rm.benchmarks.user_check import OWN, POOLED, Make, measure
from persona_rm.benchmarks.user_verdict import UserCheck, concluded
from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Persona
from persona_rm.users.annotated_users import AnnotatedScorer, DirectionsReader
from persona_rm.users.users_file import User

PERSONAL = "centroid"
"""The personal method of a check. It is named here, and not chosen by the figures that judge it."""
POOLED_METHOD: Mapping[str, Any] = {"name": "bradley_terry", "features": ["encoder", "surface"], "l2": None}
"""The pooled reward on the features of `PERSONAL`: what that method gives an unknown user."""
ANNOTATED = "pba_linear"
"""The method that reads users by the directions of an annotator (`annotated_users`)."""
MOST_ANNOTATED = 2000
"""Most texts that a check gives to the annotator unless it is told to."""
FITTABLE = (PERSONAL, "bradley_terry", ANNOTATED)
"""The methods that `bundle` makes of a users file."""
SAMPLE = 1000
"""Users that a check draws by default: more hardly narrow its intervals, and fitting them again and again costs."""
Progress = Callable[[int, int], None]


def settings_of(method: str) -> dict[str, Any]:
    """The member that `bundle` writes for a method of `FITTABLE`. Raises `DataError` for another one."""
    if method == PERSONAL:
        return {"name": PERSONAL}
    if method == POOLED_METHOD["name"]:
        return dict(POOLED_METHOD)
    if method == ANNOTATED:
        return {"name": ANNOTATED}
    hint = did_you_mean(method.lower(), ("auto", *FITTABLE))
    others = "ica, pba and contrast need a policy: write their bundle with a recipe"
    raise DataError(
        f"method {method!r} is not fitted on comparisons alone; there is: auto, {', '.join(FITTABLE)} ({others}){hint}"
    )


@dataclass(frozen=True, slots=True)
class TakenMethod:
    """The method that `bundle --method auto` takes, in words too, and its accuracy in the check (None: too little
    data for a figure)."""

    method: str
    words: str
    figure: Figure | None


def taken_by_auto(check: UserCheck) -> TakenMethod:
    """The rule of `auto`: the personal method if the check says that it helps, else the pooled reward."""
    if check.verdict.answer == "helps":
        return TakenMethod(PERSONAL, f"the personal reward ({PERSONAL})", check.figures.get(OWN))
    pooled = str(POOLED_METHOD["name"])
    return TakenMethod(pooled, f"the pooled reward ({pooled})", check.figures.get(POOLED))


def make_method(given: Mapping[str, Any], space: PreferenceSpace, backends: Backends) -> Method:
    """A method that is not fitted yet."""
    cls, config = METHODS.member(given)
    method: Method = cls(config, space, backends)
    return method


def decided(users: Sequence[User]) -> list[Persona]:
    """The users with the comparisons that say what they prefer. Ties and equal responses are left out."""
    return [replace(one.persona, pairs=tuple(pair for pair in one.persona.pairs if pair.is_decided)) for one in users]


def check_users(
    users: Sequence[User], *, sample: int | None = SAMPLE, backends: Backends | None = None, seed: int = 0,
    progress: Progress = lambda done, of: None, annotate: bool | None = None,
) -> UserCheck:  # fmt: skip
    """Whether the personal method helps these users. `sample`: at most so many users are drawn; None: all.

    `annotate`: measure `pba_linear` too, if the annotator reads these texts; None: only if there are at most
    `MOST_ANNOTATED` of them, because it takes longer than the rest. The verdict does not depend on it.
    Raises `DataError` if no user has a comparison.
    """
    personas = [persona for persona in decided(users) if persona.pairs]
    if not personas:
        raise DataError(
            "no user has a comparison with a preference, so nothing can be checked or fitted: give pairs of a chosen "
            "and a rejected response"
        )
    if sample is not None and len(personas) > sample:
        personas = drawn(personas, lambda persona: persona.user_id, seed)[:sample]
    backends = backends or Backends(encoder=MiniLM())
    space = load_space()

    def maker(given: Mapping[str, Any]) -> Make:
        return lambda: make_method(given, space, backends)

    others: dict[str, Make] = {"pooled_encoder": maker({"name": POOLED_METHOD["name"]})}
    left_out: dict[str, str] = {}
    texts = len({text for persona in personas for pair in persona.pairs for text in (pair.chosen, pair.rejected)})
    if annotate is None and texts > MOST_ANNOTATED:
        left_out[ANNOTATED] = f"{texts:,} texts to annotate, which takes longer than the rest of the check"
    elif annotate is not False:
        reader = DirectionsReader(space, backends.need_encoder("check"))
        try:
            reader.read_any(personas)
        except DataError as error:
            left_out[ANNOTATED] = error.problem
        else:
            scorer = AnnotatedScorer(make_method(settings_of(ANNOTATED), space, reader.backends), reader)
            others[ANNOTATED] = lambda: scorer
    measured = measure(personas, maker(settings_of(PERSONAL)), others, None, progress)
    return replace(concluded(measured, PERSONAL, seed=seed), methods_left_out=left_out)
