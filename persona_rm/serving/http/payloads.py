"""From the bodies of calls to requests, and from results to answers. A call gets all its rewards or an error."""

import asyncio
import math
from collections.abc import Sequence

from persona_rm.errors import ScoreError
from persona_rm.hosts.openrlhf.queries import sigmoid, strip_prompt
from persona_rm.serving.http.http_errors import RequestError
from persona_rm.serving.http.schemas import RewardsIn, RewardsOut, ScoredItem, ScoreIn, ScoreOut, TraceOut, is_sound
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.labels import LabelError, LabelPolicy
from persona_rm.types import RewardRequest, RewardResult


def requests_of(body: RewardsIn, settings: Settings) -> list[RewardRequest]:
    """One request per row. Raises `RequestError` if lists differ in length, or a row has no clear response or user."""
    sizes = {"query": len(body.query), "prompts": len(body.prompts), "labels": len(body.labels)}
    if len(set(sizes.values())) > 1:
        raise RequestError("invalid", f"query, prompts and labels are lists of one length; found {sizes}")
    check_rows(len(body.query), settings)
    rows = zip(body.query, body.prompts, body.labels, strict=True)
    return [_request(i, query, prompt, label, settings.labels) for i, (query, prompt, label) in enumerate(rows)]


def _request(i: int, query: str, prompt: str, label: object, labels: LabelPolicy) -> RewardRequest:
    try:
        response = strip_prompt(query, prompt)
    except ScoreError as error:
        problem = "the query does not begin with its prompt, so the answer in it is unknown: does the tokenizer give"
        raise RequestError("unscorable", f"row {i}: {problem} back the text it was given?") from error
    try:
        request = labels.request(label, prompt, response)
    except LabelError as error:
        raise RequestError("label", f"row {i}: {error.reason}") from error
    if not is_sound((request.user or "") + request.prompt):
        raise RequestError("label", f"row {i}: the label holds half of a surrogate pair, which is no character")
    return request


def check_rows(n: int, settings: Settings) -> None:
    """Raises `RequestError` if a call has too many rows."""
    if n > settings.row_limit:
        raise RequestError("too_large", f"a call has at most {settings.row_limit} rows, found {n}: send them in parts")


async def results_of(
    service: Service, requests: Sequence[RewardRequest], caller: str, settings: Settings
) -> list[RewardResult]:
    """All results. Raises `RequestError`, with the row, as soon as one row fails; the other rows are cancelled."""

    async def score(i: int, request: RewardRequest) -> RewardResult:
        try:
            result = await service.score(request, caller=caller, deadline=settings.deadline)
            return _checked(result, settings.labels)
        except RequestError as error:
            raise RequestError(error.kind, f"row {i}: {error.problem}") from error

    tasks = [asyncio.ensure_future(score(i, request)) for i, request in enumerate(requests)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
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


def rewards_out(results: Sequence[RewardResult]) -> RewardsOut:
    """The shapes of OpenRLHF's own server: a list with one number per row, also for one row."""
    rewards = [float(result.reward) for result in results]
    metrics = [result.trace.metrics for result in results]
    if any(row.keys() != metrics[0].keys() for row in metrics):
        raise RequestError("failed", "the rows of this call have different logs")
    logs = {key: [float(row[key]) for row in metrics] for key in (metrics[0] if metrics else ())}
    return RewardsOut(rewards=rewards, scores=[sigmoid(reward) for reward in rewards], extra_logs=logs)


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
