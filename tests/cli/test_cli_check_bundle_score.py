"""check, bundle and score, as they are typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.benchmarks.user_check import HeldOut, HeldOutChecks
from persona_rm.benchmarks.user_verdict import UserCheck, concluded
from persona_rm.bundle import load_bundle
from persona_rm.cli import app
from persona_rm.cli.check_table import print_check
from persona_rm.hosts.openrlhf.queries import policy_chat, strip_prompt
from persona_rm.types import Comparison, Message
from persona_rm.users.candidates import taken_by_auto
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
    assert "A personal reward (centroid) helps these users" in said
    assert said.index("Verdict: helps.") < said.index("personal minus pooled"), "the verdict comes first"
    assert ("pba_linear" in said, "new users" in said) == (False, False)
    assert (tmp_path / "check.svg").read_text().startswith("<?xml")
    code, said, _ = run("check", users, "--json", "--out", tmp_path / "check.png")
    assert json.loads(said)["verdict"] == "helps"
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = run("check", users, "--out", tmp_path / "check.jpg")
    assert (code, "a picture is one of .svg, .png" in error) == (1, True)


def test_bundle_then_score(users: Path, tmp_path: Path) -> None:
    code, said, _ = run("bundle", users, "--out", tmp_path / "mine")
    assert code == 0, said
    assert "--method auto takes the personal reward (centroid), which is right on 1.000" in said
    assert f"persona-rm score {tmp_path / 'mine'} --user u0" in said
    assert f"python -m persona_rm.serving start {tmp_path / 'mine'} --actors 2" in said
    assert said.rstrip().endswith(f"Verdict: helps. Written: centroid in {tmp_path / 'mine'}")
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


def test_every_row_is_printed_if_asked_for(users: Path) -> None:
    code, said, _ = run("check", users, "--all")
    assert code == 0, said
    said = " ".join(said.split())
    for row in ("pba_linear", "pooled reward, encoder without", "new users, history of 2 comparisons"):
        assert row in said


def checked(pooled: float) -> UserCheck:
    """A check of 20 users in which the pooled reward has this accuracy, and the personal one changes nothing."""
    rows = HeldOut()
    for i in range(400):
        right = [float(i % 100 < 100 * pooled)]
        accuracies = dict.fromkeys(("personal", "pooled", "shuffled", "longer"), right)
        rows.add([Comparison(f"u{i // 20}", f"p{i}", "a", "b")], accuracies)
    return concluded(HeldOutChecks(rows, {}, {}, 1), "centroid")


def test_a_reward_that_is_not_shown_to_beat_a_coin_is_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    print_check(checked(0.5))
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: the reward that `bundle` takes is not shown to beat chance: it is right on 0.500 [" in said
    assert "Not used: 1 comparison by users without a comparison under any other prompt" in said
    print_check(checked(0.9))
    assert "is not shown to beat chance" not in capsys.readouterr().out


def test_one_name_for_what_is_written() -> None:
    taken = taken_by_auto(checked(0.9))
    assert (taken.method, taken.words) == ("bradley_terry", "the pooled reward (bradley_terry)")
    assert taken.figure is not None
    assert (taken.figure.name, taken.figure.value) == ("pooled", 0.9)


def test_a_reward_that_is_the_same_for_all_says_so(users: Path, tmp_path: Path) -> None:
    assert run("bundle", users, "--method", "bradley_terry", "--out", tmp_path / "b")[0] == 0
    asked = ("--user", "u1", "--prompt", "p", "--response", "r")
    assert "This reward is the same for every user" in " ".join(run("score", tmp_path / "b", *asked)[1].split())
    said = " ".join(run("explain", tmp_path / "b", *asked)[1].split())
    profile = " ".join(run("profile", tmp_path / "b", "u1")[1].split())
    for text in (said, profile):
        assert "does not read the user's history" in text
        assert "8 items of evidence" in text


def test_an_output_that_cannot_be_written_is_one_message(users: Path, tmp_path: Path) -> None:
    # Names that no file can have, for these tests may run as a user who may write anywhere.
    no_folder = users / "below a file"
    for args in (
        ("bundle", users, "--method", "bradley_terry", "--out", no_folder),
        ("bundle", users, "--method", "bradley_terry", "--out", tmp_path / ("n" * 300)),
        ("check", users, "--sample", "2", "--out", no_folder / "check.svg"),
        ("check", users, "--out", tmp_path),
    ):
        code, _, error = run(*args)
        assert code == 1, args
        assert "DataError: " in error
        assert "Traceback" not in error
    code, said, _ = run("check", users, "--sample", "2", "--out", no_folder / "check.svg")
    assert "with 95 %" in said or "Too little data" in said or "reward" in said, "the verdict is printed all the same"


def test_an_unknown_user_is_told_the_id_that_was_probably_meant(users: Path, tmp_path: Path) -> None:
    assert run("bundle", users, "--method", "bradley_terry", "--out", tmp_path / "b")[0] == 0
    asked = ("--prompt", "p", "--response", "r")
    for user in ("U1", "u1 ", "u\u200b1", "\uff551"):
        code, _, error = run("score", tmp_path / "b", "--user", user, *asked)
        assert (code, "did you mean 'u1'?" in error) == (0, True), ascii(user)
        code, _, error = run("explain", tmp_path / "b", "--user", user, *asked)
        assert (code, "did you mean 'u1'?" in error) == (1, True), ascii(user)


def test_half_a_character_is_a_message(users: Path, tmp_path: Path) -> None:
    assert run("bundle", users, "--method", "bradley_terry", "--out", tmp_path / "b")[0] == 0
    code, _, error = run("score", tmp_path / "b", "--prompt", "p", "--response", "\udce9")
    assert code == 1
    assert "DataError: the response holds half of a surrogate pair" in error
