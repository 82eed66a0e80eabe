"""Toy people, cases and scorers: three dimensions, and answers whose worth is a word."""

from collections.abc import Sequence

from persona_rm.benchmarks.base import Case
from persona_rm.errors import ScoreError
from persona_rm.types import Example, Pair, Persona, RewardRequest, RewardResult, RewardTrace, Ugc, UserState


def persona(user: str, directions: tuple[int, ...] | None, n_ugc: int = 8, n_pairs: int = 8) -> Persona:
    ugc = tuple(Ugc(f"p{i}", f"{user} writes {i}", directions) for i in range(n_ugc))
    pairs = tuple(Pair(f"q{i}", f"{user} likes {i}", f"{user} dislikes {i}", directions) for i in range(n_pairs))
    return Persona(user, ugc, pairs, f"I am {user}", directions)


def case(user: str, i: int, directions: tuple[int, ...], chosen: str = "good good", rejected: str = "bad") -> Case:
    example = Example(f"{user}{i}", f"prompt {i}", chosen, rejected, directions, persona(user, directions))
    return Case(example, group_label=user[0], p_choice=0.8, utilities=(1.0, 0.0))


def cases(users: int = 6, each: int = 4) -> list[Case]:
    """Even users want "good" (+1), odd ones "bad" (-1): the right answer for one is the wrong one for the other."""
    out = []
    for u in range(users):
        sign = 1 if u % 2 == 0 else -1
        sides = ("good good", "bad") if sign == 1 else ("bad", "good good")
        out += [case(f"{'ab'[u % 2]}{u}", i, (sign, 0, 0), *sides) for i in range(each)]
    return out


class Directed:
    """Scores +d for "good" and -d for "bad", d the first direction of the persona: right when the persona is."""

    def __init__(self) -> None:
        self.adapted = self.calls = 0

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        self.adapted += 1
        return UserState("directed", evidence.user_id, {"d": (evidence.directions or (0,))[0]}, evidence.n_items)

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        self.calls += 1
        results = []
        for state, request in zip(states, requests, strict=True):
            reward = state.payload["d"] * (1.0 if "good" in request.response else -1.0)
            results.append(RewardResult(reward, RewardTrace(reward)))
        return results


class Failing(Directed):
    """Fails on chosen prompts; `named` says whether the error names the requests."""

    def __init__(self, prompts: set[str], named: bool) -> None:
        super().__init__()
        self.prompts, self.named = prompts, named

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        bad = tuple(i for i, request in enumerate(requests) if request.prompt in self.prompts)
        if bad:
            raise ScoreError("too long for the model", bad if self.named else ())
        return super().score(states, requests)
