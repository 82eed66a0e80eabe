"""Each user's own reward for an unmodified OpenRLHF 0.11.2: `--reward.remote_url "$(persona-rm where openrlhf)"`.

The host loads this file by path in every rollout actor (no package around it, not in sys.modules) and calls
`reward_func` from several threads with lists of length one. `label` carries the user: see
persona_rm/serving/labels.py.

Fail closed. The host catches every exception of a reward, logs it as information and trains on without that reward;
and a SystemExit, which does get through, kills only the actor's event loop: the job then hangs for ever. So a set-up
that cannot work is refused here at import, where nothing is caught. If no reward is available after all retries this
process ends: Ray reports the dead actor to the trainer, and the job exits with an error at once.
"""

import logging
import math
import os
import sys

from persona_rm.errors import PersonaRMError
from persona_rm.hosts.openrlhf.curves import extra_logs
from persona_rm.hosts.openrlhf.queries import policy_chat, strip_prompt
from persona_rm.maths import sigmoid
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failures import SkipGroup, note_stop
from persona_rm.serving.labels import LabelPolicy

LOGGER = logging.getLogger("persona_rm.openrlhf")
EXIT_CODE = 70

CLIENT = RewardClient.from_env()
FAILURES = CLIENT.failures
LABELS = LabelPolicy.from_env(known=CLIENT.some_users)
sys.stderr.write(f"persona_rm: {LABELS}\n")
CHAT = policy_chat()


def reward_func(queries, prompts, labels, **_kwargs):
    """Rewards of these samples. `scores` are the rewards through a sigmoid: 0 to 1, as dynamic filtering expects."""
    try:
        return _rewards(zip(queries, prompts, labels, strict=True))
    except PersonaRMError as error:
        stop_job(str(error))
    except Exception as error:  # noqa: BLE001 - the host would swallow it; its text may be a user's
        stop_job(f"{type(error).__name__} in the plugin")


def _rewards(rows):
    requests = []
    for query, prompt, label in rows:
        # Without the end of the answer it was cut: the host keeps special tokens in the query.
        response, finished = strip_prompt(query, prompt, CHAT)
        requests.append(LABELS.request(label, prompt, response, finished=finished))
    try:
        results = CLIENT.rewards(requests)
    except SkipGroup as error:  # the host sends lists of one; a NaN score makes its dynamic filtering drop the group
        for i in error.rows or range(len(requests)):
            FAILURES.leave_out(error, requests[i].user)
        return {"rewards": None, "scores": math.nan, "extra_logs": {}}
    for result in results:
        LABELS.check_known(result.trace.user, result.trace.user_known, result.status)
    rewards = [result.reward for result in results]
    scores = [sigmoid(reward) for reward in rewards]
    logs = [{**extra_logs(result), **FAILURES.logs()} for result in results]
    if len(results) == 1:
        return {"rewards": rewards[0], "scores": scores[0], "extra_logs": logs[0]}
    keys = logs[0] if logs else ()
    return {"rewards": rewards, "scores": scores, "extra_logs": {key: [log[key] for log in logs] for key in keys}}


def stop_job(reason):
    """Say why, in the log and beside the run, and end this rollout actor."""
    reason = FAILURES.log_ids.hide(reason)
    LOGGER.error("no reward: %s", reason)
    sys.stderr.write(f"ERROR persona_rm: no reward, stopping the job: {reason}\n")
    note_stop(reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
