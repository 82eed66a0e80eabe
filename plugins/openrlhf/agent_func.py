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
from functools import partial

from openrlhf.utils.agent import SingleTurnAgentExecutor

from persona_rm.errors import DataError, PersonaRMError, ScoreError
from persona_rm.maths import sigmoid
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failures import SkipGroup, note_stop
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
        answer = partial(
            super().execute, label=label, sampling_params=sampling_params, max_length=max_length,
            hf_tokenizer=hf_tokenizer, llm_engine=llm_engine, images=images,
        )  # fmt: skip
        try:
            output = await self._sample(prompt, label, answer, hf_tokenizer)
        except PersonaRMError as error:
            note_stop(str(error))
            raise
        output["prompt"] = prompt
        return output

    async def _sample(self, prompt, label, answer, tokenizer):
        """`answer(prompt)` is the host's own output: generated, without a reward."""
        who, output = read_label(label), None
        bare = who.prompt or prompt
        try:
            profile = await self._profile(who.user, bare, label)
            output = await answer(profile.prompt)
            (start, end) = output["action_ranges"][0]
            text = tokenizer.decode(output["observation_tokens"][start:end], skip_special_tokens=True)
            reply = await self._call(self.client.reward, who.user, bare, text, bad_label=bool(who.bad))
        except SkipGroup as error:  # a NaN score makes the host's dynamic filtering drop the whole group
            self.client.failures.leave_out(error, who.user)
            return (output or await answer(prompt)) | {"reward": None, "scores": math.nan, "extra_logs": {}}
        whole = len(tokenizer(text=profile.prompt, add_special_tokens=False)["input_ids"])
        logs = {**reply.logs, **self.client.failures.logs(), "persona_rm/prompt_cut": float(start < whole)}
        return output | {"reward": reply.reward, "scores": sigmoid(reply.reward), "extra_logs": logs}

    async def _profile(self, user, bare, label):
        """Who this is, for the policy. Without it there is no prompt, and so no reward: the same policy holds."""
        try:
            profile = await self._call(self.client.profile, user, bare)
        except ScoreError as error:
            if (reason := self.client.failures.failed(error, (user, bare))) is error:
                raise
            raise reason from error
        if self.strict and not profile.user_known:
            found = f"the bundle has no user for the label {label!r} ({profile.status})"
            raise DataError(f"PERSONA_RM_LABELS=strict, and {found}")
        return profile

    async def _call(self, function, *args, **kwargs):
        """A waiting call leaves the event loop, and so the engine, free."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, lambda: function(*args, **kwargs))
