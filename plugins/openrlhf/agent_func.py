"""Personal prompts and personal rewards for an unmodified OpenRLHF 0.11.2: `--train.agent_func_path FILE`.

For each sample: ask what this user prefers, put it into the policy's prompt, let the host generate, take the response
by its token ids, and ask for the user's reward. The executor is built without arguments in every rollout actor. Here
an exception is not swallowed: it reaches the trainer and ends the job, so no sample is trained on without a reward.
"""

import asyncio
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from openrlhf.utils.agent import SingleTurnAgentExecutor

from persona_rm.errors import PersonaRMError, ScoreError
from persona_rm.hosts.openrlhf.curves import extra_logs
from persona_rm.maths import sigmoid
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failures import SkipGroup, note_stop
from persona_rm.serving.label_monitor import LabelMonitor
from persona_rm.serving.labels import LabelPolicy

LABELS = LabelPolicy.from_env()
"""Read at import, so that a policy that does not exist is refused before a rollout."""
THREADS = 128
"""Samples that can wait for the actors at once. asyncio's own pool has cpu + 4 threads, too few to fill a batch."""


class AgentExecutor(SingleTurnAgentExecutor):
    """The host's single-turn executor with the user in front of it and the reward behind it."""

    def __init__(self):
        super().__init__()
        self.client = RewardClient.from_env()
        self.labels = replace(LABELS, monitor=LabelMonitor(self.client.some_users))
        sys.stderr.write(f"persona_rm: {LABELS}\n")
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="persona_rm")

    async def execute(self, prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=None):
        """One sample. The output keeps the data set's own prompt, by which the host finds a sample's data source."""
        generate = partial(
            super().execute, label=label, sampling_params=sampling_params, max_length=max_length,
            hf_tokenizer=hf_tokenizer, llm_engine=llm_engine, images=images,
        )  # fmt: skip
        try:
            output = await self._sample(prompt, label, generate, hf_tokenizer)
        except PersonaRMError as error:
            note_stop(str(error))
            raise
        output["prompt"] = prompt
        return output

    async def _sample(self, prompt, label, generate, tokenizer):
        """`generate(prompt)` is the host's own output: generated, without a reward."""
        unanswered, output = self.labels.request(label, prompt, ""), None
        try:
            profile = await self._profile(unanswered)
            output = await generate(profile.prompt)
            (start, end) = output["action_ranges"][0]
            text = tokenizer.decode(output["observation_tokens"][start:end], skip_special_tokens=True)
            request = replace(unanswered, response=text, finished=not output["truncated"])
            result = await self._call(self.client.reward, request)
        except SkipGroup as error:  # a NaN score makes the host's dynamic filtering drop the whole group
            self.client.failures.leave_out(error, unanswered.user)
            return (output or await generate(prompt)) | {"reward": None, "scores": math.nan, "extra_logs": {}}
        whole = len(tokenizer(text=profile.prompt, add_special_tokens=False)["input_ids"])
        logs = {**extra_logs(result), **self.client.failures.logs(), "persona_rm/prompt_cut": float(start < whole)}
        return output | {"reward": result.reward, "scores": sigmoid(result.reward), "extra_logs": logs}

    async def _profile(self, request):
        """The profile of the user that the policy reads. Without it there is no prompt and no reward, so the
        same policy on failures applies."""
        try:
            profile = await self._call(self.client.profile, request.user, request.prompt)
        except ScoreError as error:
            if (reason := self.client.failures.failed(error, (request.user, request.prompt))) is error:
                raise
            raise reason from error
        self.labels.check_known(request.user, profile.user_known, profile.status)
        return profile

    async def _call(self, function, *args):
        """A waiting call leaves the event loop, and so the engine, free."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *args)
