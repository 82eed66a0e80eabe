"""Loads a plugin as OpenRLHF 0.11.2 does (utils/agent.py, trainer/ray/vllm_engine.py): by path, not in sys.modules."""

import importlib.util
import time
from types import ModuleType

from persona_rm.hosts.common import where
from persona_rm.serving.actor.reward_actor import Profile
from persona_rm.serving.client import RewardClient
from persona_rm.types import RewardRequest, RewardResult, RewardTrace


def load(part: str) -> ModuleType:
    """The module, as the host has it."""
    name = {"reward": "reward_func", "agent": "agent_module"}[part]
    spec = importlib.util.spec_from_file_location(name, where("openrlhf", part))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Actors:
    """A transport in place of Ray: knows "ann", erased "eve", rewards the length of a response, fails on demand."""

    def __init__(self, bundle: str) -> None:
        self.bundle, self.requests = bundle, []
        self.error: Exception | None = None
        self.value: float | None = None

    def names(self) -> list[str]:
        return ["reward-0"]

    def inference(self) -> str | None:
        return "inference-0"

    def call(self, name: str, method: str, args: tuple, timeout: float):
        if self.error:
            raise self.error
        if method == "info":
            return {"bundle": self.bundle}
        if method == "profile":
            assert name == "inference-0"
            user, prompt = args
            status = {"ann": "ok", "eve": "erased"}.get(user, "cold")
            return Profile("likes tea" if user == "ann" else "", f"[{user}] {prompt}", user == "ann", status=status)
        (requests,) = args
        self.requests += requests
        return [self._result(request) for request in requests]

    def _result(self, request: RewardRequest) -> RewardResult:
        known = request.user == "ann"
        reward = len(request.response) / 10 if self.value is None else self.value
        trace = RewardTrace(
            reward, status="ok" if known else "cold", user=request.user, user_known=known, group="all",
            metrics={"persona_rm/cold": float(not known)},
        )  # fmt: skip
        return RewardResult(reward, trace)


def connect(monkeypatch, tmp_path, **environ: str) -> Actors:
    """Plugins that load from here on get these actors, in a job with this environment."""
    actors = Actors(str(tmp_path))
    for key, value in {"PERSONA_RM_RUN": str(tmp_path), **environ}.items():
        monkeypatch.setenv(key, value)

    def from_env(cls):
        return RewardClient(actors, deadline=0.05, wait=lambda _: time.sleep(0.01))

    monkeypatch.setattr(RewardClient, "from_env", classmethod(from_env))
    return actors
