"""Answers of any OpenAI-compatible server (vLLM, SGLang, llama.cpp, a hosted API) over HTTP.

The number of concurrent requests is bounded. Failures that may be temporary (429, 408, 5xx, connection errors,
timeouts, bodies that are not JSON) are retried with exponential backoff and jitter, and `Retry-After` is respected.
Any other status is an error of that row at once. The body of an error response is never parsed as data or repeated in
a message. A server that has stopped answering raises `HostError`, because a job that stops can be resumed, whereas
rows that were written as errors stay errors.
"""

import asyncio
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from persona_rm.backends.base import Generation
from persona_rm.config import Config
from persona_rm.errors import HostError, MissingExtra, RecipeError

RETRIED = (408, 429)
"""Statuses below 500 that are temporary."""
LONGEST_WAIT_S = 60.0
"""Upper bound on the wait before a retry, unless the server asked for more."""
LONGEST_ANSWER = 1 << 26
"""Bytes of the longest body; an annotation has some kilobytes, with log-probabilities a megabyte."""


class HttpConfig(Config):
    """A server. The API key is read from the environment variable `api_key_env`. Times are in seconds."""

    # `_plain` refuses a URL with a user name in it, and pydantic's message would repeat the password beside it.
    model_config = ConfigDict(hide_input_in_errors=True)

    base_url: str
    """The URL up to and including the version, for example `http://localhost:8000/v1`."""
    model: str
    api_key_env: str = ""
    """Name of the environment variable; empty if the server needs no key."""
    api: Literal["chat", "completions"] = "chat"
    structured: Literal["vllm", "openai", "none"] = "vllm"
    """`vllm` can impose schemas and choices, `openai` schemas only. `none` imposes nothing and relies on parsing."""
    max_tokens_field: str = "max_tokens"
    """Name of the field; some hosted models call it `max_completion_tokens`."""
    logprobs: bool = True
    extra: dict[str, Any] = Field(default_factory=dict)
    """Additional fields of the request body."""
    concurrency: int = Field(default=32, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    """Of one attempt."""
    deadline: float = Field(default=1800.0, gt=0)
    """Of one call of `generate`. Rows without an answer by then get an error."""
    retries: int = Field(default=6, ge=0)
    backoff: float = Field(default=0.5, ge=0)
    """Wait before the first retry. It doubles each time, up to a minute, and is scaled by a random 0.5 to 1."""
    seed: int = 0
    """Seed of the jitter."""
    down_after: int = Field(default=50, ge=1)
    """The server counts as down after so many requests in a row that failed with all their retries."""

    @field_validator("base_url")
    @classmethod
    def _plain(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("`base_url` is http(s)://host[:port]/path; keys belong into `api_key_env`'s variable")
        return value.rstrip("/")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt. `again`: a retry makes sense. `wait`: seconds that the server asked to wait."""

    problem: str
    again: bool
    wait: float = 0.0


class HttpGenerator:
    """A `Generator` over HTTP. `generate` blocks, and can also be called from a thread with a running event loop."""

    def __init__(self, config: HttpConfig) -> None:
        self.config = config
        self.failed_in_a_row = 0

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.config.base_url).netloc

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Generation]:
        """See `Generator`. Raises `RecipeError` if the environment variable of the key is not set."""
        if schema is not None and choices is not None:
            raise RecipeError("an answer follows `schema` or `choices`, not both")
        _aiohttp()
        headers = self._headers()
        bodies = [request_body(self.config, prompt, max_tokens, schema, choices) for prompt in prompts]
        # asyncio.run fails in a thread whose event loop is running, so the requests get a thread of their own.
        with ThreadPoolExecutor(1, thread_name_prefix="http-generator") as thread:
            return thread.submit(asyncio.run, self._all(bodies, headers)).result()

    def _headers(self) -> dict[str, str]:
        name = self.config.api_key_env
        if not name:
            return {}
        if not (key := os.environ.get(name, "").strip()):
            raise RecipeError(f"the server at {self.where} needs a key: set the environment variable {name}")
        if not key.isascii() or not key.isprintable():
            raise RecipeError(f"the environment variable {name} holds characters that no HTTP header can carry")
        return {"Authorization": f"Bearer {key}"}

    async def _all(self, bodies: Sequence[dict[str, Any]], headers: Mapping[str, str]) -> list[Generation]:
        aiohttp = _aiohttp()
        ends = asyncio.get_running_loop().time() + self.config.deadline
        gate = asyncio.Semaphore(self.config.concurrency)
        connector = aiohttp.TCPConnector(limit=self.config.concurrency)
        timeout = aiohttp.ClientTimeout(total=self.config.timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
            # If one row raises (the circuit breaker), the others are stopped and awaited before the session closes.
            tasks = [asyncio.create_task(self._row(session, gate, i, body, ends)) for i, body in enumerate(bodies)]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _row(
        self, session: Any, gate: asyncio.Semaphore, number: int, body: dict[str, Any], ends: float
    ) -> Generation:
        try:
            # The wait for a free slot counts towards the deadline.
            async with asyncio.timeout_at(ends), gate:
                # Each row draws its own jitter, which does not depend on the order of the answers.
                answer = await self._tries(session, Random(f"{self.config.seed}/{number}"), body)
        except TimeoutError:
            answer = Generation(error="no answer within the deadline of the call")
        self._count(answer)
        return answer

    async def _tries(self, session: Any, jitter: Random, body: dict[str, Any]) -> Generation:
        """The answer, or the last failure if it is permanent or no retries are left."""
        attempt = 0
        while isinstance(outcome := await self._try(session, body), Failure):
            if not outcome.again or attempt == self.config.retries:
                return Generation(error=outcome.problem)
            own = min(LONGEST_WAIT_S, self.config.backoff * 2**attempt) * (0.5 + 0.5 * jitter.random())
            # Never sooner than the server asked.
            await asyncio.sleep(max(own, outcome.wait))
            attempt += 1
        return outcome

    async def _try(self, session: Any, body: dict[str, Any]) -> Generation | Failure:
        aiohttp = _aiohttp()
        path = "chat/completions" if self.config.api == "chat" else "completions"
        try:
            # A redirect is not followed: prompts are users' texts, and go to no address but that of the config.
            async with session.post(f"{self.config.base_url}/{path}", json=body, allow_redirects=False) as response:
                if response.status != 200:
                    return _refused(response.status, response.headers)
                raw = await _bounded(response)
                if raw is None:
                    return Failure(f"the server's answer is longer than {LONGEST_ANSWER:,} bytes", again=False)
        except TimeoutError:
            return Failure("the server did not answer in time", again=True)
        except aiohttp.ClientError as error:
            return Failure(f"the connection failed ({type(error).__name__})", again=True)
        try:
            return read_body(json.loads(raw), self.config.api)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return Failure("the server's answer is not of the OpenAI form", again=True)

    def _count(self, answer: Generation) -> None:
        """Circuit breaker. Raises `HostError` after `down_after` failed requests in a row, also over several calls."""
        self.failed_in_a_row = self.failed_in_a_row + 1 if answer.error else 0
        if self.failed_in_a_row >= self.config.down_after:
            n, self.failed_in_a_row = self.failed_in_a_row, 0
            raise HostError(
                f"the server at {self.where} is down or refuses everything: {n} requests in a row failed, the last "
                f"because {answer.error}. Nothing of this call was kept; start again when it answers"
            )


async def _bounded(response: Any) -> bytes | None:
    """The body of a response, None if it is longer than `LONGEST_ANSWER`: an endless one would fill the memory."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > LONGEST_ANSWER:
            return None
        parts.append(part)
    return b"".join(parts)


def request_body(
    config: HttpConfig,
    prompt: str,
    max_tokens: int,
    schema: Mapping[str, Any] | None = None,
    choices: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The JSON body of one request: greedy decoding, restricted as far as the server supports it."""
    asked: dict[str, Any] = {"model": config.model, "temperature": 0, config.max_tokens_field: max_tokens}
    if config.api == "chat":
        asked["messages"] = [{"role": "user", "content": prompt}]
    else:
        asked["prompt"] = prompt
    if config.logprobs:
        asked["logprobs"] = True if config.api == "chat" else 1
    if schema is not None and config.structured != "none":
        # OpenAI's strict mode accepts a part of JSON Schema only.
        named = {"name": "answer", "schema": dict(schema), "strict": False}
        asked["response_format"] = {"type": "json_schema", "json_schema": named}
    if choices is not None and config.structured == "vllm":
        asked["structured_outputs"] = {"choice": list(choices)}
    return {**asked, **config.extra}


def read_body(body: Any, api: str) -> Generation:
    """Parses a body of status 200. Raises a built-in exception if it does not have the OpenAI format."""
    choice, usage = body["choices"][0], body.get("usage") or {}
    text = choice["message"]["content"] if api == "chat" else choice["text"]
    if not isinstance(text, str):
        raise TypeError("an answer is text")
    # The two APIs spell the log-probabilities differently: a list of entries, or two parallel lists.
    logprobs = choice.get("logprobs") or {}
    if api == "chat":
        steps = [(entry["token"], entry["logprob"]) for entry in logprobs.get("content") or ()]
    else:
        steps = list(zip(logprobs.get("tokens") or (), logprobs.get("token_logprobs") or (), strict=True))
    logprob = tuple(float(step[1]) for step in steps)
    return Generation(
        text=text,
        logprob=logprob if logprob and all(map(math.isfinite, logprob)) else None,
        tokens=tuple(str(step[0]) for step in steps),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or len(steps)),
    )


def _refused(status: int, headers: Mapping[str, str]) -> Failure:
    again = status >= 500 or status in RETRIED
    wait = seconds_of(headers.get("Retry-After", ""), headers.get("Date")) if again else 0.0
    return Failure(f"the server said HTTP {status}", again, wait)


def seconds_of(retry_after: str, date: str | None = None) -> float:
    """Seconds to wait according to a `Retry-After` header (seconds or an HTTP date); 0 if it is neither.

    `date` is the answer's own `Date`: the server's clock, because this machine's may be wrong by a day.
    """
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


def _aiohttp() -> Any:
    """The package. Raises `MissingExtra` with the pip command."""
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtra("asking a server needs aiohttp, which is not installed: pip install aiohttp") from error
    return aiohttp
