"""Why a call gets no reward: a closed list of kinds, each with its HTTP status."""

from collections.abc import Mapping

from persona_rm.errors import ErrorKind, PersonaRMError, ScoreError

KINDS: Mapping[str, int] = {
    "malformed": 400,
    "host": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method": 405,
    "slow": 408,
    "too_large": 413,
    "media_type": 415,
    "headers": 431,
    "invalid": 422,
    "label": 422,
    "unscorable": 422,
    # Not a registered status. nginx logs it for a caller that went away before the answer.
    "gone": 499,
    "failed": 500,
    "not_finite": 500,
    "busy": 503,
    "down": 503,
    "late": 503,
    "not_ready": 503,
}
"""Kind -> HTTP status. Programs and metrics read the kind; the message beside it is for readers."""
RETRY_AFTER: Mapping[str, int] = {"busy": 1, "down": 5, "late": 5, "not_ready": 5}
"""Seconds after which a retry makes sense."""


class RequestError(PersonaRMError):
    """No reward, of one of `KINDS`. The message holds no text of a user and no user id. `request_id` is that of the
    log line with the cause, "" if the call had no request yet."""

    def __init__(self, kind: str, problem: str, request_id: str = "") -> None:
        super().__init__(problem)
        self.kind, self.problem, self.status, self.request_id = kind, problem, KINDS[kind], request_id

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        if self.kind in RETRY_AFTER:
            return {"retry-after": str(RETRY_AFTER[self.kind])}
        return {"www-authenticate": "Bearer"} if self.kind == "unauthorized" else {}

    @property
    def body(self) -> dict[str, str]:
        """The JSON of the answer."""
        found = {"request_id": self.request_id} if self.request_id else {}
        return {"error": self.problem, "kind": self.kind, **found}


_ANSWERS: Mapping[ErrorKind, tuple[str, str]] = {
    "too_long": ("unscorable", "prompt and response are too long"),
    "no_token": ("unscorable", "the prompt or the response has no token"),
    "prompt": ("unscorable", "the prompt is no conversation for the chat template, or half a rendered one"),
    "user": ("unscorable", "what is known about this user cannot be used"),
    "not_finite": ("not_finite", "the model gave a number that is not finite"),
    "late": ("late", "no reward within the deadline"),
    "group": ("late", "the other samples of its group did not come in time"),
    "busy": ("busy", "too many rows wait already; try again"),
    "fatal": ("unscorable", "reward actors ended or stalled while they scored this, so it is not tried again"),
    "down": ("down", "no reward actor answers"),
}
"""The kinds of `ScoreError` that a caller can do something about: kind and message of the answer."""


def request_error_of(error: BaseException) -> RequestError:
    """The error that a caller gets, with the cause if the error names one. The message of the original error is
    withheld, because it may name a user or a folder."""
    if isinstance(error, RequestError):
        return error
    kind = "late" if isinstance(error, TimeoutError) else error.kind if isinstance(error, ScoreError) else "failed"
    failed = f"the service failed ({type(error).__name__}); see its log"
    answer, message = _ANSWERS.get(kind, ("failed", failed))
    cause = error.cause if isinstance(error, ScoreError) else ""
    return RequestError(answer, f"{message}: {cause}" if cause else message)
