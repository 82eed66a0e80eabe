"""From the bodies of calls to asks, and from replies to answers. A call has all its rewards, or none."""

import asyncio
import math
from collections.abc import Sequence

from persona_rm.errors import ScoreError
from persona_rm.hosts.openrlhf.queries import strip_prompt
from persona_rm.maths import sigmoid
from persona_rm.serving.curves import Ask, Reply
from persona_rm.serving.http.http_errors import RequestError
from persona_rm.serving.http.schemas import RewardsIn, RewardsOut, ScoredItem, ScoreIn, ScoreOut, is_sound
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.labels import read_label


def asks_of(body: RewardsIn, settings: Settings) -> list[Ask]:
    """One request per row. Raises `RequestError` if lists differ in length, or a row has no clear response or user."""
    sizes = {"query": len(body.query), "prompts": len(body.prompts), "labels": len(body.labels)}
    if len(set(sizes.values())) > 1:
        raise RequestError("invalid", f"query, prompts and labels are lists of one length; found {sizes}")
    check_rows(len(body.query), settings)
    rows = zip(body.query, body.prompts, body.labels, strict=True)
    return [_ask(i, query, prompt, label, settings) for i, (query, prompt, label) in enumerate(rows)]


def _ask(i: int, query: str, prompt: str, value: object, settings: Settings) -> Ask:
    label = read_label(value)
    if not is_sound((label.user or "") + (label.prompt or "")):
        raise RequestError("label", f"row {i}: the label holds half of a surrogate pair, which is no character")
    if settings.strict and (label.bad or label.user is None):
        raise RequestError("label", f"row {i}: PERSONA_RM_LABELS=strict, and this sample has no user")
    try:
        response = strip_prompt(query, prompt)
    except ScoreError as error:
        problem = "the query does not begin with its prompt, so the answer in it is unknown: does the tokenizer give"
        raise RequestError("unscorable", f"row {i}: {problem} back the text it was given?") from error
    return Ask(label.user, label.prompt or prompt, response, bool(label.bad))


def check_rows(n: int, settings: Settings) -> None:
    """Raises `RequestError` for more rows than a call may have."""
    if n > settings.row_limit:
        raise RequestError("too_large", f"a call has at most {settings.row_limit} rows, found {n}: send them in parts")


async def replies_of(service: Service, asks: Sequence[Ask], caller: str, settings: Settings) -> list[Reply]:
    """All rewards. Raises `RequestError`, with the row, as soon as one cannot be had; the other rows are cancelled."""

    async def one(i: int, ask: Ask) -> Reply:
        try:
            return _checked(await service.score(ask, caller=caller, deadline=settings.deadline), settings)
        except RequestError as error:
            raise RequestError(error.kind, f"row {i}: {error.problem}") from error

    tasks = [asyncio.ensure_future(one(i, ask)) for i, ask in enumerate(asks)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _checked(reply: Reply, settings: Settings) -> Reply:
    """Raises `RequestError` for NaN and infinities, which JSON would turn into null, and for unknown users if
    strict."""
    numbers = (reply.reward, *reply.dims.values(), *reply.logs.values())
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise RequestError("not_finite", "the reward is not a finite number")
    if settings.strict and not reply.user_known:
        raise RequestError("label", "PERSONA_RM_LABELS=strict, and the bundle does not know this user")
    return reply


def rewards_out(replies: Sequence[Reply]) -> RewardsOut:
    """The shapes of OpenRLHF's own server: a list with one number per row, also for one row."""
    rewards = [float(reply.reward) for reply in replies]
    keys = list(replies[0].logs) if replies else []
    if any(reply.logs.keys() != replies[0].logs.keys() for reply in replies):
        raise RequestError("failed", "the rows of this call have different logs")
    logs = {key: [float(reply.logs[key]) for reply in replies] for key in keys}
    return RewardsOut(rewards=rewards, scores=[sigmoid(reward) for reward in rewards], extra_logs=logs)


def score_out(body: ScoreIn, replies: Sequence[Reply]) -> ScoreOut:
    """One result per response."""
    results = [
        ScoredItem(
            reward=reply.reward,
            dims=dict(reply.dims),
            status=reply.status,
            user_known=reply.user_known,
            group=reply.group,
            logs=dict(reply.logs),
        )
        for reply in replies
    ]
    return ScoreOut(group=body.group, results=results)
