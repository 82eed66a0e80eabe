"""Requests with which another actor was lost: each is scored alone, and the supervisor is told (`pool.fatal_rows`)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from persona_rm.serving.pool.fatal_rows import fingerprint
from persona_rm.serving.pool.named_actor import suspects_told
from persona_rm.types import Prompt, RewardRequest

MOST_TOKENS = 65_536
"""Upper bound on the estimated tokens in one batch. Backends may split a batch further."""


class Suspects:
    """The suspects that one actor holds now, by their request ids."""

    def __init__(self, namespace: str, actor: str) -> None:
        self.namespace, self.actor = namespace, actor
        self._ids: set[str] = set()

    @contextmanager
    def marked(self, requests: Sequence[RewardRequest]) -> Iterator[None]:
        """These requests are suspects inside the block."""
        ids = {request.request_id for request in requests}
        self._ids |= ids
        try:
            yield
        finally:
            self._ids -= ids

    def cost(self, request: RewardRequest) -> int:
        """The estimated tokens, at four characters each. A suspect costs more than a batch may, and so gets one of its
        own."""
        if request.request_id in self._ids:
            return MOST_TOKENS + 1
        return (len(request.prompt_text) + len(request.response)) // 4 + 1

    def told(self, requests: Sequence[RewardRequest]) -> AbstractContextManager[None]:
        """Inside the block the supervisor knows that the suspects among these requests are scored."""
        rows = [fingerprint(request) for request in requests if request.request_id in self._ids]
        return suspects_told(self.namespace, self.actor, rows) if rows else nullcontext()


def computation(request: RewardRequest) -> tuple[str | None, Prompt, str, bool]:
    """Requests that are equal in these are computed once."""
    return request.user, request.prompt, request.response, request.finished
