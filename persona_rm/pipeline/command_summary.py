"""What a rehearsed command did: rewards by group, labels, logs, and one prompt as each side read it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from persona_rm.bundle import Bundle
from persona_rm.hosts.base import Host, PpoJob
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.text import shorten
from persona_rm.methods.base import PromptedMethod
from persona_rm.pipeline.label_check import LabelReport
from persona_rm.serving.labels import read_label
from persona_rm.types import Prompt, RewardRequest, text_of
from persona_rm.users.own_prompts import USER_COLUMNS, column_of

SHOWN = 600
"""Characters of a prompt on the console; summary.json holds it whole."""


def reward_summary(done: PpoJob, labels: LabelReport) -> dict[str, Any]:
    """Mean reward by group of users, the samples by kind of label, and where the logs are."""
    samples = done.samples()
    groups: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        groups[str(sample["group"])].append(float(sample["reward"]))
    return {
        "samples": len(samples),
        "groups": {name: {"mean": sum(all_) / len(all_), "n": len(all_)} for name, all_ in sorted(groups.items())},
        "known": sum(bool(sample["user_known"]) for sample in samples),
        "cold": sum(not sample["user_known"] for sample in samples),
        "bad_label": sum(bool(sample["bad_label"]) for sample in samples),
        "empty": sum(bool(sample["empty"]) for sample in samples),
        "file_labels": labels.counts,
        "seconds": round(done.seconds),
        "log": str(done.log),
        "reward_logs": [str(path) for path in done.rewards],
        "tensorboard": str(done.tensorboard),
    }


def policy_texts(
    host: Host, args: Mapping[str, Any], bundle: Bundle, row: Mapping[str, Any], label_key: str, tokenizer: Any
) -> tuple[str, str]:
    """The prompt of a row as the host gives it to a plugin, and with the user in it, as agent_func.py makes it."""
    given, asked = _asked(host, args, row, label_key, tokenizer)
    user = read_label(row.get(label_key)).user
    rendered = bundle.render_of(bundle.inferred(user, text_of(asked)), asked)
    return given, host.rendered_text(rendered, asked, tokenizer)


def _asked(
    host: Host, args: Mapping[str, Any], row: Mapping[str, Any], label_key: str, tokenizer: Any
) -> tuple[str, Prompt]:
    """The host's prompt, and the bare one that the reward is asked for."""
    given = host.policy_text(args, row, tokenizer)
    return given, host.asked_prompt(given, read_label(row.get(label_key)).prompt, tokenizer)


def prompt_views(
    host: Host, args: Mapping[str, Any], bundle: Bundle, row: Mapping[str, Any], label_key: str, agent: bool,
    tokenizer: Any,
) -> dict[str, Any]:  # fmt: skip
    """One prompt as the policy and as the reward read it, by the code that the plugins call."""
    given, personal = policy_texts(host, args, bundle, row, label_key, tokenizer)
    text = text_of(_asked(host, args, row, label_key, tokenizer)[1])
    user = read_label(row.get(label_key)).user
    views = {"user": user, "policy": personal if agent else given, "reward": text}
    if isinstance(bundle.method, PromptedMethod):
        views["reward_model"] = text_of(bundle.method.render(bundle.state(user, text), text))
    return views


def seen_in_log(
    host: Host, args: Mapping[str, Any], bundle: Bundle, rows: Sequence[JsonRow], label_key: str, agent: bool,
    tokenizer: Any, log: Path,
) -> dict[str, int]:  # fmt: skip
    """How many samples in the host's own log begin with a prompt as `policy_texts` computes it."""
    expected = []
    for row in rows:
        given, personal = policy_texts(host, args, bundle, row.data, label_key, tokenizer)
        ids = tokenizer(personal if agent else given, add_special_tokens=False)["input_ids"]
        expected.append(tokenizer.decode(ids, skip_special_tokens=True))
    samples = host.logged_samples(log)
    return {"logged": len(samples), "expected": sum(sample.startswith(tuple(expected)) for sample in samples)}


def preference_summary(bundle: Bundle, rows: Sequence[JsonRow], texts: Mapping[str, str]) -> dict[str, Any]:
    """How often the reward of a row's own user agrees with the row of a preference file.

    `texts` names the columns prompt, chosen and rejected. Rows whose texts are messages are left out.
    """
    user_column = column_of(rows, USER_COLUMNS)
    if user_column is None:
        return {"note": f"no column names the user of a row ({', '.join(USER_COLUMNS)}), so no reward was compared"}
    requests, used = [], 0
    for row in rows:
        prompt, *answers = (row.data.get(texts.get(name, "")) for name in ("prompt", "chosen", "rejected"))
        if isinstance(prompt, str) and all(isinstance(answer, str) for answer in answers):
            user = read_label(row.data.get(user_column)).user
            requests += [RewardRequest(user, prompt, str(answer)) for answer in answers]
            used += 1
    rewards = [result.reward for result in bundle.score(requests)]
    margins = [better - worse for better, worse in zip(rewards[::2], rewards[1::2], strict=True)]
    wins, ties = sum(margin > 0 for margin in margins), margins.count(0)
    return {"compared": used, "agree": wins, "ties": ties}


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """The summary as a table and lines."""
    if "groups" in summary:
        table = Table("users", "answers", "mean reward", box=None, pad_edge=False)
        for name, group in summary["groups"].items():
            table.add_row(name, str(group["n"]), f"{group['mean']:.4f}")
        console.print(table)
        console.print(
            f"{summary['samples']} answers: {summary['known']} for known users, {summary['cold']} by the population "
            f"prior ({summary['bad_label']} of them with a bad label), {summary['empty']} empty.",
            highlight=False,
        )
        if len({group["mean"] for group in summary["groups"].values()}) == 1:
            console.print("Every group has the same mean reward: answers of a tiny model show a method little.")
    if "note" in summary:
        console.print(summary["note"], highlight=False)
    if "agree" in summary:
        said = (
            f"The bundle's reward of each row's user prefers `chosen` in {summary['agree']} of {summary['compared']}"
        )
        console.print(f"{said} rows, {summary['ties']} ties.", highlight=False)
    for name in ("user", "policy", "reward", "reward_model"):
        if name in summary.get("prompt", {}):
            text = shorten(str(summary["prompt"][name]), SHOWN)
            console.print(f"{VIEWS[name]}:", style="bold", highlight=False)
            console.print(text, highlight=False, markup=False)
    if "host_log" in summary:
        seen = summary["host_log"]
        said = f"{seen['expected']} of {seen['logged']} prompts in the host's own log are what this text says"
        console.print(said, style="green" if seen["expected"] == seen["logged"] else "yellow", highlight=False)
    for name in ("log", "tensorboard", "model"):
        if name in summary:
            console.print(f"{name}: {summary[name]}", highlight=False, soft_wrap=True)
    for path in summary.get("reward_logs", ()):
        console.print(f"reward log: {path}", highlight=False, soft_wrap=True)


VIEWS = {
    "user": "One prompt, of the user",
    "policy": "as the policy read it",
    "reward": "as the reward read it",
    "reward_model": "as the model behind the reward read it",
}
"""The titles of the prompt's views."""


def write_summary(summary: Mapping[str, Any], folder: Path) -> Path:
    """Write summary.json."""
    path = folder / "summary.json"
    path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
