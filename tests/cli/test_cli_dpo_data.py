"""The verbs relabel and pairs: what they print, write and exit with."""

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.pipeline.stages import sampled_pairs as stage
from tests.pipeline.stages.pair_samples import GAMING, SCIENCE, ScriptedSampler, pref, read, two_users, write

RUNNER = CliRunner()


@pytest.fixture
def bundle(tmp_path):
    return str(two_users(tmp_path).folder)


def invoke(*args):
    result = RUNNER.invoke(app, [str(arg) for arg in args])
    return result.exit_code, " ".join(result.output.split())


def test_relabel_prints_the_users_the_unknown_ones_and_the_flags_of_the_host(tmp_path, bundle):
    path, out = write(tmp_path / "p.jsonl", [pref("ann"), pref("bob"), pref("zoe")]), tmp_path / "o.jsonl"
    code, text = invoke("relabel", path, "--bundle", bundle, "--out", out)
    assert code == 0
    assert "bob known 1 1" in text
    assert "Warning: 1 of 3 users (1 of 3 pairs) are not in the bundle" in text
    assert f"3 rows in {out}. The host reads them by: --data.dataset {out} --data.prompt_key prompt" in text
    assert [row["chosen"] for row in read(out)] == [SCIENCE, GAMING, SCIENCE]


def test_bad_rows_give_the_exit_code_of_build(tmp_path, bundle):
    path = write(tmp_path / "p.jsonl", [pref(), "no json"])
    code, text = invoke("relabel", path, "--bundle", bundle, "--out", tmp_path / "o.jsonl")
    assert (code, "1 bad rows were quarantined" in text) == (3, True)


def test_strict_stops_at_an_unknown_user(tmp_path, bundle):
    path = write(tmp_path / "p.jsonl", [pref("zoe")])
    code, text = invoke("relabel", path, "--bundle", bundle, "--out", tmp_path / "o.jsonl", "--strict")
    assert code == 1
    assert "row 1, key 'user': user 'zoe' is not in the bundle" in text


def test_a_users_file_names_the_users_of_every_row(tmp_path, bundle):
    path, out = write(tmp_path / "p.jsonl", [pref(None)]), tmp_path / "o.jsonl"
    users = write(tmp_path / "users.jsonl", [{"user_id": "bob"}, {"user_id": "ann"}])
    code, _ = invoke("relabel", path, "--bundle", bundle, "--out", out, "--users", users)
    assert (code, [row["user"] for row in read(out)]) == (0, ["bob", "ann"])


def test_columns_under_other_names_are_mapped_as_in_check(tmp_path, bundle):
    given = [{"q": "Well?", "good": SCIENCE, "bad": GAMING, "who": user} for user in ("ann", "bob")]
    path, out = write(tmp_path / "p.jsonl", [*given, {"q": "Well?", "good": 3, "bad": "x", "who": "ann"}]), "o.jsonl"
    mapped = [word for pair in ("user_id=who", "prompt=q", "chosen=good", "rejected=bad") for word in ("--map", pair)]
    asked = ("relabel", path, "--bundle", bundle, "--out", tmp_path / out)
    code, text = invoke(*asked, *mapped)
    assert (code, "1 bad rows" in text) == (3, True)
    rows = read(tmp_path / out)
    assert [(row["who"], row["chosen"], row["rejected"]) for row in rows] == [
        ("ann", SCIENCE, GAMING), ("bob", GAMING, SCIENCE),
    ]  # fmt: skip
    assert not {"q", "good", "bad"} & rows[0].keys()
    [fault] = read(tmp_path / "o_quarantine.jsonl")
    assert (fault["row"], fault["key"]) == (3, "good")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--map", "prompt=questoin"], "'questoin': mapped to prompt, but the file has no such column; did you mean"),
        (["--map", "prompt=question", "--map", "time=at"], "--map time=at: a row here has only: user, prompt, chosen"),
        (["--map", "user=who", "--user-column", "at"], "names the user's column 'who', and --user-column 'at'"),
        (["--map", "chosen=at"], "there is a column 'chosen' too"),
        (["--map", "prompt"], "write ROLE=COLUMN"),
    ],
)
def test_a_map_that_does_not_fit_says_why(tmp_path, bundle, words, told):
    path = write(tmp_path / "p.jsonl", [{"question": "Q", "chosen": "a", "rejected": "b", "who": "ann", "at": 1}])
    code, text = invoke("relabel", path, "--bundle", bundle, "--out", tmp_path / "o.jsonl", *words)
    assert (code, told in text) == (1, True), text


def test_a_wrong_mode_says_which_there_are(tmp_path, bundle):
    path = write(tmp_path / "p.jsonl", [pref()])
    code, text = invoke("relabel", path, "--bundle", bundle, "--out", tmp_path / "o.jsonl", "--mode", "flip")
    assert code == 1
    assert "--mode: Input should be 'keep', 'swap', 'weight' or 'drop'" in text


def test_pairs_asks_the_model_and_writes_the_rows(tmp_path, bundle, monkeypatch):
    sampler = ScriptedSampler([SCIENCE, GAMING])
    sampler.close = lambda: None
    asked = []
    monkeypatch.setattr(stage, "engine_of", lambda *args: asked.append(args) or sampler)
    path, out = write(tmp_path / "p.jsonl", [{"prompt": "Well?", "user": "bob"}]), tmp_path / "o.jsonl"
    code, text = invoke("pairs", path, "--bundle", bundle, "--model", "simulator_lm", "--n", 2, "--out", out)
    assert code == 0, text
    assert asked[0][0].name == "simulator_lm"
    assert [(row["chosen"], row["margin"]) for row in read(out)] == [(GAMING, 2.0)]
    path = write(tmp_path / "q.jsonl", [{"question": "Well?", "who": "bob"}])
    mapped = ("--map", "prompt=question", "--map", "user=who")
    code, text = invoke("pairs", path, "--bundle", bundle, "--model", "simulator_lm", "--n", 2, "--out", out, *mapped)
    assert code == 0, text
    assert [(row["who"], row["bare_prompt"], row["chosen"]) for row in read(out)] == [("bob", "Well?", GAMING)]
    assert f"1 rows in {out}" in text
