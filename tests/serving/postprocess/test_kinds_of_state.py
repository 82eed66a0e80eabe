"""K4: statistics move between samples, never between equal ones. K9: what was gathered outlives an orderly stop."""

from pathlib import Path
from typing import Any

import pytest

from persona_rm.serving.postprocess import PostprocessConfig, Postprocessor
from tests.serving.postprocess.postprocess_samples import raw

CONFIGS: dict[str, dict[str, Any]] = {
    "standardise by user": {"standardise": "user", "minimum": 2},
    "standardise all": {"standardise": "all", "minimum": 2},
    "with pooling": {"standardise": "user", "minimum": 2, "pooling": 4},
    "with a memory": {"standardise": "user", "minimum": 2, "memory": 5},
    "few users kept": {"standardise": "user", "minimum": 2, "users": 2},
    "clipped": {"standardise": "user", "minimum": 2, "clip": (-1, 1)},
    "monitored": {"monitor": True, "minimum": 2},
    "monitored and standardised": {"standardise": "user", "monitor": True, "minimum": 2},
    "a low minimum": {"standardise": "user", "minimum": 3},
    "a high minimum": {"standardise": "all", "minimum": 20},
}


def warmed(config: dict[str, Any]) -> Postprocessor:
    made = Postprocessor(PostprocessConfig(**config))
    for number in range(12):
        made.apply(raw(float(number % 5), f"u{number % 3}", prior=0.5), sample=("before", number))
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_eight_equal_samples_get_eight_equal_rewards(name: str) -> None:
    made = warmed(CONFIGS[name])
    rewards = [made.apply(raw(-1.29, "u0", prior=0.5), sample=("the same",)).reward for _ in range(8)]
    assert len(set(rewards)) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_an_orderly_stop_and_start_changes_no_reward(tmp_path: Path, name: str) -> None:
    made = warmed(CONFIGS[name])
    made.save(tmp_path / "statistics.json")
    again = Postprocessor(PostprocessConfig(**CONFIGS[name]))
    again.load(tmp_path / "statistics.json")
    given = [made.apply(raw(value, "u1", prior=0.5)).reward for value in (-1.0, 0.5, 3.0)]
    assert [again.apply(raw(value, "u1", prior=0.5)).reward for value in (-1.0, 0.5, 3.0)] == given
