"""explain: what the verb prints and which combinations of options it refuses."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import User, write_bundle
from persona_rm.cli import app
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Persona, RewardRequest


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *map(str, args)])
    return result.exit_code, result.output + (result.stderr or "")


@pytest.fixture
def folder(tmp_path, space):
    ann = User(Persona("ann", directions=(1, *space.neutral[1:])))
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}}
    return write_bundle(tmp_path / "run" / "bundle", [ann], **keys)


def test_a_reward_is_explained_in_words_and_as_json(folder):
    asked = (folder, "--user", "ann", "--prompt", "Hello?", "--response", "Yes.")
    code, said = run(*asked)
    assert code == 0, said
    assert said.startswith("The reward is 0 for user 'ann' of group 'all': the user is known.")
    silent = "gives 0, because the response says nothing about the only part that the method reads."
    assert f"The method 'pba_linear' {silent}\n" in said
    assert "Post-processing changes nothing in this bundle." in said
    code, said = run(*asked, "--json")
    assert (code, json.loads(said)["user"], json.loads(said)["reward"]) == (0, "ann", 0.0)


def test_a_logged_reward_is_found_in_the_run(folder):
    actor = RewardActor(str(folder), "reward-0", str(folder.parent))
    asyncio.run(actor.score(RewardRequest("ann", "Hello?", "Yes.", request_id="r1")))
    code, said = run("--request", "r1", "--run", folder.parent)
    assert code == 0, said
    assert "Request r1; " in said
    code, said = run("--request", "r2", "--run", folder.parent)
    assert code == 1
    assert "has a reward with the request id 'r2'" in said


def test_an_unknown_user_is_an_error(folder):
    code, said = run(folder, "--user", "zoe", "--prompt", "Hello?", "--response", "Yes.")
    assert code == 1
    assert "user 'zoe' is not in this bundle. Rewards for unknown users come from the population prior. " in said
    assert said.endswith("To see those, leave out --user\n")


@pytest.mark.parametrize(
    ("args", "mistake"),
    [
        ([], "missing: the bundle, --prompt, --response"),
        (["bundle"], "missing: --prompt, --response"),
        (["bundle", "--prompt", "a"], "missing: --response"),
        (["--request", "r1"], "missing: --run"),
        (["bundle", "--request", "r1", "--prompt", "a"], "both were given: --prompt and --request"),
    ],
)
def test_other_combinations_of_options_are_refused_and_the_mistake_is_named(args, mistake):
    code, said = run(*args)
    assert code == 1
    assert (
        "say what to explain: a bundle with --prompt and --response (and --user), or --request ID with --run RUN; "
        f"{mistake}\n" in said
    )
