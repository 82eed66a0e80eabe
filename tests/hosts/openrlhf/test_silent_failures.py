import os
import sys

import pytest

from persona_rm.errors import HostError
from persona_rm.hosts.common import silent_failure
from persona_rm.hosts.openrlhf import SILENT, run_trainer


@pytest.mark.parametrize(
    "line",
    [
        "INFO agent.py:303] [SingleTurnExecutor] Failed to fetch reward from remote RM: boom",
        "Sample: ['Q1:" + "<pad>" * 12 + "', 0.0]",
        "Global step 2: {'policy_loss': nan, 'reward': 0.1}",
        "ValueError: reward_model_group is required when rewards are not precomputed",
        "(RolloutRayActor pid=1) persona_rm.errors.HostError: PERSONA_RM_BUNDLE does not say which bundle",
    ],
)
def test_exit_code_zero_is_not_believed(tmp_path, line):
    with pytest.raises(HostError, match="the host's job failed"):
        run_trainer([sys.executable, "-c", f"print({line!r})"], os.environ, tmp_path / "x.log", echo=False)


def test_ordinary_lines_show_no_failure():
    assert silent_failure("Global step 2: {'policy_loss': 0.1, 'kl': 0.0}", SILENT) is None
    assert silent_failure("pad token: <pad>, id 0", SILENT) is None
