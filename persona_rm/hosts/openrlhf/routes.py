"""The HTTP route of OpenRLHF 0.11.2: `POST /get_reward` takes query, prompts, labels and gives rewards, scores,
extra_logs.

`reward_func.py` is the better entry point: it can stop the job with the reason, which this route cannot. The route is
for trainers that do not run on the Ray cluster of the reward actors. The host's HTTP client (utils/agent.py:327-363)
posts one row per call, each in a session of its own, waits at most 180 s, tries five times a second apart whatever the
status was (it reads neither Retry-After nor 4xx as final), and then raises "Request error for 5 times, returning
None". The rollout catches that, writes one line at INFO (utils/agent.py:304), and goes on with `reward=None`. The
trainer fails later and elsewhere: "reward_model_group is required" (trainer/ppo_utils/experience_maker.py:142), or an
AttributeError while a batch is padded.

Give the host one URL. If there are several it rotates between them, and a shard may be empty, which is accepted. The
client sends no headers; with a token write `http://any:TOKEN@HOST:PORT/get_reward`, as the token is accepted as a
Basic password too.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from persona_rm.errors import ScoreError
from persona_rm.extras import extra_needed
from persona_rm.hosts.openrlhf.curves import extra_logs
from persona_rm.hosts.openrlhf.queries import strip_prompt
from persona_rm.maths import sigmoid
from persona_rm.serving.http.application import ERRORS, HostRoute, Scorer
from persona_rm.serving.http.http_errors import RequestError
from persona_rm.serving.http.payloads import check_rows
from persona_rm.serving.http.schemas import Text
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.labels import LabelError
from persona_rm.types import RewardRequest, RewardResult

with extra_needed("serving over HTTP"):
    from fastapi import FastAPI, Request

PATH = "/get_reward"
LONG = 100_000
"""Characters of a call beyond which its texts are read in a thread, so that other calls go on."""
_EXAMPLE: dict[str, JsonValue] = {"query": ["Hello? Yes.</s>"], "prompts": ["Hello?"], "labels": [{"user": "u17"}]}


class RewardsIn(BaseModel):
    """What the host posts: three lists of one length, which may be 0. Other keys are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    query: list[Text]
    """Prompt and response as they were decoded, special tokens kept."""
    prompts: list[Text]
    labels: list[Any]
    """The user of each sample: a user id, or an object with `user` and perhaps the bare `prompt`."""


class RewardsOut(BaseModel):
    """One number per row in every list. `scores` are the rewards through a sigmoid."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"rewards": [0.31], "scores": [0.577], "extra_logs": {"persona_rm/cold": [0.0]}}]
        }
    )
    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def example_of(user: str) -> dict[str, JsonValue]:
    """The body of an example call for this user."""
    return {"query": ["Hello? Yes."], "prompts": ["Hello?"], "labels": [{"user": user}]}


def add_get_reward(app: FastAPI, settings: Settings, score: Scorer) -> None:
    """Add the route to the application."""

    @app.post(PATH, responses=ERRORS, operation_id="get_reward")
    async def get_reward(body: RewardsIn, request: Request) -> RewardsOut:
        """OpenRLHF's route: one reward per row of query, prompts and labels."""
        labels = (label for label in body.labels if isinstance(label, str))
        long = sum(map(len, (*body.query, *body.prompts, *labels))) > LONG
        requests = await asyncio.to_thread(requests_of, body, settings) if long else requests_of(body, settings)
        return rewards_out(await score(request, requests))


GET_REWARD = HostRoute(PATH, RewardsIn, example_of, add_get_reward)


def requests_of(body: RewardsIn, settings: Settings) -> list[RewardRequest]:
    """One request per row. Raises `RequestError` if lists differ in length, or a row has no clear response or user."""
    sizes = {"query": len(body.query), "prompts": len(body.prompts), "labels": len(body.labels)}
    if len(set(sizes.values())) > 1:
        raise RequestError("invalid", f"query, prompts and labels are lists of one length; found {sizes}")
    check_rows(len(body.query), settings)
    rows = zip(body.query, body.prompts, body.labels, strict=True)
    return [_request(i, query, prompt, label, settings) for i, (query, prompt, label) in enumerate(rows)]


def _request(i: int, query: str, prompt: str, label: object, settings: Settings) -> RewardRequest:
    try:
        # Before the prompt is looked for in the query, which reads both.
        settings.limits.check_prompt(prompt)
        settings.limits.check_response(len(query) - len(prompt))
    except ScoreError as error:
        raise RequestError("unscorable", f"row {i}: {error.problem}") from error
    try:
        response, finished = strip_prompt(query, prompt, settings.chat)
    except ScoreError as error:
        problem = "the query does not begin with its prompt, so the answer in it is unknown: does the tokenizer give"
        raise RequestError("unscorable", f"row {i}: {problem} back the text it was given?") from error
    try:
        return settings.labels.request(label, prompt, response, finished=finished)
    except LabelError as error:
        raise RequestError("label", f"row {i}: {error.reason}") from error


def rewards_out(results: Sequence[RewardResult]) -> RewardsOut:
    """The layout of the host's own reward server (cli/serve_rm.py:133): a list with one number per row, also for one
    row."""
    rewards = [float(result.reward) for result in results]
    rows = [extra_logs(result) for result in results]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise RequestError("failed", "the rows of this call have different logs")
    logs = {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else ())}
    return RewardsOut(rewards=rewards, scores=[sigmoid(reward) for reward in rewards], extra_logs=logs)
