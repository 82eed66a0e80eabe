"""The start-up check: can this bundle score its own users, an unknown one, and an empty response?

`serve` and the reward actors run it before they report that rewards are available, and so does what writes a bundle.
A bundle that scores only the population prior would pass a check of one sentence, and fail at the first known user.
"""

from collections.abc import Sequence
from itertools import islice

from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.postprocess_inputs import PostprocessInputs
from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.types import RewardRequest, RewardResult

PROMPT, SENTENCE = "How are you? ", "I am well."
USERS = 3
"""Users of the users file that are scored: the first, the middle and the last ones."""


def startup_check(bundle: Bundle, users: Sequence[str] | None = None) -> list[RewardResult]:
    """The rewards of a sentence and of an empty response, for an unknown user and for `users` (None: a few known
    ones), with the inputs of post-processing. It loads the models of the bundle.

    Raises `ScoreError` that names the user and the response that cannot be scored, and why.
    """
    inputs = PostprocessInputs(bundle)
    inputs.check()
    results = []
    for user in [None, *(some_users(bundle) if users is None else users)]:
        requests = [RewardRequest(user, PROMPT, response) for response in (SENTENCE, "")]
        if bundle.file.groups is not None and bundle.file.groups.listwise:
            # A comparison needs two responses, so both are one case.
            results += _scored(bundle, inputs, requests, "two responses, one of them empty")
        else:
            results += _scored(bundle, inputs, requests[:1], "a response")
            results += _scored(bundle, inputs, requests[1:], "an empty response")
    return results


def some_users(bundle: Bundle) -> list[str]:
    """A few users that the bundle knows: of its users file, and the first one of its profile store."""
    ids, last = list(bundle.users), len(bundle.users) - 1
    chosen = [ids[last * i // (USERS - 1)] for i in range(USERS)] if ids else []
    stored = islice(bundle.store.ids(), 1) if bundle.store is not None else ()
    return list(dict.fromkeys([*chosen, *stored]))


def _scored(
    bundle: Bundle, inputs: PostprocessInputs, requests: Sequence[RewardRequest], what: str
) -> list[RewardResult]:
    listwise = bundle.file.groups is not None and bundle.file.groups.listwise
    try:
        return inputs.add(requests, bundle.compare(requests) if listwise else bundle.score(requests))
    except (DataError, RecipeError, ScoreError) as error:
        user = requests[0].user
        who = "an unknown user" if user is None else f"user {user!r}"
        kind = error.kind if isinstance(error, ScoreError) else "failed"
        problem = error.problem if isinstance(error, ScoreError) else str(error)
        raise ScoreError(f"the bundle cannot score {what} for {who}: {problem}", kind=kind) from error
