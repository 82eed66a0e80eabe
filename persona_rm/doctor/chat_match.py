"""The chat form that the method writes, against the chat template of the policy's tokenizer."""

import json
from pathlib import Path

from persona_rm.bundle.bundle_file import with_format
from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.methods import METHODS
from persona_rm.pipeline.members import with_prompts
from persona_rm.prompts.prompts import Chat, load_prompts
from persona_rm.registry import Member

LOOKED_AT = "chat template"
TEMPLATE_FILE, CONFIG_FILE = "chat_template.jinja", "tokenizer_config.json"


def check_chat(subject: DoctorSubject) -> list[DoctorFinding]:
    """Does each prompt that is written for the policy have the form that the policy was trained on?"""
    policy = subject.policy
    if policy is None:
        return []
    if not (policy / CONFIG_FILE).is_file():
        todo = "Name a folder in Hugging Face format, with its tokenizer"
        return [DoctorFinding("error", LOOKED_AT, f"there is no tokenizer in {policy}", todo)]
    template = template_of(policy)
    return [_match(key, chat, template, policy) for key, chat in chats_of(subject).items()]


def chats_of(subject: DoctorSubject) -> dict[str, Chat]:
    """The chat form of each prompt that the subject writes, by the key that sets it."""
    members: dict[str, tuple[Member, str, Path | None]] = {}
    if subject.bundle is not None:
        bundle = subject.bundle
        settings = with_format(bundle.file, bundle.folder)
        members["method"] = (settings.method, settings.prompts or "released", bundle.folder)
    elif subject.recipe is not None:
        for name, section in subject.recipe.dpo.items():
            members[f"dpo.{name}.method"] = (
                with_prompts(subject.recipe, section.method),
                subject.recipe.prompts,
                None,
            )
    chats = {}
    for key, (member, prompts, folder) in members.items():
        _, config = METHODS.member(member, folder)
        named = config.prompts if "prompts" in member else prompts
        if hasattr(config, "chat"):
            chats[f"{key}.chat"] = load_prompts(named, config.chat).chat
    return chats


def template_of(policy: Path) -> str:
    """The chat template of a tokenizer, "" if it has none. Read from its files, without loading it."""
    if (policy / TEMPLATE_FILE).is_file():
        return (policy / TEMPLATE_FILE).read_text(encoding="utf-8")
    template = json.loads((policy / CONFIG_FILE).read_text(encoding="utf-8")).get("chat_template") or ""
    return template if isinstance(template, str) else json.dumps(template)


def _match(key: str, chat: Chat, template: str, policy: Path) -> DoctorFinding:
    if chat == "template" and not template:
        todo = f"Set {key} to none, or take a model whose tokenizer has a chat template"
        return DoctorFinding("error", LOOKED_AT, f"{key} is template, and the tokenizer of {policy} has none", todo)
    if chat == "none" and template:
        what = f"{key} is none, and the tokenizer of {policy} has a chat template, so its model expects one"
        return DoctorFinding("warning", LOOKED_AT, what, f"Set {key} to template, unless the model is a base model")
    if chat == "llama3" and "<|start_header_id|>" not in template:
        what = f"{key} is llama3, and the tokenizer of {policy} does not write its header tokens"
        return DoctorFinding("warning", LOOKED_AT, what, f"Set {key} to {'template' if template else 'none'}")
    return DoctorFinding("ok", LOOKED_AT, f"{key} is {chat}, and fits the tokenizer of {policy}")
