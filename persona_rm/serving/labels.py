"""The user of a sample. A host passes one JSON value per row, `label`, through to the reward. It may be:

    "u17"                              a user id; a whole number (17) means the id "17"
    {"user": "u17"}                    the same; other keys may stand beside it (a team's answer key, say)
    {"user_id": "u17"}                 the same
    {"user": "u17", "prompt": "..."}   with the bare prompt (text or messages), if the dataset's carries the persona
    '{"user": "u17"}'                  any of these as JSON text

A sample names no user if its label is absent, null, empty or what programs write for a missing value ("nan"), or an
object whose user is so. A label that is none of these (a list, a fraction, broken JSON, half of a surrogate pair, an
object with other keys but no user) is bad. By default (PERSONA_RM_LABELS=prior) the population prior answers for a
missing or unknown user, and for a bad label. Each case is counted: `persona_rm/cold` and `persona_rm/bad_label`. With
PERSONA_RM_LABELS=strict all of them are errors. Where nearly all of the last labels name no user of the bundle,
`LabelMonitor` reports it once.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persona_rm.errors import DataError, HostError
from persona_rm.io.text import is_sound
from persona_rm.io.user_ids import read_user_id
from persona_rm.prompts import read_prompt
from persona_rm.serving.label_monitor import LabelMonitor
from persona_rm.types import Prompt, RewardRequest, text_of

logger = logging.getLogger(__name__)
VARIABLE = "PERSONA_RM_LABELS"
USER_KEYS = ("user", "user_id")
"""The keys under which a label that is an object names its user."""
LONGEST = 1 << 20
"""Characters of the longest label. It holds a user id and perhaps the bare prompt."""
POLICIES: Mapping[str, str] = {
    "prior": "a sample without a known user gets the population prior and is counted",
    "strict": "a sample without a known user stops the job, or is rejected over HTTP",
}
"""The values of PERSONA_RM_LABELS, and what each does."""


@dataclass(frozen=True, slots=True)
class Label:
    """A parsed label. `bad` says what is wrong with the label without quoting it, and is None for a good one."""

    user: str | None = None
    prompt: Prompt | None = None
    bad: str | None = None


def read_label(value: Any) -> Label:
    """Parse a label. It never raises: `LabelPolicy` decides what to do about `bad`."""
    if isinstance(value, str) and len(value) > LONGEST:
        return Label(bad=f"a label has at most {LONGEST:,} characters, found {len(value):,}")
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            value = json.loads(value)
        # RecursionError: the text nests thousands of brackets.
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            return Label(bad=f"broken JSON of {len(value)} characters ({problem})")
    if isinstance(value, dict):
        return _of_object(value)
    try:
        user = read_user_id(value)
    except DataError as error:
        return Label(bad=f"a label is a user id or an object with a user, and {error.problem}")
    return Label(user=user) if is_sound(user or "") else Label(bad=f"the user id of a label {HALF}")


HALF = "holds half of a surrogate pair, which is no character"


def _of_object(value: Mapping[str, Any]) -> Label:
    """The label that is an object."""
    given = [value[key] for key in USER_KEYS if key in value]
    if value and not given:
        keys = " or ".join(map(repr, USER_KEYS))
        return Label(bad=f"a label that is an object names its user under {keys}, and this one has neither key")
    prompt = value.get("prompt")
    try:
        ids = [user for user in map(read_user_id, given) if user is not None]
    except DataError as error:
        return Label(bad=f"the user of a label: {error.problem}")
    if len(set(ids)) > 1:
        return Label(bad=f"{' and '.join(map(repr, USER_KEYS))} of a label name two users")
    try:
        prompt = None if prompt is None else read_prompt(prompt)
    except DataError as error:
        return Label(bad=f"the prompt of a label: {error.problem}")
    user_id = ids[0] if ids else None
    for what, text in (("user id", user_id), ("prompt", None if prompt is None else text_of(prompt))):
        if text is not None and not is_sound(text):
            return Label(bad=f"the {what} of a label {HALF}")
    return Label(user=user_id, prompt=prompt)


class LabelError(DataError):
    """The label of a sample is rejected. `reason` says why without the label, for callers that may not see it."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(f"{VARIABLE}=strict, and {reason}: {value}")
        self.reason = f"{VARIABLE}=strict, and {reason}"


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """What happens to a sample whose label names no user that the bundle knows. All hosts use this policy."""

    strict: bool = False
    monitor: LabelMonitor = field(default_factory=LabelMonitor, compare=False)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, known: Callable[[], Sequence[str]] = tuple
    ) -> "LabelPolicy":
        """PERSONA_RM_LABELS, "prior" without it. `known` gives a few user ids of the bundle, for messages.

        Raises `HostError` for any other value: "Strict" must not mean `prior`.
        """
        value = (os.environ if environ is None else environ).get(VARIABLE, "prior")
        if value not in POLICIES:
            raise HostError(f"{VARIABLE} is {value!r}; it is one of {list(POLICIES)}, in lower case")
        return cls(value == "strict", LabelMonitor(known))

    def __str__(self) -> str:
        """The policy in words, for the first line of a log."""
        name = "strict" if self.strict else "prior"
        return f"{VARIABLE}={name}: {POLICIES[name]}"

    def request(self, value: Any, prompt: Prompt, response: str, *, finished: bool = True) -> RewardRequest:
        """The request of a sample with the label `value`; the label's bare prompt replaces `prompt`.

        A bad label is logged. Raises `LabelError` if the policy is strict and the label names no user.
        """
        label = read_label(value)
        if label.bad:
            logger.warning("persona_rm: label: %s", label.bad)
            self.monitor.bad_label(label.bad)
        if self.strict and label.user is None:
            raise LabelError("this sample has no user", label.bad or repr(value))
        return RewardRequest(
            label.user, label.prompt or prompt, response, finished=finished, bad_label=bool(label.bad)
        )

    def check_known(self, user: str | None, known: bool, status: str) -> None:
        """Count the sample. Raises `LabelError` if the policy is strict and the bundle does not know the user."""
        self.monitor.sample(user, known)
        if self.strict and not known:
            raise LabelError("the bundle does not know this user", f"{user!r} ({status})")
