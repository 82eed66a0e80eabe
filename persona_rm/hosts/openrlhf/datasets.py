"""What OpenRLHF 0.11.2 reads: its prompt data, its comparison data, and the flags that name their columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.tokens import token_lengths
from persona_rm.errors import DataError, HostError, RecipeError
from persona_rm.hosts.base import DpoRow, LabelledPrompt
from persona_rm.hosts.openrlhf.preferences import CHOSEN, PROMPT, REJECTED
from persona_rm.prompts import prompt_json

DEFAULT_MAX_LEN = 512
"""The default of `data.max_len` in cli/train_dpo.py:319."""
DPO_BATCH = 128
"""The default of `train.batch_size` in cli/train_dpo.py:190."""


def prompt_rows(prompts: Iterable[LabelledPrompt]) -> Iterator[dict[str, Any]]:
    """Rows of the prompt data. `label` is the only column that the host hands to a reward unread
    (utils/agent.py, `execute`), so it carries the user and the bare prompt."""
    for prompt, user, post in prompts:
        yield {"prompt": prompt, "label": {"user": user, "prompt": prompt_json(post)}}


def ppo_args(model: Path, prompts: Path, folder: Path, args: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a PPO job: those that follow from its files, then `args`."""
    return {
        "actor.model_name_or_path": str(model),
        "data.prompt_dataset": str(prompts.resolve()),
        "data.input_key": "prompt",
        "data.label_key": "label",
        "ckpt.output_dir": str((folder / "model").resolve()),
        "ckpt.path": str((folder / "ckpt").resolve()),
        **args,
    }


def dpo_args(model: Path, rows: Path, folder: Path, args: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a DPO job: those that follow from its files, then `args`."""
    return {
        "model.model_name_or_path": str(model),
        "ref.model_name_or_path": str(model),
        **preference_flags(rows),
        "ckpt.output_dir": str((folder / "model").resolve()),
        "ckpt.path": str((folder / "ckpt").resolve()),
        "logger.tensorboard_dir": str((folder / "tensorboard").resolve()),
        **args,
    }


def preference_flags(rows: Path) -> dict[str, Any]:
    """The flags that name a file of preference data and its columns."""
    columns = {f"data.{key}_key": key for key in (PROMPT, CHOSEN, REJECTED)}
    return {"data.dataset": str(rows.resolve()), **columns}


def fitting_rows(rows: Sequence[DpoRow], args: Mapping[str, Any], model: Path) -> tuple[list[DpoRow], list[DpoRow]]:
    """The rows of at most `data.max_len` tokens, and the longer ones.

    The host cuts a longer response, and drops a row whose prompt is too long, without a message
    (datasets/reward_dataset.py:104-120). Raises `DataError` if no row is short enough, and `RecipeError` if the host
    is told to render the rows, which are rendered.
    """
    if args.get("data.apply_chat_template"):
        raise RecipeError(
            "the rows hold whole prompts as text, in the chat template if the recipe says `chat: template`, and "
            "data.apply_chat_template would put them into it once more: leave it out"
        )
    limit = int(args.get("data.max_len") or DEFAULT_MAX_LEN)
    prompts = [row["prompt"] for row in rows]
    responses = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    lengths = token_lengths(model, prompts * 2, responses)
    short: list[DpoRow] = []
    long: list[DpoRow] = []
    for row, of_chosen, of_rejected in zip(rows, lengths[: len(rows)], lengths[len(rows) :], strict=True):
        (short if max(of_chosen, of_rejected) <= limit else long).append(row)
    if not short:
        raise DataError(
            f"each of {len(rows)} rows has more than data.max_len = {limit} tokens: raise it in this section's args, "
            "or lower max_items or build.max_chars"
        )
    return short, long


def check_dpo(rows: int, args: Mapping[str, Any]) -> None:
    """Raises `HostError` if a DPO job takes fewer than two steps. Only whole batches are steps, and the schedule warms
    up from 0 (cli/train_dpo.py:125-136), so the first step changes nothing."""
    batch, epochs = int(args.get("train.batch_size") or DPO_BATCH), int(args.get("train.max_epochs") or 1)
    steps = rows // batch * epochs
    if steps < (1 if args.get("lr_warmup_ratio") == 0 else 2):
        raise HostError(
            f"{rows} rows make {steps} whole steps of train.batch_size = {batch}, and the host's first step has a "
            "learning rate of 0, so nothing would be learned: give more rows, lower train.batch_size to "
            f"{max(1, rows // 2)} or less, or raise train.max_epochs"
        )


def samples_per_step(args: Mapping[str, Any]) -> int:
    """How many answers one rollout batch holds."""
    return int(args["rollout.batch_size"]) * int(args.get("rollout.n_samples_per_prompt", 1))
