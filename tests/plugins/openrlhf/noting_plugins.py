"""Our plugins in a real job, with a note of what the policy read and what it answered.

The files load the plugin by path, as the host does, and write one JSON line per sample beside themselves.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.bundle import load_bundle
from persona_rm.hosts.common import where
from persona_rm.pipeline.stages.dpo_rows import dpo_rows
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.types import Example, Persona, RewardRequest

NOTES = "notes.jsonl"
_LOAD = """
import importlib.util, json, pathlib

SPEC = importlib.util.spec_from_file_location("ours", {path!r})
OURS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(OURS)


def note(**row):
    with (pathlib.Path(__file__).parent / {notes!r}).open("a") as file:
        file.write(json.dumps(row) + "\\n")

"""
_AGENT = """
class AgentExecutor(OURS.AgentExecutor):
    async def execute(self, prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=None):
        output = await super().execute(
            prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=images
        )
        (start, end), ids = output["action_ranges"][0], output["observation_tokens"]
        note(
            ids=list(ids[:start]), answer=list(ids[start:end]), label=label, reward=output["reward"],
            finished=not output["truncated"],
        )
        return output
"""
_REWARD = """
def reward_func(queries, prompts, labels, **keys):
    answer = OURS.reward_func(queries, prompts, labels, **keys)
    note(query=queries[0], prompt=prompts[0], label=labels[0], reward=answer["rewards"])
    return answer
"""


def noting_plugin(folder: Path, part: str) -> str:
    """The path of a file that the host loads in place of this plugin."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _LOAD.format(path=str(where("openrlhf", part)), notes=NOTES)
    path = folder / f"noting_{part}.py"
    path.write_text(text + {"agent": _AGENT, "reward": _REWARD}[part])
    return str(path)


def notes_of(folder: Path) -> list[dict[str, Any]]:
    """The noted samples."""
    return [json.loads(line) for line in (folder / NOTES).read_text().splitlines()]


def side_by_side(tokenizer: Any, **rows: list[int]) -> str:
    """The tokens of several texts, one line for each position."""
    longest = max(map(len, rows.values()))
    lines = ["  ".join(f"{name:<24}" for name in rows)]
    for i in range(longest):
        tokens = [tokenizer.convert_ids_to_tokens(ids[i]) if i < len(ids) else "-" for ids in rows.values()]
        lines.append("  ".join(f"{token:<24}" for token in tokens))
    return "\n".join(lines)


def check_one_prompt(bundle: Path, ids: list[int], user: str | None, post: str, answer: RewardRequest, reward) -> None:
    """The policy and the reward read the same tokens, with one BOS; the reward is of this prompt. A row of DPO, which
    draws among the directions that the users file gives, is compared where it gives some."""
    loaded = load_bundle(bundle)
    tokenizer, persona = loaded.chat.tokenizer, loaded.users[user].persona if user in loaded.users else Persona("")
    text = loaded.render(user, post)
    rows = {"policy": ids, "reward": tokenizer(text, add_special_tokens=False)["input_ids"]}
    if persona.directions:
        example = Example("e", post, "a", "b", persona.directions, persona, group="g")
        recipe = Recipe(name="a", model=loaded.file.policy, chat="template")
        prompts = [row["prompt"] for row in dpo_rows(recipe, DpoConfig(method=loaded.file.method, rows=32), [example])]
        assert text in prompts
        row = prompts[prompts.index(text)]
        rows["DPO row"] = tokenizer(row, add_special_tokens=False)["input_ids"]
    print(side_by_side(tokenizer, **rows))  # noqa: T201 - the evidence of this run, shown by -s
    assert all(one == ids for one in rows.values())
    assert ids.count(tokenizer.bos_token_id) == 1
    assert loaded.score([answer])[0].reward == pytest.approx(reward, abs=2e-3)
