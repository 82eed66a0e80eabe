"""The routes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from persona_rm import __version__
from persona_rm.serving.curves import Ask, Reply
from persona_rm.serving.http.guard import OPEN, Guard
from persona_rm.serving.http.http_errors import KINDS, RequestError
from persona_rm.serving.http.metrics import HttpMetrics
from persona_rm.serving.http.payloads import asks_of, check_rows, replies_of, rewards_out, score_out
from persona_rm.serving.http.schemas import Problem, RewardsIn, RewardsOut, ScoreIn, ScoreOut, State
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import Settings

LONG = 100_000
"""Characters of a call beyond which its texts are read in a thread, so that other calls go on."""
ROUTES = frozenset({"/get_reward", "/score", "/v1/score", "/health", "/ready", "/metrics", "/info", "/openapi.json"})
_SAID = {
    400: "The body is no JSON.", 401: "The token is missing or wrong.", 408: "The body came too slowly.",
    413: "Too many bytes or rows.", 415: "The body is not declared as JSON.",
    422: "The body is not what the schema says, or a row cannot be scored.", 500: "The service failed.",
    503: "Loading, full, down or late; see Retry-After.",
}  # fmt: skip
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": said} for status, said in _SAID.items()
}
_GUARDED: dict[int | str, dict[str, Any]] = {401: ERRORS[401]}


def make_app(service: Service, settings: Settings) -> FastAPI:
    """The application; whoever runs it opens and closes the service."""
    app = FastAPI(
        title="persona_rm reward service",
        version=__version__,
        description="Each user's own reward. A call has all its rewards, or an error.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    meters = HttpMetrics()
    _doors(app, service, settings, meters)
    _probes(app, service)
    _figures(app, service, meters)
    _errors(app, meters)
    app.add_middleware(Guard, settings=settings, meters=meters, routes=ROUTES)
    return app


def _doors(app: FastAPI, service: Service, settings: Settings, meters: HttpMetrics) -> None:
    async def scored(request: Request, asks: Sequence[Ask]) -> list[Reply]:
        meters.rows.observe(len(asks))
        caller = request.client.host if request.client else "unknown"
        return await unless_gone(request, replies_of(service, asks, caller, settings))

    @app.post("/get_reward", responses=ERRORS, operation_id="get_reward")
    async def get_reward(body: RewardsIn, request: Request) -> RewardsOut:
        """OpenRLHF's door: one reward per row of query, prompts and labels."""
        long = sum(map(len, body.query)) + sum(map(len, body.prompts)) > LONG
        asks = await asyncio.to_thread(asks_of, body, settings) if long else asks_of(body, settings)
        return rewards_out(await scored(request, asks))

    async def score(body: ScoreIn, request: Request) -> ScoreOut:
        """A person's reward of each response to a prompt."""
        check_rows(len(body.responses), settings)
        asks = [Ask(body.user or None, body.prompt, response, group=body.group) for response in body.responses]
        return score_out(body, await scored(request, asks))

    for path, name in (("/v1/score", "score_v1"), ("/score", "score")):
        app.post(path, responses=ERRORS, operation_id=name)(score)


def _probes(app: FastAPI, service: Service) -> None:
    @app.get("/health", operation_id="health")
    async def health() -> State:
        """The process lives."""
        return State(status="ok")

    @app.get("/ready", operation_id="ready", responses={503: ERRORS[503]})
    async def ready() -> State:
        """The bundle is loaded, has scored a sentence, and answers."""
        if not service.ready():
            raise RequestError("not_ready", service.reason())
        return State(status="ready")


def _figures(app: FastAPI, service: Service, meters: HttpMetrics) -> None:
    @app.get("/metrics", operation_id="metrics", response_class=_Text, responses=_GUARDED)
    async def metrics() -> Response:
        """Prometheus text."""
        return _Text(await meters.text(service))

    @app.get("/info", operation_id="info", responses={**_GUARDED, 503: ERRORS[503]})
    async def info() -> dict[str, Any]:
        """What is served, and counters."""
        try:
            found = await service.info()
        except Exception as error:
            raise RequestError("down", f"no actor says what it serves ({type(error).__name__})") from error
        return {"version": __version__, "ready": service.ready(), **found}


class _Text(Response):
    media_type = "text/plain; version=0.0.4"


async def unless_gone(request: Request, work: Awaitable[list[Reply]]) -> list[Reply]:
    """The work's result; it is cancelled where the caller goes away. Raises `RequestError` then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise RequestError("gone", "the caller went away")
    finally:
        gone.cancel()
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _errors(app: FastAPI, meters: HttpMetrics) -> None:
    def answer(request: Request, refusal: RequestError, headers: Mapping[str, str] | None = None) -> Response:
        if request.url.path not in OPEN:
            meters.failures.labels(refusal.kind).inc()
        return JSONResponse(refusal.body, refusal.status, {**refusal.headers, **(headers or {})})

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return answer(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, _invalid(error.errors()))

    async def other(request: Request, error: Exception) -> Response:
        """Of the framework: no such route, no such method, a body that is no JSON."""
        assert isinstance(error, HTTPException)
        kind = next((kind for kind, status in KINDS.items() if status == error.status_code), "malformed")
        said = {"not_found": f"there is no such route; there is: {', '.join(sorted(ROUTES))}"}
        return answer(
            request,
            RequestError(kind, said.get(kind, _FRAMEWORK.get(kind, "the call could not be read"))),
            error.headers,
        )

    handlers: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RequestError: refused, RequestValidationError: invalid, HTTPException: other
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


_FRAMEWORK = {"method": "this route does not take that method", "malformed": "the body is no JSON"}
_FIELDS = frozenset(name for model in (RewardsIn, ScoreIn) for name in model.model_fields)


def _invalid(errors: Sequence[Mapping[str, Any]]) -> RequestError:
    """The first fault: where, in the schema's own names, and what; never what was found."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return RequestError("malformed", "the body is no JSON")
    where = [str(part) for part in first["loc"][1:] if isinstance(part, int) or part in _FIELDS]
    words = (
        "there is no such key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    )
    more = f" ({len(errors)} faults in all)" if len(errors) > 1 else ""
    return RequestError("invalid", f"{'.'.join(where) or 'body'}: {words}{more}")
