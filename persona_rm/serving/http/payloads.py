"""From requests to results, and from results to answers. A call gets all its rewards or an error."""

import asyncio
import math
from collections.abc import Sequence

from persona_rm.errors import DataError, ScoreError
from persona_rm.prompts import read_prompt
from persona_rm.serving.http.http_errors import RequestError, request_error_of
from persona_rm.serving.http.schemas import ScoredItem, ScoreIn, ScoreOut, TraceOut
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.labels import LabelError, LabelPolicy
from persona_rm.types import RewardRequest, RewardResult


def check_rows(n: int, settings: Settings) -> None:
    """Raises `RequestError` if a call has too many rows."""
    if n > settings.row_limit:
        raise RequestError("too_large", f"a call has at most {settings.row_limit} rows, found {n}: send them in parts")


def check_lengths(requests: Sequence[RewardRequest], settings: Settings) -> None:
    """Raises `RequestError` with the row and the length of a text that is too long, before it travels to an actor."""
    for i, request in enumerate(requests):
        try:
            settings.limits.check(request)
        except ScoreError as error:
            refused = request_error_of(error)
            raise RequestError(refused.kind, f"row {i}: {refused.problem}") from error


def score_requests(body: ScoreIn) -> list[RewardRequest]:
    """One request per response. Raises `RequestError` for messages that no response can follow, and for another
    number of values in `finished`."""
    finished = [True] * len(body.responses) if body.finished is None else body.finished
    if len(finished) != len(body.responses):
        found = f"{len(body.responses)} and {len(finished)}"
        raise RequestError("invalid", f"responses and finished are lists of one length; found {found}")
    try:
        turns = body.prompt if isinstance(body.prompt, str) else [turn.model_dump() for turn in body.prompt]
        prompt = read_prompt(turns)
    except DataError as error:
        raise RequestError("invalid", f"prompt: {error.problem}") from error
    return [
        RewardRequest(body.user or None, prompt, response, finished=ended, group=body.group)
        for response, ended in zip(body.responses, finished, strict=True)
    ]


async def results_of(
    service: Service, requests: Sequence[RewardRequest], caller: str, settings: Settings
) -> list[RewardResult]:
    """All results. Raises `RequestError`, with the row, as soon as one row fails; the other rows are cancelled."""

    async def score(i: int, request: RewardRequest) -> RewardResult:
        try:
            result = await service.score(request, caller=caller, deadline=settings.deadline)
            return _checked(result, settings.labels)
        except RequestError as error:
            raise RequestError(error.kind, f"row {i}: {error.problem}", request.request_id) from error

    # All rows start at once, so that the rows of one call can share a batch.
    tasks = [asyncio.ensure_future(score(i, request)) for i, request in enumerate(requests)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        # Cancelling a finished task does nothing. After an error it withdraws rows for which no call waits any more.
        for task in tasks:
            task.cancel()


def _checked(result: RewardResult, labels: LabelPolicy) -> RewardResult:
    """Raises `RequestError` for NaN and infinities, which JSON would turn into null, and for users that the label
    policy refuses."""
    trace = result.trace
    numbers = (result.reward, trace.raw, *trace.parts.values(), *trace.inputs.values(), *trace.metrics.values())
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise RequestError("not_finite", "the reward is not a finite number")
    try:
        labels.check_known(trace.user, trace.user_known, trace.status)
    except LabelError as error:
        raise RequestError("label", error.reason) from error
    return result


def score_out(body: ScoreIn, results: Sequence[RewardResult], trace: bool) -> ScoreOut:
    """One item per response, with its trace if the caller asked for it."""
    items = [
        ScoredItem(
            reward=result.reward,
            parts=dict(result.trace.parts),
            status=result.status,
            user_known=result.trace.user_known,
            group=result.trace.group,
            logs=dict(result.trace.metrics),
            trace=TraceOut.model_validate(result.trace.to_row()) if trace else None,
        )
        for result in results
    ]
    return ScoreOut(group=body.group, results=items)
