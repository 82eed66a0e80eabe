"""The reward methods that can be fitted on users' comparisons alone, and the check of them on a team's own users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM
from persona_rm.benchmarks.comparisons import drawn
from persona_rm.benchmarks.user_check import Make, measure
from persona_rm.benchmarks.user_verdict import UserCheck, concluded
from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Persona
from persona_rm.users.users_file import User

PERSONAL = "centroid"
"""The personal method of a check. It is named here, and not chosen by the figures that judge it."""
POOLED_METHOD: Mapping[str, Any] = {"name": "bradley_terry", "features": "encoder+surface", "l2": 1e-2}
"""The pooled reward on the features of `PERSONAL`: what that method gives an unknown user."""
FITTABLE = (PERSONAL, "bradley_terry")
"""The methods that `bundle` fits."""
SAMPLE = 1000
"""Users that a check draws by default: more hardly narrow its intervals, and fitting them again and again costs."""
Progress = Callable[[int, int], None]


def settings_of(method: str) -> dict[str, Any]:
    """The member that `bundle` writes for a method of `FITTABLE`. Raises `DataError` for another one."""
    if method == PERSONAL:
        return {"name": PERSONAL}
    if method == POOLED_METHOD["name"]:
        return dict(POOLED_METHOD)
    hint = did_you_mean(method.lower(), ("auto", *FITTABLE))
    others = "ica, pba, contrast and pba_linear need a policy or an annotator: write their bundle with a recipe"
    raise DataError(
        f"method {method!r} is not fitted on comparisons alone; there is: auto, {', '.join(FITTABLE)} ({others}){hint}"
    )


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
    progress: Progress = lambda done, of: None,
) -> UserCheck:  # fmt: skip
    """Whether the personal method helps these users. `sample`: at most so many users are drawn; None: all.

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

    encoder_only = {"name": "bradley_terry"}
    measured = measure(personas, maker(settings_of(PERSONAL)), {"bradley_terry": maker(encoder_only)}, None, progress)
    return concluded(measured, PERSONAL, seed=seed)
