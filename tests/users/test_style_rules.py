"""Twenty users with four style rules over real answers of language models (LLMFAO): own state against other rules'.

The answers are real and the preferences are not: a user prefers, of two answers to one prompt, the one that follows
their rule more, and errs in one comparison of ten. History and held-out comparisons are under different prompts.
"""

import gzip
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM
from persona_rm.benchmarks.figures import Figure, mean_figure
from persona_rm.benchmarks.user_check import comparisons_of, correct
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Pair, Persona
from persona_rm.users.candidates import make_method, settings_of

RULES: dict[str, Callable[[str], int]] = {
    "shorter is better": lambda text: -len(text.split()),
    "lists are better": lambda text: len(re.findall(r"(?m)^\s*(?:[-*•]|\d+[.)])\s", text)),
    "friendly: exclamation marks, and the reader is addressed": lambda text: (
        text.count("!") + len(re.findall(r"(?i)\b(?:you|your|let's)\b", text))
    ),
    "formal: no first person, no contractions": lambda text: (
        -len(re.findall(r"(?i)\b(?:i|my|me|mine|we|our)\b|\w'(?:m|ve|ll|d|re|t)\b", text))
    ),
}
USERS, HISTORY, HELD_OUT, FLIPPED, FEWEST = 20, 6, 20, 0.1, 20


def ordered_pairs(shared_data: Path) -> dict[str, dict[str, list[Pair]]]:
    """Rule -> prompt -> the pairs of answers that the rule can order; prompts with few are left out."""
    answers: dict[str, set[str]] = {}
    with gzip.open(shared_data / "people" / "llmfao.jsonl.gz", "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            answers.setdefault(row["prompt"], set()).update(text for text in (row["a"], row["b"]) if text.strip())
    pairs: dict[str, dict[str, list[Pair]]] = {}
    for name, rule in RULES.items():
        for prompt in sorted(answers):
            texts = sorted(answers[prompt])
            values = [rule(text) for text in texts]
            ordered = [
                Pair(prompt, *((a, b) if x > y else (b, a)))
                for i, (a, x) in enumerate(zip(texts, values, strict=True))
                for b, y in zip(texts[:i], values[:i], strict=True)
                if x != y
            ]
            if len(ordered) >= FEWEST:
                pairs.setdefault(name, {})[prompt] = ordered
    return pairs


def draw(pairs: dict[str, dict[str, list[Pair]]], seed: int) -> list[tuple[str, Persona, list[Comparison]]]:
    """Rule, history and held-out comparisons of every user."""
    rng = np.random.default_rng(seed)
    prompts = sorted({prompt for by_prompt in pairs.values() for prompt in by_prompt})
    seen = {prompts[i] for i in rng.permutation(len(prompts))[: len(prompts) // 2]}
    users = []
    for number in range(USERS):
        name = list(RULES)[number % len(RULES)]
        sides = [[p for p in pairs[name] if (p in seen) == known] for known in (True, False)]
        drawn = []
        for side, n in zip(sides, (HISTORY, HELD_OUT), strict=True):
            lists = [pairs[name][side[i % len(side)]] for i in range(n)]
            drawn.append([ordered[rng.integers(len(ordered))] for ordered in lists])
        history = [Pair(p.prompt, p.rejected, p.chosen) if rng.random() < FLIPPED else p for p in drawn[0]]
        user = f"u{number}"
        users.append((name, Persona(user, pairs=tuple(history)), comparisons_of(user, drawn[1])))
    return users


def figures(users: list[tuple[str, Persona, list[Comparison]]], space: PreferenceSpace) -> tuple[Figure, Figure]:
    """Accuracy with the own state, and the mean accuracy with the states of all users of other rules."""
    method = make_method(settings_of("centroid"), space, Backends(encoder=MiniLM()))
    method.fit([row for _, persona, _ in users for row in comparisons_of(persona.user_id, persona.pairs)])
    states = [method.adapt(persona) for _, persona, _ in users]
    own, others, units = [], [], []
    for number, (rule, persona, rows) in enumerate(users):
        own += correct(method, {persona.user_id: states[number]}, rows).tolist()
        donors = [state for (other, *_), state in zip(users, states, strict=True) if other != rule]
        others += np.mean([correct(method, {persona.user_id: donor}, rows) for donor in donors], axis=0).tolist()
        units += [persona.user_id] * len(rows)
    return mean_figure("own", np.array(own), units), mean_figure("other rules", np.array(others), units)


@pytest.mark.slow
def test_own_state_follows_the_rule_and_states_of_other_rules_do_not(
    shared_data: Path, space: PreferenceSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = figures(draw(ordered_pairs(shared_data), seed=0), space)
    with capsys.disabled():
        for one in (own, other):
            sys.stdout.write(f"\n{one.name}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}], {one.n} held-out pairs")
    assert own.n >= 300
    assert own.value >= 0.75
    assert other.value <= 0.55
