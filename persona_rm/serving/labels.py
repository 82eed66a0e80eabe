"""Who a sample is for. The host carries one JSON value per row, `label`; this file says what it may be.

    "u17"                              a user id
    {"user": "u17"}                    the same; other keys may stand beside it (a team's answer key, say)
    {"user": "u17", "prompt": "..."}   with the bare prompt, where the dataset's prompt already carries the persona
    '{"user": "u17"}'                  either of these as JSON text

Nobody, and a stranger, get the population prior and count as `cold`. Junk (a list, a number, broken JSON, a user that
is no text) gets the prior too and counts as `bad_label`. With PERSONA_RM_LABELS=strict both stop the job.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Label:
    """A label, read. `bad` says what was wrong with it without a word of it, and is None where nothing was."""

    user: str | None = None
    prompt: str | None = None
    bad: str | None = None


def read_label(value: Any) -> Label:
    """Never raises: what to do about `bad` is the caller's policy."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            value = json.loads(value)
        except ValueError as error:
            return Label(bad=f"broken JSON of {len(value)} characters ({error})")
    if value is None or value == "":
        return Label()
    if isinstance(value, str):
        return Label(user=value)
    if not isinstance(value, dict):
        return Label(bad=f"a label is a user id or an object with a user, found {type(value).__name__}")
    user, prompt = value.get("user"), value.get("prompt")
    if user is not None and not isinstance(user, str):
        return Label(bad=f"the user of a label is a text, found {type(user).__name__}")
    if prompt is not None and not isinstance(prompt, str):
        return Label(bad=f"the prompt of a label is a text, found {type(prompt).__name__}")
    return Label(user=user or None, prompt=prompt)
