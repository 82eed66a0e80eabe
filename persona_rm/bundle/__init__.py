"""A reward bundle: one folder with all that a training job needs to give each person their own reward.

    bundle.yaml    space, method (name and config), models, prompts, inferrer, annotator, profiles: see `BundleFile`
    users.jsonl    one person per line: user_id, ugc, pairs, demo, directions (or null), group
    method/        what a method learned (`Method.save`), where it learns
    inferrer/      what the inferrer learned (`Inferrer.save`), where it learns

Paths inside bundle.yaml are absolute or relative to the folder. A reward actor loads it and asks for states and
scores; the inference actor, for what people prefer.
"""

from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.bundle_file import BundleFile
from persona_rm.bundle.load import load_bundle, read_file, write_bundle
from persona_rm.bundle.postprocess_config import GroupConfig, PostprocessConfig
from persona_rm.bundle.scorers import Compared, ScoredResponse, Scorers
from persona_rm.bundle.user_states import Known, UserStates
from persona_rm.users.users_file import NO_GROUP, User, read_users

__all__ = [
    "NO_GROUP",
    "Bundle",
    "BundleFile",
    "Compared",
    "GroupConfig",
    "Known",
    "PostprocessConfig",
    "ScoredResponse",
    "Scorers",
    "User",
    "UserStates",
    "load_bundle",
    "read_file",
    "read_users",
    "write_bundle",
]  # fmt: skip
