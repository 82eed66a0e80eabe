"""The HTTP API of the reward service: FastAPI and uvicorn in one process, over a `Service` that gives rewards.

    POST /get_reward          what OpenRLHF 0.11.2 posts: query, prompts, labels -> rewards, scores, extra_logs
    POST /v1/score, /score    typed: user, prompt, responses -> reward, parts, status, user_known, logs, trace
    GET  /health /ready       the process lives; rewards are available (else 503 with the reason)
    GET  /metrics /info       Prometheus text; what is served
    GET  /openapi.json        the schema, with examples

A call gets all its rewards or an error `{"error", "kind"}`: 4xx for what is wrong with the call, 5xx for the service's
own failure, 503 with Retry-After while it loads, is full or hangs. No text and no user id is in an error, log or label
of a metric.

What a user of OpenRLHF must know. Its HTTP client posts one row per call, each in a session of its own, waits at most
180 s, tries five times a second apart whatever the status was (it reads neither Retry-After nor 4xx as final), and
then raises "Request error for 5 times, returning None". The rollout catches that, writes one line at INFO, and goes on
with `reward=None`: the trainer fails later and elsewhere ("reward_model_group is required", or an AttributeError while
a batch is padded). Nothing that a server answers can stop that job with the reason. `reward_func.py` can, and does: it
is the safer door, and this one is for trainers that do not run on the same Ray cluster. Name one URL: of several the
client rotates, and a shard may be empty, which is accepted. It sends no headers; with a token write
`http://any:TOKEN@HOST:PORT/get_reward`, as the token is accepted as a Basic password too.

Why not Ray Serve: of 64 callers it answered a tenth as many (156 against 1,542 calls a second with kept sessions, 99
against 863 with new ones; a trivial answer behind both, 2 shared cores, `tests/perf/http_face.py`), as its proxy and
replica hand every call through two more processes, while the work behind this API is a pool of Ray actors already,
routed by user. And 2.55 deploys nothing beside protobuf 7, which the CPU set pins.
"""
