"""What an inferred state gives to the method and to the trace of a reward."""

from dataclasses import replace
from pathlib import Path

from persona_rm.bundle.user_states import FITTED
from persona_rm.errors import DataError
from persona_rm.types import RewardTrace, UserState


def fitted_state(inferred: UserState, method: str, file: Path) -> UserState:
    """The state of `method` that was fitted before. Raises `DataError` naming `file` if another method fitted it."""
    if inferred.method != method:
        problem = f"the states were fitted by {inferred.method!r}, the bundle's method is {method!r}"
        raise DataError(f"{problem}: fit the bundle again", file=file, key="fitted_states")
    return UserState(inferred.method, inferred.user_id, inferred.payload[FITTED], inferred.n_items)


def completed(trace: RewardTrace, inferred: UserState, group: str) -> RewardTrace:
    """The trace with the user and the inferred state; an erased user's status says so."""
    return replace(
        trace, user=inferred.user_id, user_known=inferred.known, group=group,
        status="erased" if inferred.status == "erased" else trace.status, state_version=inferred.version,
        evidence=inferred.evidence, inputs={**trace.inputs, "n_items": inferred.n_items},
    )  # fmt: skip
