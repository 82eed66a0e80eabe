"""Rewards of a bundle outside of a job: no actors and no earlier samples, the same method and post-processing."""

from collections.abc import Sequence
from typing import Any

from persona_rm.bundle import Bundle, PostprocessInputs
from persona_rm.errors import ScoreError
from persona_rm.serving.postprocess import Postprocessor
from persona_rm.types import RewardRequest, RewardResult

Group = Sequence[RewardRequest]
"""Responses of one user and one prompt."""


STANDARDISED: dict[str, Any] = {"mix": None, "clip": None, "length": None}
"""Steps whose numbers are on the scale of standardised rewards, if a bundle standardises, and the values that turn
them off."""


class OfflineRewards:
    """Rewards of groups of responses, as a policy would get them in PPO with this bundle, less the running statistics.

    Standardisation needs the samples of a job. Alone it changes neither the order of a user's rewards nor their ties.
    The steps of `STANDARDISED` cannot follow if it is left out, so they are left out with it; `remark` says which.
    """

    def __init__(self, bundle: Bundle) -> None:
        config = bundle.file.postprocess
        off: dict[str, Any] = {"monitor": False}
        self.remark = ""
        if config.standardise != "none":
            off |= {"standardise": "none", **STANDARDISED}
            lost = [name for name in STANDARDISED if getattr(config, name) is not None]
            many = f" and {', '.join(lost)}, which follow it, are" if lost else " is"
            self.remark = f"postprocess: standardise{many} left out, because there are no statistics of a running job"
        self.bundle, self.inputs = bundle, PostprocessInputs(bundle)
        self.inputs.check()
        self.postprocessor = Postprocessor(config.model_copy(update=off))
        self.listwise = bundle.file.groups is not None and bundle.file.groups.listwise

    def of(self, groups: Sequence[Group]) -> list[list[RewardResult] | ScoreError]:
        """The results of each group in its order, or the error of a group in which a response cannot be scored.

        Raises `ScoreError` if the method fails without naming responses: then it would fail for all others too.
        """
        outcomes: list[list[RewardResult] | ScoreError] = []
        for group in groups if self.listwise else ():
            try:
                outcomes.append(self._complete(group, self.bundle.compare(group)))
            except ScoreError as error:
                if not error.rows:
                    raise
                outcomes.append(error)
        return outcomes if self.listwise else self._scored(groups)

    def _scored(self, groups: Sequence[Group]) -> list[list[RewardResult] | ScoreError]:
        """All groups in one call; after an error those without a fault are scored again."""
        failed: dict[int, ScoreError] = {}
        while True:
            places = [place for place in range(len(groups)) if place not in failed]
            owners = [place for place in places for _ in groups[place]]
            requests = [request for place in places for request in groups[place]]
            try:
                results = iter(self._complete(requests, self.bundle.score(requests)))
            except ScoreError as error:
                if not error.rows:
                    raise
                failed |= {owners[row]: error.at() for row in error.rows}
                continue
            by_place = {place: [next(results) for _ in groups[place]] for place in places}
            return [failed[place] if place in failed else by_place[place] for place in range(len(groups))]

    def _complete(self, requests: Group, results: Sequence[RewardResult]) -> list[RewardResult]:
        return [self.postprocessor.apply(result) for result in self.inputs.add(requests, results)]
