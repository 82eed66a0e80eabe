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

from persona_rm.errors import HostError, PersonaRMError, ScoreError
from persona_rm.hosts.openrlhf.curves import extra_logs
from persona_rm.hosts.openrlhf.queries import bare_prompt, in_form_of, policy_text
from persona_rm.maths import sigmoid
from persona_rm.prompts import ChatTemplate
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
        self.chat = None

    async def execute(self, prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=None):
        """One sample. The output keeps the data set's own prompt, by which the host finds a sample's data source."""
        generate = partial(
            super().execute, label=label, sampling_params=sampling_params, max_length=max_length,
            hf_tokenizer=hf_tokenizer, llm_engine=llm_engine, images=images,
        )  # fmt: skip
        try:
            output = await self._sample(prompt, label, generate, hf_tokenizer)
        except PersonaRMError as error:
            # The host logs the error that it gets, so no user id may stand in it either.
            reason = self.client.failures.log_ids.hide(str(error))
            note_stop(reason)
            if reason == str(error):
                raise
            raise HostError(reason) from None
        output["prompt"] = prompt
        return output

    async def _sample(self, prompt, label, generate, tokenizer):
        """`generate(prompt)` is the host's own output: generated, without a reward.

        A prompt that the host has put into the chat template is unwrapped first, so that it is never wrapped twice.
        """
        if self.chat is None or self.chat.tokenizer is not tokenizer:
            self.chat = ChatTemplate(lambda: tokenizer)
        chat, bare = self.chat, bare_prompt(prompt, self.chat)
        unanswered, output = self.labels.request(label, bare, ""), None
        unanswered = replace(unanswered, prompt=in_form_of(unanswered.prompt, bare))
        try:
            profile = await self._profile(unanswered)
            whole = policy_text(profile.prompt, unanswered.prompt, chat)
            output = await generate(whole)
            (start, end) = output["action_ranges"][0]
            text = chat.response(output["observation_tokens"][start:end])
            request = replace(unanswered, response=text, finished=not output["truncated"])
            result = await self._call(self.client.reward, request)
        except SkipGroup as error:  # a NaN score makes the host's dynamic filtering drop the whole group
            self.client.failures.leave_out(error, unanswered.user)
            # Without a profile there is no personal prompt, and the group is dropped anyway.
            text = prompt if isinstance(prompt, str) else policy_text(bare, bare, chat)
            return (output or await generate(text)) | {"reward": None, "scores": math.nan, "extra_logs": {}}
        tokens = len(tokenizer(text=whole, add_special_tokens=False)["input_ids"])
        logs = {**extra_logs(result), **self.client.failures.logs(), "persona_rm/prompt_cut": float(start < tokens)}
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
