"""A reward bundle: one folder with all that a training job needs to give each user their own reward.

    bundle.yaml    space, method (name and config), models, prompts, inferrer, annotator, profiles: see `BundleFile`
    users.jsonl    one user per line: user_id, ugc, pairs, demo, directions (or null), group
    method/        what a method learned (`Method.save`), if it learns
    inferrer/      what the inferrer learned (`Inferrer.save`), if it learns

Paths inside bundle.yaml are absolute or relative to the folder. A reward actor loads the bundle for states and
rewards; the inference actor loads it for what users prefer.
"""

from persona_rm.bundle.bundle import UNKNOWN, Bundle
from persona_rm.bundle.bundle_file import BundleFile
from persona_rm.bundle.load import load_bundle, read_file, write_bundle
from persona_rm.bundle.postprocess_config import GroupConfig, PostprocessConfig
from persona_rm.bundle.postprocess_inputs import PostprocessInputs
from persona_rm.bundle.user_states import UserStates
from persona_rm.users.users_file import NO_GROUP, User, read_users

__all__ = [
    "NO_GROUP",
    "UNKNOWN",
    "Bundle",
    "BundleFile",
    "GroupConfig",
    "PostprocessConfig",
    "PostprocessInputs",
    "User",
    "UserStates",
    "load_bundle",
    "read_file",
    "read_users",
    "write_bundle",
]  # fmt: skip
