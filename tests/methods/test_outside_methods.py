"""Two methods in a file of the user's own, one plain and one prompted, through `prepare`, `eval` and `serve`.

Nothing of the package is edited for them: a recipe names the file, or a table has a line for the class.
"""

import json
from pathlib import Path

import httpx
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.benchmarks.evaluation import read_figures
from persona_rm.benchmarks.simulator import SimulatorBenchmark, SimulatorBenchmarkConfig
from persona_rm.bundle import load_bundle
from persona_rm.cli import app
from persona_rm.io.alignx_format import write_examples
from persona_rm.methods import METHODS
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.evaluate import evaluated_methods
from persona_rm.pipeline.stages.ppo import bundle_of, users_of
from persona_rm.recipe import Recipe, load_recipe
from persona_rm.types import RewardRequest
from tests.serving.http.http_service_samples import served

MINE = '''
"""The methods of a team of its own."""

from typing import ClassVar

from persona_rm.config import Config
from persona_rm.methods.base import Method, PromptedMethod
from persona_rm.types import UserState


class OwnLengthConfig(Config):
    weight: float = 1.0


class OwnLength(Method):
    """Responses should be as long as the user's own comments."""

    name: ClassVar[str] = "own_length"
    Config: ClassVar[type[Config]] = OwnLengthConfig

    def adapt(self, evidence, state=None):
        lengths = [len(item.comment) for item in evidence.ugc]
        return UserState(self.name, evidence.user_id, {"length": sum(lengths) / len(lengths)}, len(lengths))

    def rewards(self, states, requests):
        results = []
        for state, request in zip(states, requests, strict=True):
            wanted = state.payload.get("length")
            reward = 0.0 if wanted is None else -self.config.weight * abs(len(request.response) - wanted)
            results.append(self.result(state, request, reward))
        return results


class Tagged(PromptedMethod):
    """The directions in front of the prompt, in brackets."""

    name: ClassVar[str] = "tagged"
    needs = frozenset({"policy", "reference"})
    controls = frozenset({"flip", "no_user"})
    reads = "directions"

    def adapt(self, evidence, state=None):
        return UserState(self.name, evidence.user_id, {"directions": list(evidence.directions)}, evidence.n_items)

    def render(self, state, prompt):
        return f"[{self.space.describe(state.payload.get('directions', self.space.neutral))}] {prompt}"

    def rewards(self, states, requests):
        prompts = [self.render(state, request.prompt) for state, request in zip(states, requests, strict=True)]
        rows = self.backends.need_logprob(self.name).logprob(prompts, [request.response for request in requests])
        values = [row.policy - row.reference for row in rows]
        return [self.result(*one) for one in zip(states, requests, values, strict=True)]
'''
SIZES = {"users": 12, "test_users": 4, "posts": 40}
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_model, space) -> Path:  # type: ignore[no-untyped-def]
    """A recipe beside the file of the methods; its examples are built and its policy is trained."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "mine.py").write_text(MINE)
    out = folder / "run"
    (out / "dpo" / "mine").mkdir(parents=True)
    (out / "dpo" / "mine" / "model").symlink_to(tiny_model(1))
    cases = SimulatorBenchmark(SimulatorBenchmarkConfig(simulator=SIZES, n_ugc=2, n_pairs=2), space).cases()
    write_examples(out / "build" / "data" / "train-00000.parquet", [case.example for case in cases], space)
    ppo = {"inferrer": "vote", "users": 3, "prompts": 3, "items": 4}
    content = {
        "name": "team", "source": {"name": "simulator", **SIZES}, "model": str(tiny_model(0)), "out": str(out),
        "dpo": {"mine": {"method": "./mine.py:Tagged", "rows": 8, "max_items": 1, "args": {"data.max_len": 1024}}},
        "eval": {
            "runs": str(out), "items": 2, "history": [2], "resamples": 50,
            "untrained": {"brief": {"name": "./mine.py:OwnLength", "weight": 2.0}},
        },
        "ppo": {"plain": {"reward": "./mine.py:OwnLength", **ppo}, "prompted": {"reward": "mine", **ppo}},
    }  # fmt: skip
    path = folder / "team.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_prepare_writes_the_prompts_of_an_outside_method(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    result = RUNNER.invoke(app, ["prepare", str(recipe), "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 8
    assert all(row["prompt"].startswith("[") and "] " in row["prompt"] for row in rows)
    assert "train_dpo" in result.output


@pytest.mark.slow
def test_eval_measures_both_under_the_names_of_their_sections(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = RUNNER.invoke(app, ["eval", str(recipe), "--json", str(out)])
    assert result.exit_code == 0, result.output
    figures = {figure.name: figure for figure in read_figures(out)}
    of_methods = {name for name in figures if not name.startswith(("vote_", "bayes_", "control_longer"))}
    assert of_methods == {
        "mine_golden", "mine_golden_flip", "control_no_persona", "mine_vote", "gap_golden_minus_vote",
        "brief", "brief_shuffled", "brief_no_user",
    }  # fmt: skip
    assert {figures[name].n for name in of_methods} == {20}
    assert figures["brief_no_user"].value == 0.5


@pytest.mark.slow
def test_serve_answers_with_the_reward_of_a_plain_method(recipe: Path) -> None:
    with served("-m", "persona_rm.cli", "serve", str(recipe), "--section", "plain", "--port", "0") as (url, _):
        bundle = load_bundle(recipe.parent / "run" / "serve" / "plain" / "bundle")
        user = next(iter(bundle.users.values())).persona
        asked = {"user": user.user_id, "prompt": "Hello?", "responses": ["Yes.", "No, thank you."]}
        reply = httpx.post(f"{url}/score", json=asked, timeout=120)
    assert reply.status_code == 200, reply.text
    wanted = sum(len(item.comment) for item in user.ugc) / len(user.ugc)
    rewards = [result.reward for result in bundle.score([RewardRequest(user.user_id, "Hello?", "Yes.")])]
    assert rewards == [pytest.approx(-abs(4 - wanted))]
    assert str(rewards[0])[:8] in reply.text


def test_a_bundle_scores_with_a_prompted_method_and_its_trained_policy(
    recipe: Path, tmp_path: Path, tiny_model
) -> None:  # type: ignore[no-untyped-def]
    plan = load_recipe(recipe)
    run, config = RunFolder(plan, plan.folder, Console(quiet=True)), plan.ppo["prompted"]
    users, _ = users_of(run, config)
    bundle = load_bundle(bundle_of(run, config, tmp_path, users))
    user = users[0].persona.user_id
    [result] = bundle.score([RewardRequest(user, "Hello?", "Yes.")])
    text = f"[{bundle.profile(user)}] Hello?"
    [row] = TransformersLogProb(tiny_model(1), tiny_model(0)).logprob([text], ["Yes."])
    assert row.reference is not None
    assert result.reward == pytest.approx(row.policy - row.reference, abs=1e-4)


def test_one_line_of_the_table_is_enough(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(recipe.parent)
    monkeypatch.setitem(METHODS.table, "own_length", "mine:OwnLength")
    monkeypatch.setitem(METHODS.table, "tagged", "mine:Tagged")
    plan = Recipe(name="a", dpo={"mine": {"method": "tagged"}}, eval={})
    assert plan.eval is not None
    methods = {one.name: one for one in evaluated_methods(plan, plan.eval, recipe.parent / "run")}
    assert methods["mine"].member == {"name": "tagged"}
    assert methods["own_length"].policy is None
    assert "tagged" not in methods, "it needs training"
