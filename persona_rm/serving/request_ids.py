"""Ids of reward requests, by which a log line is found again. They are random and hold no text."""

import uuid
from dataclasses import replace

from persona_rm.types import RewardRequest


def with_id(request: RewardRequest) -> RewardRequest:
    """The request with an id of its own, unless the host gave one."""
    return request if request.request_id else replace(request, request_id=uuid.uuid4().hex)
