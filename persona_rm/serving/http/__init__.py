"""The HTTP API of the reward service: FastAPI and uvicorn in one process, over a `Service` that gives rewards.

    POST /v1/score, /score    typed: user, prompt, responses -> reward, parts, status, user_known, logs, trace
    GET  /health /ready       the process lives; rewards are available (else 503 with the reason)
    GET  /metrics /info       Prometheus text; what is served
    GET  /openapi.json        the schema, with examples

A call gets all its rewards or an error `{"error", "kind"}`: 4xx for what is wrong with the call, 5xx for the service's
own failure, 503 with Retry-After while it loads, is full or hangs. No text and no user id is in an error, log or label
of a metric.

The routes of trainers are added by the packages of hosts (`HostRoute`), which say what their trainer's client does
with an error.

Why not Ray Serve: of 64 callers it answered a tenth as many (156 against 1,542 calls a second with kept sessions, 99
against 863 with new ones; a trivial answer behind both, 2 shared cores, `tests/perf/http_api.py`), as its proxy and
replica hand every call through two more processes, while the work behind this API is a pool of Ray actors already,
routed by user. And 2.55 deploys nothing beside protobuf 7, which the CPU set pins.
"""

from persona_rm.extras import require

require("serving over HTTP", "fastapi", "prometheus_client", "uvicorn")
