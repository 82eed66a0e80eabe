"""Reward post-processing: the steps from a method's reward to the reward that the host trains on.

The order is fixed. Every step that is on appears in the trace of a sample, and logs by how much it changed the reward;
`raw` and these numbers add up to the reward that is given:

    shrinkage    shrink if the method knows little about the user: on the method's own scale, as its std is
    standardise  to a mean of 0 and a spread of 1, per user, group or overall
    mix          with a universal reward model
    clip         to [low, high]: outliers of either part
    length       minus a penalty; after clipping, or a saturated reward would make length free
    cut          minus a penalty for a response that was cut at a length limit
    floor        last, so that nothing can lift an unsafe response: AlignX's post-processing (paper, Ethics)

Running statistics belong to one actor. An actor that ends in order saves them and its successor continues; one that is
killed loses at most a minute. Actors do not share them: a user is served by one actor, so that user's statistics are
whole, and those of groups and of all users cover the users of that actor. Equal samples get equal rewards.

A normalisation over the samples of a prompt (`bundle.group_scores`) comes before all of them, or it would lift a group
in which every response is unsafe.
"""

from persona_rm.bundle.postprocess_config import Floor, GroupConfig, Length, Mix, PostprocessConfig, Shrinkage
from persona_rm.serving.postprocess.steps import Postprocessor

__all__ = ["Floor", "GroupConfig", "Length", "Mix", "PostprocessConfig", "Postprocessor", "Shrinkage"]
