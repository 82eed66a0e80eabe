"""A reward bundle: one folder with everything that a training job needs to give each user their own reward.

    bundle.yaml    space, method (name and config), models, prompts, inferrer, annotator, profiles: see `BundleFile`
    users.jsonl    one user per line: user_id, ugc, pairs, demo, directions (or null), group
    method/        the fitted parameters of the method (`Method.save`), if it is fitted
    inferrer/      the fitted parameters of the inferrer (`Inferrer.save`), if it is fitted

Paths inside bundle.yaml are absolute or relative to the folder. A reward actor loads the bundle for states and
rewards; the inference actor loads it to infer what users prefer.
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
