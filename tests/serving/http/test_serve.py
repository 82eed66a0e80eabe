"""persona-rm serve: what it refuses to start with, and which bundle it serves."""

import json
import shlex
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import load_bundle
from persona_rm.cli import app
from persona_rm.cli import serve as verb
from persona_rm.errors import RecipeError
from persona_rm.hosts.openrlhf.routes import GET_REWARD
from persona_rm.recipe import load_recipe, save_recipe
from persona_rm.serving.http.server import curl_example, listen, url_of
from persona_rm.serving.http.settings import Settings, token_from
from persona_rm.types import RewardRequest
from tests.serving.serving_samples import users_bundle

QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.yaml"
SMALL = ["source.users=40", "source.test_users=4", "source.posts=40", "ppo.matched.users=4"]


def run(*args, **environ):
    found = CliRunner().invoke(app, ["serve", *map(str, args)], env={"PERSONA_RM_TOKEN": None, **environ})
    return found.exit_code, " ".join((found.output + (found.stderr or "")).split())


@pytest.fixture
def bundle(tmp_path, space):
    return users_bundle(tmp_path / "bundle", space)


def test_help_teaches():
    code, said = run("--help", COLUMNS="200")
    assert code == 0
    for word in ("--port", "--bundle", "--actors", "--token-file", "--body-limit", "PERSONA_RM_TOKEN", "/get_reward"):
        assert word in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines ask for rewards, and there is no token"),
        (["--token-file", "/nowhere/token"], "--token-file /nowhere/token cannot be read"),
        (["--port", "70000"], "--port is 0 to 65535"),
    ],
)
def test_it_refuses_to_start(bundle, args, said):
    code, text = run("--bundle", bundle, *args)
    assert code == 1
    assert said in text


def test_it_says_what_to_serve(tmp_path):
    assert "a recipe with a `ppo` section, or --bundle FOLDER" in run()[1]
    assert "has no `ppo` section" in run("simulator_reader")[1]
    assert "its sections: matched, shuffled" in run(QUICKSTART, "--section", "none")[1]
    assert run("--bundle", tmp_path)[0] == 1


def test_a_taken_port_is_named(bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run("--bundle", bundle, "--port", taken.getsockname()[1])
    assert code == 1
    assert "take another --port" in said


def test_tokens_come_from_the_file_then_from_the_environment(tmp_path):
    (tmp_path / "token").write_text("from-file\n")
    environ = {"PERSONA_RM_TOKEN": "from-env"}
    assert token_from(tmp_path / "token", environ) == "from-file"
    assert (token_from(None, environ), token_from(None, {})) == ("from-env", None)
    (tmp_path / "token").write_text("")
    with pytest.raises(RecipeError, match="not empty"):
        Settings(token=token_from(tmp_path / "token"))


def test_without_training_the_command_that_trains_is_named(tmp_path):
    code, said = run(QUICKSTART, f"out={tmp_path / 'run'}")
    assert code == 1
    assert f"persona-rm run {QUICKSTART} --only build --only dpo" in said


@pytest.mark.slow
def test_a_method_without_a_policy_gets_its_bundle_made_once(tmp_path):
    overrides = [f"out={tmp_path / 'run'}", "ppo.matched.reward=pba_linear", *SMALL]
    made = verb._bundle_of(QUICKSTART, overrides, "")
    assert made == tmp_path / "run" / "serve" / "matched" / "bundle"
    assert len(load_bundle(made).users) == 4
    before = (made / "users.jsonl").stat().st_mtime_ns
    assert verb._bundle_of(QUICKSTART, overrides, "matched") == made
    assert (made / "users.jsonl").stat().st_mtime_ns == before


@pytest.mark.slow
def test_ppos_bundle_is_served_where_the_recipe_is_the_same_and_another_made_where_it_is_not(tmp_path):
    overrides = [f"out={tmp_path / 'run'}", "ppo.matched.reward=contrast", *SMALL]
    of_ppo = tmp_path / "run" / "ppo" / "matched"
    (of_ppo / "bundle").mkdir(parents=True)
    save_recipe(load_recipe(QUICKSTART, overrides), of_ppo / "recipe.yaml")
    assert verb._bundle_of(QUICKSTART, [*overrides, "ppo.matched.args.train.batch_size=64"], "") == of_ppo / "bundle"
    other = verb._bundle_of(QUICKSTART, [*overrides, "ppo.matched.postprocess.monitor=true"], "")
    assert other == tmp_path / "run" / "serve" / "matched" / "bundle"
    bundle = load_bundle(other)
    user = next(iter(bundle.users))
    assert bundle.file.postprocess.monitor
    assert next(verb._first_users(other)) == user
    (result,) = bundle.score([RewardRequest(user, "Hello?", "I like tea.")])
    assert result.reward != 0, "the starting model's own"


@pytest.mark.slow
def test_a_trained_policy_is_served_before_ppo_ran_and_ppos_own_bundle_after(tmp_path, tiny_model):
    (tmp_path / "run" / "dpo" / "pba").mkdir(parents=True)
    (tmp_path / "run" / "dpo" / "pba" / "model").symlink_to(tiny_model())
    overrides = [f"out={tmp_path / 'run'}", *SMALL]
    made = verb._bundle_of(QUICKSTART, overrides, "")
    assert load_bundle(made).file.policy == str(tiny_model().resolve())
    (tmp_path / "run" / "ppo" / "matched" / "bundle").mkdir(parents=True)
    assert verb._bundle_of(QUICKSTART, overrides, "") == tmp_path / "run" / "ppo" / "matched" / "bundle"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_address_and_the_example(host):
    with listen(Settings(host=host, port=0)) as listening:
        url = url_of(listening)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "or each answer takes 40 ms"
    assert url.startswith("http://")
    assert url.rpartition(":")[2] != "0"
    example = curl_example(url, "ann o'x", token=True, route=GET_REWARD)
    assert json.loads(shlex.split(example)[-1])["labels"] == [{"user": "ann o'x"}]
    assert f"curl -s {url}/get_reward" in example
    assert "Bearer $PERSONA_RM_TOKEN" in example
    own = curl_example(url, "ann", token=False)
    assert "Bearer" not in own
    assert f"curl -s {url}/score" in own
    assert json.loads(shlex.split(own)[-1]) == {"user": "ann", "prompt": "Hello?", "responses": ["Yes."]}
