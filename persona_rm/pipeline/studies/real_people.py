"""UKP and CoBBLEr: whether directions inferred from a user's pairs order that user's held-out pairs.

All directions contain what most people prefer, so only the difference between a user's own directions and another
user's is personal. Committed directions mostly abstain on real text, so each inferrer is also asked for its expected
directions, P(positive) - P(negative): for the vote, that is the net share of votes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from persona_rm.benchmarks.cobbler import Cobbler, CobblerConfig
from persona_rm.benchmarks.controls import longer_wins
from persona_rm.benchmarks.ukp import Ukp, UkpConfig
from persona_rm.inferrers.base import Posterior
from persona_rm.pipeline.members import inferrer_of
from persona_rm.pipeline.studies.real_study import Floats, Material, RealStudy, donors, halves, users_of
from persona_rm.pipeline.studies.study import Ints
from persona_rm.types import Persona

LEAST = 10
"""The smallest number of users that `posterior` learns from."""


def ukp(study: RealStudy) -> None:
    """Workers and arguments; intervals resample workers."""
    config = study.config
    if not config.ukp:
        return
    given = {**config.ukp.model_dump(), "history": config.history, "seed": study.seed}
    _user_study(study, "UKP", "real_ukp", Ukp(UkpConfig(**given, **_held(study)), study.space))


def cobbler(study: RealStudy) -> None:
    """Six people and the responses of language models; intervals resample prompts."""
    config = study.config
    if not config.cobbler:
        return
    given = {"path": config.cobbler, "history": config.history, "seed": study.seed}
    _user_study(study, "CoBBLEr", "real_cobbler", Cobbler(CobblerConfig(**given, **_held(study)), study.space))


def _held(study: RealStudy) -> dict[str, int]:
    return {} if study.config.per_user is None else {"per_user": study.config.per_user}


def _user_study(study: RealStudy, what: str, key: str, benchmark: Ukp | Cobbler) -> None:
    of = study.read(what, key, benchmark.cases())
    number, whose = users_of(of.cases)
    personas = {case.example.persona.user_id: case.example.persona for case in of.cases}
    folds = halves(len(number), LEAST, study.seed)
    others = donors(folds, study.config.derangements, study.seed)
    study.given(of, "longer", longer_wins(of.cases), "the longer text", "control")
    study.given(of, "majority", benchmark.majority_rewards(of.cases), "what the other people say", "control")
    for (name, label), directions in _told(study, [personas[user] for user in number], folds).items():
        _own(study, of, name, label, directions, whose, others)


def _told(study: RealStudy, personas: Sequence[Persona], folds: Sequence[Ints]) -> Mapping[tuple[str, str], Floats]:
    """(name, label) -> directions of all users, (users, D): of the published vote and of the posterior, committed and
    expected."""
    fitted = len(folds) > 1
    vote = inferrer_of({"name": "vote"}, study.space).infer_many(personas)
    posterior = _posterior(study, personas, folds)
    how = "posterior, fitted on the other half" if fitted else "posterior, generic error rates"
    return {
        ("vote", "vote, published thresholds"): _hard(vote), ("vote_soft", "vote, net share"): _soft(vote),
        ("posterior", how): _hard(posterior), ("posterior_soft", f"{how}, expected"): _soft(posterior),
    }  # fmt: skip


def _posterior(study: RealStudy, personas: Sequence[Persona], folds: Sequence[Ints]) -> list[Posterior]:
    """The posterior of each fold, fitted without labels on the histories of all users outside the fold.

    With one fold there is no user outside, so the generic error rates are used.
    """
    posteriors: dict[int, Posterior] = {}
    for fold in folds:
        inferrer, outside = (
            inferrer_of({"name": "posterior"}, study.space),
            set(range(len(personas))) - {*fold.tolist()},
        )
        if outside:
            # Never on the fold itself: its users are judged by a model that has not seen them.
            inferrer.fit([personas[i] for i in sorted(outside)])
        posteriors |= dict(zip(fold.tolist(), inferrer.infer_many([personas[i] for i in fold]), strict=True))
    return [posteriors[i] for i in range(len(personas))]


def _hard(told: Sequence[Posterior]) -> Floats:
    return np.array([one.directions for one in told], np.float64)


def _soft(told: Sequence[Posterior]) -> Floats:
    p = np.array([one.probabilities for one in told], np.float64)
    # The expected direction, P(positive) - P(negative).
    return np.asarray(p[..., 2] - p[..., 0])


def _own(
    study: RealStudy, of: Material, name: str, label: str, directions: Floats, whose: Ints, others: Sequence[Ints]
) -> None:
    """Accuracy of own directions, the mean over others', the difference by case; ties; the number of directions."""
    own = directions[whose]
    study.given(of, name, of.rewards(own), label)
    study.against(of, name, label, own, [directions[donor[whose]] for donor in others], "shuffled")
    study.silence(of, name, own, label)
    if not name.endswith("_soft"):
        spoken = np.asarray((own != 0).sum(1), np.float64)
        study.mean(of, f"{of.key}_{name}_spoken", spoken, f"{label}: directions a user")
