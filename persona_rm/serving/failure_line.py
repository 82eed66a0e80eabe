"""What a log says about a request without a reward: its id, a hash of its user, and the cause. It holds no text."""

from persona_rm.errors import MissingExtra, RecipeError, ScoreError
from persona_rm.io.log_ids import LogIds
from persona_rm.types import RewardRequest


def failure_line(request: RewardRequest, error: BaseException, ids: LogIds) -> str:
    """The request and why it has no reward, in one line.

    Messages of set-up errors and declared causes are written out. Any other message may hold a text, so the type and
    the place of the error stand for it.
    """
    user = f"user {ids.of(request.user)}" if request.user else "no user"
    return f"request {request.request_id or '-'}, {user}: {ids.hide(cause_of(error))}"


def cause_of(error: BaseException) -> str:
    """The kind or type of the error, and its cause as far as it holds no text."""
    if isinstance(error, ScoreError):
        return f"{error.kind}, {error.cause or f'{type(error).__name__} in {place_of(error)}'}"
    # Errors of the set-up name members, files and keys, never what a user wrote.
    if isinstance(error, RecipeError | MissingExtra):
        return f"{type(error).__name__}, {error}"
    return f"{type(error).__name__} in {place_of(error)}"


def place_of(error: BaseException) -> str:
    """The innermost file and line of an error, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
