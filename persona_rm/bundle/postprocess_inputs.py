"""The inputs of post-processing beside the method's reward: the prior's reward, other models, the response length."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.request_reader import for_method
from persona_rm.errors import ScoreError
from persona_rm.methods.base import Method
from persona_rm.types import RewardRequest, RewardResult


class PostprocessInputs:
    """Computes what the post-processing of a bundle needs, by the models of the bundle. Not thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.config = bundle, bundle.file.postprocess

    def check(self) -> None:
        """Raises `RecipeError` if an option of the post-processing has no model."""
        file = self.bundle.file
        given = {"universal": file.universal is not None, "safety": file.safety is not None}
        self.config.check(
            **given, tokens=file.policy is not None or file.tokenizer is not None, std=file.groups is None
        )

    def add(self, requests: Sequence[RewardRequest], results: Sequence[RewardResult]) -> list[RewardResult]:
        """The same results with complete `trace.inputs`. A prior's reward that is already there is kept.

        Raises `ScoreError`.
        """
        requests = [self.bundle.reader.read(request) for request in requests]
        columns: dict[str, Sequence[float]] = {}
        if self.config.needs_prior and any("prior" not in result.trace.inputs for result in results):
            columns["prior"] = self._priors(requests, results)
        if self.config.needs_universal:
            columns["universal"] = _prior_rewards(self.bundle.universal, requests)
        if self.config.needs_safety:
            columns["safety"] = _prior_rewards(self.bundle.safety, requests)
        if self.config.needs_length is not None:
            columns["length"] = self._lengths([request.response for request in requests])
        if self.config.cut_penalty:
            columns["cut"] = [float(not request.finished) for request in requests]
        if not columns:
            return list(results)
        completed = []
        for i, result in enumerate(results):
            inputs = {**result.trace.inputs, **{name: column[i] for name, column in columns.items()}}
            completed.append(replace(result, trace=replace(result.trace, inputs=inputs)))
        return completed

    def _priors(self, requests: Sequence[RewardRequest], results: Sequence[RewardResult]) -> list[float]:
        """The method's reward of each response with its prior state, which an unknown user's reward already is."""
        # Only the rows of known users are scored again.
        priors = [result.reward for result in results]
        known = [i for i, result in enumerate(results) if result.trace.user_known]
        try:
            rewards = _prior_rewards(self.bundle.method, [requests[i] for i in known])
        except ScoreError as error:
            # The error counts among the known users; the caller needs positions in its own batch.
            raise error.at(*(known[i] for i in error.rows)) from error
        for i, reward in zip(known, rewards, strict=True):
            priors[i] = reward
        return priors

    def _lengths(self, texts: Sequence[str]) -> list[float]:
        if self.config.needs_length == "characters":
            return [len(text) for text in texts]
        return [len(ids) for ids in self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    @cached_property
    def _tokenizer(self) -> Any:
        file = self.bundle.file
        return load_tokenizer(self.bundle.path(str(file.tokenizer or file.policy)))


def _prior_rewards(method: Method | None, requests: Sequence[RewardRequest]) -> list[float]:
    """The method's rewards with its prior state. Each distinct text is scored once.

    Raises `ScoreError` with positions in `requests`.
    """
    if method is None:
        raise ScoreError("post-processing needs a model that the bundle does not name")
    # The prior does not depend on the user, so equal texts of different users are one row.
    keys = [(request.prompt, request.response, request.finished) for request in requests]
    distinct = {key: for_method(request, method) for key, request in zip(keys, requests, strict=True)}
    try:
        results = method.score([method.prior()] * len(distinct), list(distinct.values()))
    except ScoreError as error:
        bad = {list(distinct)[i] for i in error.rows}
        raise error.at(*(i for i, key in enumerate(keys) if key in bad)) from error
    rewards = dict(zip(distinct, (result.reward for result in results), strict=True))
    return [rewards[key] for key in keys]
