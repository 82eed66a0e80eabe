"""The contract of a reward method: one method, one file, one class.

`fit` learns the part that all users share, `adapt` turns one user's evidence into a `UserState`, and `score` gives
the rewards of responses for the users of these states. A method never owns a model: it is handed `Backends`. A failed
score raises `ScoreError`; it is never a number.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.json_file import read_object
from persona_rm.io.json_rows import need_file
from persona_rm.maths import sigmoid
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Persona, Prompt, RewardRequest, RewardResult, RewardTrace, UserState

Need = Literal["policy", "reference", "annotator", "encoder", "fit"]
Control = Literal["flip", "history", "shuffled", "no_user"]
Reads = Literal["directions", "items", "nothing"]
Matrix = list[list[float]]


class Method(ABC):
    """One personalised reward, or an impersonal one that serves as a control."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What scoring needs: a policy, its reference (then the policy must have been trained by alignment), an
    annotator, an encoder, a call of `fit` before the first score."""
    controls: ClassVar[frozenset[Control]] = frozenset({"shuffled", "no_user"})
    """The controls that an evaluation applies: `flip` reverses the user's directions, `history` varies the number
    of items, `shuffled` takes the state of another user, `no_user` takes the population prior."""
    takes_messages: ClassVar[bool] = False
    """True if the method reads a prompt of chat messages as turns. The others get its text (`prompts.text_of`)."""
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Other settings that an evaluation scores beside the configured ones, by the suffix of their results."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends) -> None:
        self.config, self.space, self.backends = config, space, backends

    @property
    def reads(self) -> Reads:
        """What `adapt` takes from the evidence.

        `items`: the texts themselves. `directions`: those that an inferrer has set; without them `adapt` raises
        `DataError`. `nothing`: all users get the same rewards.
        """
        return "items"

    @classmethod
    def settings_for(cls, n_items: int) -> Mapping[str, Any]:
        """The settings under which the method reads up to `n_items` items, half UGC and half PAIR.

        The default is empty: the method reads every item that it is given.
        """
        return {}

    def fit(self, comparisons: Sequence[Comparison]) -> None:  # noqa: B027 - optional: many methods learn nothing here
        """Learn the part that all users share. The default learns nothing."""

    def prior(self) -> UserState:
        """The state of an unknown user. It is always defined."""
        return UserState(self.name, None)

    @abstractmethod
    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The state of this user from their evidence, added to `state` if one is given.

        Adapting is deterministic and never changes what `fit` learned.
        """

    def adapt_all(self, evidence: Sequence[Persona]) -> list[UserState]:
        """The state of each of these users. A method that can share work among users overrides it."""
        return [self.adapt(one) for one in evidence]

    @abstractmethod
    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The results that `score` checks and returns, as one batch; `states[i]` belongs to `requests[i]`."""

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """One result per request, in the same order. Every reward is finite.

        Raises `ScoreError` naming the requests if a state belongs to another method, a reward is not a finite number,
        or the parts of a reward do not add up to it.
        """
        if not requests:
            return []
        if len(states) != len(requests):
            raise ScoreError(f"{self.name} was given {len(states)} states for {len(requests)} requests")
        if foreign := tuple(i for i, state in enumerate(states) if state.method != self.name):
            raise ScoreError(f"a state of {states[foreign[0]].method!r} was given to {self.name!r}", foreign)
        results = self.rewards(states, requests)
        # Members may come from outside the package, so what they return is checked as well.
        if not isinstance(results, list) or not all(isinstance(result, RewardResult) for result in results):
            raise ScoreError(f"{self.name}.rewards must return a list of RewardResult, made by self.result(...)")
        if len(results) != len(requests):
            raise ScoreError(f"{self.name} returned {len(results)} results for {len(requests)} requests")
        self._check(results)
        return results

    def _check(self, results: Sequence[RewardResult]) -> None:
        """Raises `ScoreError` for rewards that are no numbers or not finite, and for parts that are not the summands
        of the reward: an explanation that does not add up is worse than none."""
        if bad := tuple(i for i, result in enumerate(results) if type(result.reward) not in (float, int)):
            found = type(results[bad[0]].reward).__name__
            raise ScoreError(f"{self.name} gave a reward that is no float: {found}", bad)
        if bad := tuple(i for i, result in enumerate(results) if not math.isfinite(result.reward)):
            raise ScoreError(f"{self.name} gave a reward that is not finite", bad, "not_finite")
        if bad := tuple(i for i, result in enumerate(results) if not _adds_up(result)):
            raise ScoreError(f"{self.name} gave parts that do not add up to the reward", bad)

    def compare(self, states: Sequence[UserState], groups: Sequence[Sequence[RewardRequest]]) -> list[Matrix]:
        """P(response i beats response j) among the responses of each group, one state per group.

        The default is Bradley-Terry: the sigmoid of the difference of rewards. A method without a scalar reward
        overrides it.
        """
        # One flat call, so that the method scores all groups as one batch.
        flat_states = [state for state, group in zip(states, groups, strict=True) for _ in group]
        results = iter(self.score(flat_states, [request for group in groups for request in group]))
        matrices = []
        for group in groups:
            rewards = [next(results).reward for _ in group]
            matrices.append([[sigmoid(mine - other) for other in rewards] for mine in rewards])
        return matrices

    def result(
        self,
        state: UserState,
        request: RewardRequest,
        reward: float,
        parts: Mapping[str, float] | None = None,
        std: float | None = None,
    ) -> RewardResult:
        """The result of one request: its trace names the state's version, its evidence and the status.

        `parts` are the summands of `reward`, if the method can split it. Numbers of numpy and torch become floats.
        Raises `ScoreError` if one of them is no number.
        """
        try:
            reward, parts = float(reward), {name: float(value) for name, value in (parts or {}).items()}
        except (TypeError, ValueError) as error:
            raise ScoreError(f"{self.name} gave a reward or a part that is no number: {error}") from error
        trace = RewardTrace(
            raw=reward, parts=parts, status="cold" if state.cold else "ok", state_version=state.version,
            evidence=state.evidence, std=std, request_id=request.request_id,
        )  # fmt: skip
        return RewardResult(reward, trace)

    @property
    def learned_files(self) -> tuple[str, ...]:
        """The files that `save` writes beside config.json. `load` refuses a folder that lacks one of them."""
        return ()

    def save(self, folder: Path) -> None:
        """Write config.json (and, in methods that learn, safetensors) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"method": self.name, "config": self.config.model_dump(), "files": self.learned_files}
        text = json.dumps(about, indent=2)
        (folder / "config.json").write_text(text + "\n")

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends) -> Self:
        """The inverse of `save`."""
        path = folder / "config.json"
        if not path.is_file():
            raise DataError(f"no saved {cls.name} here", file=path)
        saved = read_object(path)
        if saved.get("method") != cls.name:
            raise DataError(f"this was saved by {saved.get('method')!r}, not {cls.name!r}", file=path, key="method")
        for name in saved.get("files", ()):
            need_file(folder / str(name))
        try:
            return cls(cls.Config(**saved["config"]), space, backends)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"not the settings of {cls.name}, or those of another version ({error}); fit it again"
            raise DataError(problem, file=path, key="config") from error


def _adds_up(result: RewardResult) -> bool:
    """True if the result has no parts, or if they sum to its reward but for rounding."""
    parts = result.trace.parts
    if not parts:
        return True
    # Relative to the size of the parts, because parts that nearly cancel leave large rounding errors.
    size = math.fsum(abs(value) for value in parts.values())
    return abs(math.fsum(parts.values()) - result.reward) <= 1e-6 * max(1.0, size)  # False for NaN


class PromptedMethod(Method):
    """A method whose model reads the user in its prompt.

    The rows that DPO trains on, the reward and the policy of a rollout all use this one renderer. `prompt` is a text,
    and may be messages if the method takes them.
    """

    @abstractmethod
    def render(self, state: UserState, prompt: Prompt) -> str:
        """The prompt that the policy reads for the user of this state, chat template included."""

    def response(self, text: str) -> str:
        """A response as a row of DPO data has it. A method that splits control tokens overrides it."""
        return text
