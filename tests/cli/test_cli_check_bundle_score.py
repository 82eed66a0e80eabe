"""check, bundle and score, as they are typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import load_bundle
from persona_rm.cli import app
from persona_rm.hosts.openrlhf.queries import policy_chat, strip_prompt
from persona_rm.types import Message
from tests.prompts.chat_samples import chat_tokenizer

SHORT, LONG = "Yes.", "Yes, and there is a great deal more to be said about it, if you like."


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("team") / "users.jsonl"
    lines = []
    for number in range(8):
        pairs = []
        for i in range(8):
            texts = (f"{SHORT} {i}", f"{LONG} {i}")
            pairs.append({"prompt": f"q{i}?", "chosen": texts[number % 2], "rejected": texts[1 - number % 2]})
        lines.append(json.dumps({"user_id": f"u{number}", "pairs": pairs}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_check_prints_figures_a_picture_and_a_verdict(users: Path, tmp_path: Path) -> None:
    code, said, _ = run("check", users, "--out", tmp_path / "check.svg")
    assert code == 0, said
    assert "personal minus another user's" in said
    assert "pba_linear" in said
    assert "A personal reward (centroid) helps these users" in said
    assert (tmp_path / "check.svg").read_text().startswith("<?xml")
    code, said, _ = run("check", users, "--json", "--out", tmp_path / "check.png")
    assert json.loads(said)["verdict"] == "helps"
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = run("check", users, "--out", tmp_path / "check.jpg")
    assert (code, "a picture is one of .svg, .png" in error) == (1, True)


def test_bundle_then_score(users: Path, tmp_path: Path) -> None:
    code, said, _ = run("bundle", users, "--out", tmp_path / "mine")
    assert code == 0, said
    assert "--method auto takes centroid" in said
    assert "so the gain above is optimistic" in said
    assert f"export PERSONA_RM_BUNDLE={tmp_path / 'mine'}" in said
    assert '--reward.remote_url "$(persona-rm where openrlhf)"' in said
    asked = ("score", tmp_path / "mine", "--prompt", "new?", "--response", SHORT, "--response", LONG)
    for user, best in (("u0", SHORT), ("u1", LONG)):
        code, said, _ = run(*asked, "--user", user, "--json")
        assert (code, json.loads(said)["responses"][0]["response"]) == (0, best)
    code, said, error = run(*asked, "--user", "nowhere", "--explain")
    assert code == 0
    assert "Warning: user 'nowhere' is not in this bundle" in error
    assert "The method 'centroid' gives" in said


def test_a_tokenizer_says_where_answers_end(users: Path, tmp_path: Path) -> None:
    chat_tokenizer("gemma").save_pretrained(tmp_path / "policy")
    code, said, _ = run("bundle", users, "--out", tmp_path / "plain", "--method", "bradley_terry")
    assert (code, "note: the bundle names no tokenizer" in said) == (0, True)
    asked = ("bundle", users, "--out", tmp_path / "mine", "--method", "bradley_terry", "--tokenizer")
    code, said, _ = run(*asked, tmp_path / "policy")
    assert (code, "names no tokenizer" in said) == (0, False)
    assert f"as the tokenizer in {tmp_path / 'policy'} says" in said
    chat = policy_chat({"PERSONA_RM_BUNDLE": str(tmp_path / "mine")})
    assert chat is not None
    assert strip_prompt("Hi? Yes<end_of_turn>", "Hi?", chat) == (" Yes", True)
    assert strip_prompt("Hi? Yes", "Hi?", chat) == (" Yes", False)
    bundle = load_bundle(tmp_path / "mine")
    turns = (Message("user", "Hi?"), Message("assistant", "Yes."), Message("user", "Well?"))
    assert "<start_of_turn>model\nYes.<end_of_turn>" in bundle.render("u0", turns)
    code, _, error = run(*asked, tmp_path / "nowhere")
    assert (code, "no tokenizer in" in error) == (1, True)


def test_a_named_method_is_not_checked(users: Path, tmp_path: Path) -> None:
    code, said, _ = run("bundle", users, "--out", tmp_path / "mine", "--method", "bradley_terry")
    assert code == 0, said
    assert "The method is bradley_terry, as --method says" in said
    code, _, error = run("bundle", users, "--out", tmp_path / "other", "--method", "centroids")
    assert (code, "method 'centroids' is not fitted" in error) == (1, True)


def test_a_personal_part_without_weight_is_a_warning(tmp_path: Path) -> None:
    rows = [
        {"user": f"u{n}", "prompt": "the only one?", "chosen": f"{SHORT} {i}", "rejected": f"{LONG} {i}"}
        for n in range(4)
        for i in range(3)
    ]
    path = tmp_path / "users.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said, _ = run("bundle", path, "--out", tmp_path / "mine", "--method", "centroid")
    assert code == 0, said
    assert "warning: a known user gets the reward of an unknown one." in said


def test_a_personal_part_with_weight_is_none(users: Path, tmp_path: Path) -> None:
    code, said, _ = run("bundle", users, "--out", tmp_path / "mine", "--method", "centroid")
    assert (code, "gets the reward of an unknown one" in said) == (0, False)
