"""A reward bundle: one folder with all that a training job needs to give each person their own reward.

    bundle.yaml    space, method (name and config), models, prompts, inferrer, annotator, profiles: see `BundleFile`
    users.jsonl    one person per line: user_id, ugc, pairs, demo, directions (or null), group
    method/        what a method learned (`Method.save`), where it learns
    inferrer/      what the inferrer learned (`Inferrer.save`), where it learns

Paths inside bundle.yaml are absolute or relative to the folder. A reward actor loads it and asks for states and
scores; the inference actor, for what people prefer.
"""

from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.file import BundleFile
from persona_rm.bundle.hygiene import GroupConfig, HygieneConfig
from persona_rm.bundle.load import load_bundle, read_file, write_bundle
from persona_rm.bundle.people import Known, People
from persona_rm.bundle.scored import Compared, Scored, Scorers
from persona_rm.bundle.users import NO_GROUP, User, read_users

__all__ = [
    "NO_GROUP", "Bundle", "BundleFile", "Compared", "GroupConfig", "HygieneConfig", "Known", "People", "Scored",
    "Scorers", "User", "load_bundle", "read_file", "read_users", "write_bundle",
]  # fmt: skip
