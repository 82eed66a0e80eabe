"""How OpenRLHF 0.11.2 leaves out a sample that got no reward: its dynamic filtering.

The host has one way to leave something out without an invented number. It drops a prompt with all its samples unless
their mean score lies strictly between the two bounds of `algo.dynamic_filtering_range`, and generates for another
prompt instead (trainer/ppo_utils/samples_generator.py:169-177). NaN lies between no bounds. So a plugin that meets
`SkipGroup` returns `reward=None, scores=nan` for that sample, and the host drops the group before anything is
computed or logged from it. When the prompts are exhausted the last rollout is smaller, or there is none.

Without dynamic filtering, and in the host's evaluation, nothing is dropped and None breaks the job: `check_policy`
refuses such a job before it starts.
"""

import math
from collections.abc import Mapping
from typing import Any

from persona_rm.errors import HostError
from persona_rm.serving.failures import OnFailure


def check_policy(on_failure: OnFailure, args: Mapping[str, Any]) -> None:
    """Raises `HostError` if the host could not leave out a group under these flags."""
    if on_failure == "skip_group" and (problem := cannot_skip(args)):
        raise HostError(f"on_failure is skip_group, and {problem}, or on_failure to stop")


def cannot_skip(args: Mapping[str, Any]) -> str | None:
    """Why the host could not leave out a group under these flags, and what to set; None if it can.

    Scores are a sigmoid, so they lie between 0 and 1, and bounds that do not overlap with this range keep nothing.
    That filtering needs two samples per prompt is checked by the host itself (cli/train_ppo_ray.py:754).
    """
    if not args.get("algo.dynamic_filtering_enable"):
        return "algo.dynamic_filtering_enable is off: only this makes OpenRLHF drop a group. Set it to true"
    if args.get("eval.dataset"):
        return "eval.dataset is set: the host's evaluation drops nothing. Remove it"
    # The host's default, cli/train_ppo_ray.py:604.
    low, high = _bounds(args.get("algo.dynamic_filtering_range", (0, 1)))
    if not (low < high and low < 1 and high > 0):
        given = f"algo.dynamic_filtering_range is {args['algo.dynamic_filtering_range']!r}"
        return f"{given}: scores lie between 0 and 1. Set it to two numbers around the scores to keep, such as [0, 1]"
    return None


def _bounds(given: Any) -> tuple[float, float]:
    """Two numbers; NaN, which no comparison accepts, for anything else."""
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        return math.nan, math.nan
    return low, high
