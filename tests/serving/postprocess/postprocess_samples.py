"""Results of a method, and what post-processing makes of them."""

from persona_rm.types import RewardResult, RewardTrace


def raw(reward, user="u", group="g", std=None, **inputs):
    """The method's reward before post-processing; an input of None is missing."""
    inputs = {name: value for name, value in inputs.items() if value is not None}
    trace = RewardTrace(reward, user=user, user_known=user is not None, group=group or "", std=std, inputs=inputs)
    return RewardResult(reward, trace)


def applied(made, sample):
    """The reward that is given, and its metrics."""
    result = made.apply(sample)
    return result.reward, result.trace.metrics
