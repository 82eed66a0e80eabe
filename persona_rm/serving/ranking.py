"""Responses ranked by a user's reward, beside the reward of an unknown user."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.bundle import load_bundle
from persona_rm.bundle.engine_counters import cut_remark
from persona_rm.serving.explanation import Explanation, explain_live, why_unknown
from persona_rm.types import RewardRequest


@dataclass(frozen=True, slots=True)
class RankedResponse:
    """A response with the user's reward, and that of an unknown user."""

    response: str
    explanation: Explanation
    prior: float

    @property
    def reward(self) -> float:
        """The user's reward."""
        return self.explanation.result.reward


@dataclass(frozen=True, slots=True)
class ResponseRanking:
    """The responses, the best first. `warning` says that the prior answered for a user who was named; "" otherwise."""

    user: str | None
    rows: list[RankedResponse]
    warning: str = ""
    remark: str = ""
    """Said if the method gives every user the same reward; "" otherwise."""
    cut: str = ""
    """How many texts were scored by a part only, because they are longer than the model reads; "" if none."""

    def to_dict(self) -> dict[str, Any]:
        """The ranking as plain JSON, with the trace of every reward."""
        rows = [{"response": row.response, "unknown_user": row.prior, **row.explanation.to_row()} for row in self.rows]
        said = {"warning": self.warning or None, "remark": self.remark or None, "cut": self.cut or None}
        return {"user": self.user, **said, "responses": rows}


def rank_responses(folder: Path, user: str | None, prompt: str, responses: Sequence[str]) -> ResponseRanking:
    """Score responses to one prompt as a reward actor without earlier samples does.

    Raises `DataError` for a broken bundle, `ScoreError` if a response cannot be scored, and `RecipeError` if the
    method only compares.
    """
    bundle = load_bundle(folder)
    same = f"This reward is the same for every user: {bundle.method.name!r} does not read the user's history."
    remark = same if bundle.method.reads == "nothing" else ""
    try:
        inferred = bundle.inferred(user, prompt)
        warning = ""
        if user is not None and not inferred.known:
            warning = (
                f"user {user!r} {why_unknown(inferred, bundle)}, so these are the rewards of the population prior"
            )
        elif user is not None and inferred.status == "cold":
            warning = f"nothing is known about user {user!r}, so these are the rewards of the population prior"
        rows = []
        for response in responses:
            prior = explain_live(bundle, RewardRequest(None, prompt, response))
            own = explain_live(bundle, RewardRequest(user, prompt, response))
            rows.append(RankedResponse(response, own, prior.result.reward))
    finally:
        bundle.close()
    return ResponseRanking(
        user, sorted(rows, key=lambda row: -row.reward), warning, remark, cut_remark(bundle.engine_counters())
    )
