"""What is known of a response beside the method's score of it: everything that postprocess asks for, in one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.user_states import Known
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods.base import Method
from persona_rm.types import Score, ScoreRequest

RewardRow = tuple[str | None, str, str]
"""(user, prompt, response)."""
ENGINE = ("rows", "rows_cut", "rows_rescored", "tokens_forwarded", "tokens_cached", "tokens_cut")
"""What the log-prob engines count, whichever they are; of policy and reference together. Forwarded: run through a
model. Cached: prompt tokens that were read from the prefix cache instead. Cut: by the truncation policy. Rescored:
rows whose first answer vLLM's guard did not believe."""


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """One response. What postprocess does not need is None."""

    known: Known
    score: Score
    prior: float | None = None
    """The method's reward with its prior state."""
    universal: float | None = None
    safety: float | None = None
    length: int | None = None
    """Of the response, in the unit of `postprocess.length`."""


class Scorers:
    """The models of a bundle, asked for what its postprocess needs. One thread at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.config = bundle, bundle.file.postprocess

    def check(self) -> None:
        """Raises `RecipeError` where an option of the postprocess has no model."""
        file = self.bundle.file
        given = {"universal": file.universal is not None, "safety": file.safety is not None}
        self.config.check(**given, tokens=file.policy is not None, std=file.groups is None)

    def score(self, rows: Sequence[RewardRow]) -> list[ScoredResponse]:
        """Each response by itself. Raises `ScoreError`."""
        found = self.bundle.score_known(rows)
        priors = self._priors(rows, found) if self.config.needs_prior else [None] * len(rows)
        return [
            ScoredResponse(known, score, prior, *rest)
            for (known, score), prior, rest in zip(found, priors, self._beside(rows), strict=True)
        ]

    def compare(self, user: str | None, prompt: str, responses: Sequence[str]) -> "Compared":
        """P(response i beats j) for this person, and for nobody where postprocess asks. Raises `ScoreError`."""
        method = self.bundle.method
        try:
            known = self.bundle.known(user, prompt)
            state, _ = self.bundle.state(user, prompt)
        except DataError as error:
            raise ScoreError(str(error)) from error
        states = [state, method.prior()] if self.config.needs_prior else [state]
        matrices = method.compare([ScoreRequest(one, prompt, tuple(responses)) for one in states])
        rows = [(user, prompt, response) for response in responses]
        return Compared(
            known, matrices, tuple(ScoredResponse(known, Score(()), None, *rest) for rest in self._beside(rows))
        )

    def engine(self) -> dict[str, int]:
        """What the log-prob engine did so far, by `ENGINE`; all 0 without one, and until it is opened."""
        counters = getattr(vars(self.bundle).get("_backends", Backends()).logprob, "counters", None)
        return engine_figures({} if counters is None else asdict(counters))

    def _beside(self, rows: Sequence[RewardRow]) -> list[tuple[float | None, float | None, int | None]]:
        """Universal score, safety score and length of each."""
        needed = ((self.bundle.universal, self.config.needs_universal), (self.bundle.safety, self.config.needs_safety))
        scores = [_impersonal(method, rows) if wanted else [None] * len(rows) for method, wanted in needed]
        return list(zip(*scores, self._lengths(rows), strict=True))

    def _priors(self, rows: Sequence[RewardRow], found: Sequence[tuple[Known, Score]]) -> list[float | None]:
        """A stranger's score is the prior's already."""
        asked = [i for i, (known, _) in enumerate(found) if known.user_known]
        try:
            prior = _impersonal(self.bundle.method, [rows[i] for i in asked])
        except ScoreError as error:
            raise error.at(*(asked[i] for i in error.rows)) from error
        given = dict(zip(asked, prior, strict=True))
        return [given.get(i, score.rewards[0]) for i, (_, score) in enumerate(found)]

    def _lengths(self, rows: Sequence[RewardRow]) -> list[int | None]:
        unit = self.config.needs_length
        if unit is None:
            return [None] * len(rows)
        texts = [response for *_, response in rows]
        if unit == "characters":
            return [len(text) for text in texts]
        return [len(ids) for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]]

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.bundle.path(str(self.bundle.file.policy)))


@dataclass(frozen=True, slots=True)
class Compared:
    """All responses to a prompt. `matrices`: the person's, then the prior's if
    post-processing asks for it; `rows` have no score yet."""

    known: Known
    matrices: list[list[list[float]]]
    rows: tuple[ScoredResponse, ...]


def engine_figures(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters of one engine by the names of `ENGINE`. vLLM counts all tokens of what it was sent."""
    found = dict(counters)
    if "rescored" in found:
        found |= {"computed": found["tokens"] - found["cached"], "reused": found["cached"]}
    keys = ("rows", "cut_rows", "rescored", "computed", "reused", "cut_tokens")
    return {name: found.get(key, 0) for name, key in zip(ENGINE, keys, strict=True)}


def _impersonal(method: Method | None, rows: Sequence[RewardRow]) -> list[float | None]:
    """What the method says with its prior state, each text once. Raises `ScoreError` with positions in `rows`."""
    if method is None:
        raise ScoreError("postprocess needs a model that the bundle does not name")
    distinct = list(dict.fromkeys((prompt, response) for _, prompt, response in rows))
    try:
        scores = method.score([ScoreRequest(method.prior(), prompt, (response,)) for prompt, response in distinct])
    except ScoreError as error:
        bad = {distinct[i] for i in error.rows}
        raise error.at(*(i for i, row in enumerate(rows) if row[1:] in bad)) from error
    found = dict(zip(distinct, (score.rewards[0] for score in scores), strict=True))
    return [found[prompt, response] for _, prompt, response in rows]
