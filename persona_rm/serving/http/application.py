"""The routes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, JsonValue
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from persona_rm import __version__
from persona_rm.config import did_you_mean
from persona_rm.serving.http.guard import OPEN, Guard
from persona_rm.serving.http.http_errors import KINDS, RequestError
from persona_rm.serving.http.metrics import HttpMetrics
from persona_rm.serving.http.payloads import check_lengths, check_rows, results_of, score_out, score_requests
from persona_rm.serving.http.schemas import Problem, ScoreIn, ScoreOut, State
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import Settings
from persona_rm.serving.request_ids import with_id
from persona_rm.types import RewardRequest, RewardResult

ROUTES = frozenset({"/score", "/v1/score", "/health", "/ready", "/metrics", "/info", "/openapi.json"})
_DESCRIPTIONS = {
    400: "The body is no JSON, or Host names another service.",
    401: "The token is missing or wrong.", 408: "The body came too slowly.",
    413: "Too many bytes or rows.", 415: "The body is not declared as JSON.",
    422: "The body is not what the schema says, or a row cannot be scored.", 500: "The service failed.",
    503: "Loading, full, down or late; see Retry-After.",
}  # fmt: skip
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _DESCRIPTIONS.items()
}
_GUARDED: dict[int | str, dict[str, Any]] = {401: ERRORS[401]}


Scorer = Callable[[Request, Sequence[RewardRequest]], Awaitable[list[RewardResult]]]
"""Gives all results of a call, or raises `RequestError`. It cancels its work if the caller goes away."""


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route for the payload of one trainer. The package of that host defines it."""

    path: str
    body: type[BaseModel]
    """The schema of a call; errors name its fields."""
    example: Callable[[str], Mapping[str, JsonValue]]
    """The body of an example call for a user."""
    add: Callable[[FastAPI, Settings, Scorer], None]
    """Adds the route to the application."""


def make_app(service: Service, settings: Settings, routes: Sequence[HostRoute] = ()) -> FastAPI:
    """The application, with the routes of hosts beside its own. The caller opens and closes the service."""
    paths = ROUTES | {route.path for route in routes}
    app = FastAPI(
        title="persona_rm reward service",
        version=__version__,
        description="Each user's own reward. A call has all its rewards, or an error.",
        # FastAPI's pages of documentation load scripts from the internet. The schema itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        # A path with a slash too many is told so by a 404, and not redirected.
        redirect_slashes=False,
    )
    metrics = HttpMetrics()
    _add_rewards(app, service, settings, metrics, routes)
    _add_probes(app, service)
    _add_figures(app, service, metrics)
    bodies: dict[str, type[BaseModel]] = {"/score": ScoreIn, "/v1/score": ScoreIn}
    bodies |= {route.path: route.body for route in routes}
    _add_errors(app, metrics, paths, {path: tuple(body.model_fields) for path, body in bodies.items()})
    app.add_middleware(Guard, settings=settings, metrics=metrics, routes=paths)
    return app


def _add_rewards(
    app: FastAPI, service: Service, settings: Settings, metrics: HttpMetrics, routes: Sequence[HostRoute]
) -> None:
    async def scored(call: Request, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        check_lengths(requests, settings)
        requests = [with_id(request) for request in requests]
        metrics.rows.observe(len(requests))
        # An actor in this process serves its callers in turn, so one address with many rows does not delay the others.
        caller = call.client.host if call.client else "unknown"
        return await unless_gone(call, results_of(service, requests, caller, settings))

    async def score(body: ScoreIn, request: Request, trace: bool = False) -> ScoreOut:
        """A user's reward of each response to a prompt; with `trace`, how each came about."""
        # Before any request is made, so that a call with too many rows costs nothing.
        check_rows(len(body.responses), settings)
        requests = score_requests(body)
        return score_out(body, await scored(request, requests), trace or body.trace)

    for path, name in (("/v1/score", "score_v1"), ("/score", "score")):
        app.post(path, responses=ERRORS, operation_id=name)(score)
    for route in routes:
        route.add(app, settings, scored)


def _add_probes(app: FastAPI, service: Service) -> None:
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


def _add_figures(app: FastAPI, service: Service, http_metrics: HttpMetrics) -> None:
    @app.get("/metrics", operation_id="metrics", response_class=_Text, responses=_GUARDED)
    async def metrics() -> Response:
        """Prometheus text."""
        return _Text(await http_metrics.text(service))

    @app.get("/info", operation_id="info", responses={**_GUARDED, 503: ERRORS[503]})
    async def info() -> dict[str, Any]:
        """What is served, and counters."""
        try:
            served = await service.info()
        except Exception as error:
            raise RequestError("down", f"no actor says what it serves ({type(error).__name__})") from error
        return {"version": __version__, "ready": service.ready(), **served}


class _Text(Response):
    media_type = "text/plain; version=0.0.4"


async def unless_gone(request: Request, work: Awaitable[list[RewardResult]]) -> list[RewardResult]:
    """The result of the work. It is cancelled if the caller disconnects. Raises `RequestError` then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise RequestError("gone", "the caller disconnected")
    finally:
        # One of the two is done; the other must not outlive the call. To cancel a finished task does nothing.
        gone.cancel()
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_errors(
    app: FastAPI, metrics: HttpMetrics, paths: Collection[str], keys_of: Mapping[str, Sequence[str]]
) -> None:
    """Answer every error with the JSON of `RequestError`. `keys_of`: the keys of a call's body, by path."""

    def answer(request: Request, refused: RequestError, headers: Mapping[str, str] | None = None) -> Response:
        if request.url.path not in OPEN:
            metrics.failures.labels(refused.kind).inc()
        return JSONResponse(refused.body, refused.status, {**refused.headers, **(headers or {})})

    async def request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return answer(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, _invalid(error.errors(), keys_of.get(request.url.path, ())))

    async def other(request: Request, error: Exception) -> Response:
        """Errors of the framework: no such route, no such method, a body that is no JSON."""
        assert isinstance(error, HTTPException)
        # Errors of the framework carry a status only. The first kind with this status stands for it.
        kind = next((kind for kind, status in KINDS.items() if status == error.status_code), "malformed")
        said = {
            "not_found": f"there is no such route; there is: {', '.join(sorted(paths))}",
            "method": f"this route takes {Headers(error.headers).get('allow', 'another method')}",
            "malformed": "the body is no JSON",
        }
        return answer(request, RequestError(kind, said.get(kind, "the call could not be read")), error.headers)

    handlers: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RequestError: request_error, RequestValidationError: invalid, HTTPException: other
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


FAULTS = 5
"""The maximum number of faults of a body that an error lists."""
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
"""An unknown key of this form is named in the error. Any other may be a user's text, which no answer holds."""


def _invalid(errors: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> RequestError:
    """The faults of a body: the place of each in the schema's names and what is wrong, without the value that was
    sent. Unknown keys come first, because a misspelt required key is also reported as missing."""
    if errors[0]["type"] == "json_invalid":
        return RequestError("malformed", "the body is no JSON")
    unknown_first = sorted(errors, key=lambda error: error["type"] != "extra_forbidden")
    faults = [_fault(error, keys) for error in unknown_first[:FAULTS]]
    if len(errors) > FAULTS:
        faults.append(f"and {len(errors) - FAULTS} more faults")
    return RequestError("invalid", "; ".join(faults))


def _fault(error: Mapping[str, Any], keys: Sequence[str]) -> str:
    # A place has names of the schema only: a key that the caller invented may hold a text.
    where = [str(part) for part in error["loc"][1:] if isinstance(part, int) or part in keys]
    if error["type"] != "extra_forbidden":
        return f"{'.'.join(where) or 'body'}: {error['msg'].removeprefix('Value error, ')}"
    key = str(error["loc"][-1])
    named = f"{key}: there is no such key" if PLAIN_KEY.fullmatch(key) else "body: one of its keys is unknown"
    return f"{named}; there is: {', '.join(keys)}{did_you_mean(key, keys)}"
