"""Personal prompts and personal rewards for an unmodified OpenRLHF 0.11.2: `--train.agent_func_path FILE`.

For each sample: ask the preference actor what this person prefers, put it into the policy's prompt, let the host
generate, take the answer by its token ids, and ask for the person's reward. Built without arguments in every rollout
actor. Here an exception is not swallowed: it reaches the trainer and ends the job, so a missing reward cannot be
trained on.
"""

import asyncio
import math
import os
from concurrent.futures import ThreadPoolExecutor

from openrlhf.utils.agent import SingleTurnAgentExecutor

from persona_rm.errors import DataError
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failures import SkipGroup
from persona_rm.serving.labels import read_label

THREADS = 128
"""Samples that can wait for the actors at once; asyncio's own pool has cpu + 4 threads, too few to fill a batch."""


class AgentExecutor(SingleTurnAgentExecutor):
    """The host's single-turn executor with the person before it and the reward behind it."""

    def __init__(self):
        super().__init__()
        self.client = RewardClient.from_env()
        self.strict = os.environ.get("PERSONA_RM_LABELS", "prior") == "strict"
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="persona_rm")

    async def execute(self, prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=None):
        """One sample. The output keeps the data set's own prompt, by which the host finds a sample's data source."""
        who = read_label(label)
        bare = who.prompt or prompt
        profile = await self._call(self.client.profile, who.user, bare)
        if self.strict and not profile.user_known:
            found = f"the bundle has no user for the label {label!r} ({profile.status})"
            raise DataError(f"PERSONA_RM_LABELS=strict, and {found}")
        output = await super().execute(
            profile.prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
        )
        (start, end) = output["action_ranges"][0]
        answer = hf_tokenizer.decode(output["observation_tokens"][start:end], skip_special_tokens=True)
        try:
            reply = await self._call(self.client.reward, who.user, bare, answer, bad_label=bool(who.bad))
        except SkipGroup:  # a NaN score makes the host's dynamic filtering drop the whole group
            output.update(prompt=prompt, reward=None, scores=math.nan, extra_logs={})
            return output
        whole = len(hf_tokenizer(text=profile.prompt, add_special_tokens=False)["input_ids"])
        logs = {**reply.logs, "persona_rm/prompt_cut": float(start < whole)}
        output.update(prompt=prompt, reward=reply.reward, scores=_sigmoid(reply.reward), extra_logs=logs)
        return output

    async def _call(self, function, *args, **kwargs):
        """A waiting call leaves the event loop, and so the engine, free."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, lambda: function(*args, **kwargs))


def _sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
