"""The user of a sample. A host passes one JSON value per row, `label`, through to the reward. It may be:

    "u17"                              a user id
    {"user": "u17"}                    the same; other keys may stand beside it (a team's answer key, say)
    {"user": "u17", "prompt": "..."}   with the bare prompt (text or messages), if the dataset's carries the persona
    '{"user": "u17"}'                  either of these as JSON text

A sample names no user if its label is absent, null, "", an empty object, or has the user null or "". A label that is
none of these (a list, a number, broken JSON, a user that is no text, an object with other keys but no key `user`) is
bad. By default (PERSONA_RM_LABELS=prior) the population prior answers for a missing or unknown user, and for a bad
label. Each case is counted: `persona_rm/cold` and `persona_rm/bad_label`. With PERSONA_RM_LABELS=strict all of them
are errors.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persona_rm.errors import DataError, HostError
from persona_rm.prompts import read_prompt
from persona_rm.types import Prompt, RewardRequest

logger = logging.getLogger(__name__)
VARIABLE = "PERSONA_RM_LABELS"


@dataclass(frozen=True, slots=True)
class Label:
    """A parsed label. `bad` says what is wrong with the label without quoting it, and is None for a good one."""

    user: str | None = None
    prompt: Prompt | None = None
    bad: str | None = None


def read_label(value: Any) -> Label:
    """Parse a label. It never raises: `LabelPolicy` decides what to do about `bad`."""
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
    if value and "user" not in value:
        return Label(bad="a label that is an object names its user under the key 'user', and this one lacks that key")
    user, prompt = value.get("user"), value.get("prompt")
    if user is not None and not isinstance(user, str):
        return Label(bad=f"the user of a label is a text, found {type(user).__name__}")
    try:
        prompt = None if prompt is None else read_prompt(prompt)
    except DataError as error:
        return Label(bad=f"the prompt of a label: {error.problem}")
    return Label(user=user or None, prompt=prompt)


class LabelError(DataError):
    """The label of a sample is rejected. `reason` says why without the label, for callers that may not see it."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(f"{VARIABLE}=strict, and {reason}: {value}")
        self.reason = f"{VARIABLE}=strict, and {reason}"


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """What happens to a sample whose label names no user that the bundle knows. All hosts use this policy."""

    strict: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "LabelPolicy":
        """PERSONA_RM_LABELS, "prior" without it. Raises `HostError` for another value."""
        value = (os.environ if environ is None else environ).get(VARIABLE, "prior")
        if value not in ("prior", "strict"):
            raise HostError(f"{VARIABLE} is {value!r}; it is one of ['prior', 'strict']")
        return cls(value == "strict")

    def request(self, value: Any, prompt: Prompt, response: str, *, finished: bool = True) -> RewardRequest:
        """The request of a sample with the label `value`; the label's bare prompt replaces `prompt`.

        A bad label is logged. Raises `LabelError` if the policy is strict and the label names no user.
        """
        label = read_label(value)
        if label.bad:
            logger.warning("persona_rm: label: %s", label.bad)
        if self.strict and label.user is None:
            raise LabelError("this sample has no user", label.bad or repr(value))
        return RewardRequest(
            label.user, label.prompt or prompt, response, finished=finished, bad_label=bool(label.bad)
        )

    def check_known(self, user: str | None, known: bool, status: str) -> None:
        """Raises `LabelError` if the policy is strict and the bundle does not know the user."""
        if self.strict and not known:
            raise LabelError("the bundle does not know this user", f"{user!r} ({status})")
