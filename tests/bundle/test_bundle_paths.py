"""Paths in a bundle are relative to it, so that a folder with all its parts can be moved."""

import json
import shutil
from importlib.resources import files

import pytest
import yaml

from persona_rm.bundle import User, load_bundle, read_file, write_bundle
from persona_rm.errors import DataError
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.profiles import open_store
from persona_rm.types import Pair, Persona, RewardRequest
from tests.profiles.store_samples import new_store

METHOD = """
import json
from typing import ClassVar

from persona_rm import Method, UserState
from persona_rm.config import Config, PathText


class LengthConfig(Config):
    weights: PathText


class Length(Method):
    name: ClassVar[str] = "length"
    Config = LengthConfig

    def adapt(self, evidence, state=None):
        return UserState(self.name, evidence.user_id, {"up": sum(evidence.directions or ())}, 1)

    def rewards(self, states, requests):
        weight = json.loads(open(self.config.weights).read())["weight"]
        return [
            self.result(state, request, weight * (1 + state.payload.get("up", 0)) * len(request.response))
            for state, request in zip(states, requests)
        ]

    def save(self, folder):
        super().save(folder)
"""


@pytest.fixture
def full(tmp_path, space):
    """A bundle whose parts all lie in its folder; write_bundle gets their absolute paths."""
    folder = tmp_path / "here" / "bundle"
    folder.mkdir(parents=True)
    (folder / "length.py").write_text(METHOD)
    (folder / "weights.json").write_text('{"weight": 0.5}')
    (folder / "my_space.yaml").write_text("name: mine\nextends: alignx90\n")
    shutil.copy(str(files("persona_rm") / "prompts" / "released.yaml"), folder / "my_prompts.yaml")
    shutil.copy(str(files("persona_rm") / "annotators" / "encoder_thresholds.yaml"), folder / "thresholds.yaml")
    likes = (1, *[0] * (len(space) - 1))
    mine = load_bundle_space(folder)
    PosteriorInferrer(PosteriorConfig(), mine).save(folder / "learned")
    users = [
        User(Persona("ann", directions=likes)),
        Persona("bob", pairs=tuple(Pair("q", f"yes {i}", "no", likes) for i in range(3))),
    ]
    new_store(folder, "users.sqlite")
    write_bundle(
        folder, users, method={"name": f"{folder}/length.py:Length", "weights": f"{folder}/weights.json"},
        space=str(folder / "my_space.yaml"), prompts=str(folder / "my_prompts.yaml"),
        inferrer_dir=str(folder / "learned"), profiles=f"sqlite:{folder}/users.sqlite",
        annotator={"name": "encoder", "thresholds": str(folder / "thresholds.yaml")},
        universal={"method": {"name": f"{folder}/length.py:Length", "weights": "weights.json"}}, relative_to=folder,
    )  # fmt: skip
    return folder


def load_bundle_space(folder):
    from persona_rm.space import load_space

    return load_space(folder / "my_space.yaml")


def scored(folder):
    bundle = load_bundle(folder)
    requests = [RewardRequest(user, "p", "four") for user in ("ann", "bob", None)]
    results = [bundle.score(requests)[i].reward for i in range(3)], bundle.render("ann", "Hi?")
    return *results, bundle.universal.score([bundle.universal.prior()], requests[:1])[0].reward


def test_what_lies_in_the_folder_is_written_relative_to_it(full):
    text = (full / "bundle.yaml").read_text()
    assert str(full) not in text
    content = yaml.safe_load(text)
    assert content["method"] == {"name": "length.py:Length", "weights": "weights.json"}
    assert content["universal"]["method"] == {"name": "length.py:Length", "weights": "weights.json"}
    assert content["annotator"] == {"name": "encoder", "thresholds": "thresholds.yaml"}
    assert content["profiles"] == "sqlite:users.sqlite"
    assert (content["space"], content["prompts"]) == ("my_space.yaml", "my_prompts.yaml")
    assert content["inferrer_dir"] == "learned"


def test_a_bundle_that_was_moved_gives_the_same_rewards(full, tmp_path, monkeypatch):
    before = scored(full)
    assert before[0] == [4.0, 4.0, 2.0]
    moved = tmp_path / "there"
    shutil.move(full, moved)
    monkeypatch.chdir(tmp_path)
    assert scored(moved) == before
    file = read_file(moved)
    assert file.prompts == str(moved / "my_prompts.yaml")
    assert load_bundle(moved)._backends.reader.config.thresholds == str(moved / "thresholds.yaml")
    assert load_bundle(moved).store.where == str(moved / "users.sqlite")
    with open_store(f"sqlite:{moved}/users.sqlite") as store:
        assert store.get(["ann"]) == {}


def test_what_lies_elsewhere_stays_absolute_and_names_stay_names(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = write_bundle(
        tmp_path / "bundle", [], method={"name": "pba", "prompts": "paper"}, policy="models",
        profiles="sqlite:states.sqlite", relative_to=tmp_path,
    )  # fmt: skip
    content = yaml.safe_load((folder / "bundle.yaml").read_text())
    assert content["policy"] == str(tmp_path / "models")
    assert content["profiles"] == f"sqlite:{tmp_path}/states.sqlite"
    assert content["method"] == {"name": "pba", "prompts": "paper"}


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("./gone.py:Length", "key 'method': there is no file .*gone.py"),
        ("length.py:Lenght", r"key 'method': .*length\.py has no class 'Lenght'.*did you mean 'Length'"),
        (
            {"name": "length.py:Length", "wieghts": "x"},
            r"key 'method\.wieghts': there is no such key; there is: w",
        ),
        ("pbaa", "key 'method': no 'pbaa' in persona_rm.methods; .*did you mean 'pba'"),
        (7, "key 'method': a zoo member is its name, or a mapping"),
    ],
)
def test_what_is_wrong_with_a_member_names_file_and_key(full, method, says):
    content = yaml.safe_load((full / "bundle.yaml").read_text())
    (full / "bundle.yaml").write_text(yaml.safe_dump({**content, "method": method}))
    with pytest.raises(DataError, match=r"bundle\.yaml, " + says):
        load_bundle(full)


def test_a_misspelt_required_key_is_named_before_the_missing_one(full):
    content = yaml.safe_load((full / "bundle.yaml").read_text())
    content["metod"] = content.pop("method")
    (full / "bundle.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=r"key 'metod': there is no such key; there is: .*did you mean 'method'\?"):
        load_bundle(full)


def test_members_are_names_or_mappings(tmp_path):
    folder = write_bundle(tmp_path / "bundle", [Persona("ann")], method="contrast", annotator="encoder")
    assert read_file(folder).annotator == {"name": "encoder"}
    assert load_bundle(folder).method.name == "contrast"


def test_the_policy_reads_the_user_as_the_method_renders(tmp_path, space):
    pairs = tuple(Pair("q", f"yes {i}", "no", (0,) * len(space)) for i in range(6))
    user = Persona("bob", pairs=pairs, demo="Bob.", directions=(1, *[0] * (len(space) - 1)))
    bundle = load_bundle(
        write_bundle(tmp_path / "ica", [user], method={"name": "ica", "n_pairs": 2}, policy_prompt="method")
    )
    text = bundle.render("bob", "Hello?")
    assert text == bundle.method.render(bundle.state("bob"), "Hello?")
    assert "yes 1" in text
    assert "yes 2" not in text, "the items that the method reads, not all of them"
    assert bundle.render("zoe", "Hello?") == bundle.prompts.plain("Hello?")
    users = [user, Persona("cold")]
    own = load_bundle(write_bundle(tmp_path / "own", users, method="pba"))
    pba = load_bundle(write_bundle(tmp_path / "pba", users, method="pba", policy_prompt="method"))
    for name in ("bob", "cold", "zoe"):
        assert pba.render(name, "Hello?") == own.render(name, "Hello?"), name


def test_a_method_without_a_prompt_cannot_render_the_policys(tmp_path):
    folder = write_bundle(tmp_path / "b", [Persona("a")], method="pba_linear")
    says = "key 'policy_prompt': pba_linear renders no prompt; name the form"
    with pytest.raises(DataError, match=says):
        write_bundle(tmp_path / "c", [Persona("a")], method="pba_linear", policy_prompt="method")
    with (folder / "bundle.yaml").open("a") as stream:
        stream.write("policy_prompt: method\n")
    with pytest.raises(DataError, match=says):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("users", "method", "says"),
    [
        (["ann"], {"name": "pba", "betta": 0.1}, r"bundle\.yaml, key 'method\.betta': there is no such key"),
        (["ann", "bob", "ann"], "pba", r"users\.jsonl, row 3, key 'user_id': user 'ann' is already in row 1"),
        ([], "pba", r"users\.jsonl: no users were given, and the bundle names no profile store"),
        ([5.5], "pba", r"users\.jsonl, row 1, key 'user_id': a user is text"),
    ],
)
def test_what_cannot_be_read_is_not_written(tmp_path, users, method, says):
    with pytest.raises(DataError, match=says):
        write_bundle(tmp_path / "b", [Persona(user) for user in users], method=method)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_directions_that_cannot_be_read_leave_the_bundle_as_it_was(tmp_path, space):
    folder = write_bundle(tmp_path / "b", [Persona("ann")], method="pba")
    with pytest.raises(DataError, match="row 1, key 'directions': a direction is -1, 0 or 1, found 5"):
        write_bundle(folder, [Persona("bob", directions=(5,) * len(space))], method="contrast")
    bundle = load_bundle(folder)
    assert (list(bundle.users), bundle.method.name) == (["ann"], "pba")


def test_a_file_that_python_names_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "length.py").write_text(METHOD)
    (tmp_path / "weights.json").write_text('{"weight": 0.5}')
    monkeypatch.chdir(tmp_path)
    method = {"name": "./length.py:Length", "weights": "weights.json"}
    assert scored_alone(write_bundle("b", [Persona("ann")], method=method)) == 2.0
    with pytest.raises(DataError, match=r"no file .*b/length\.py; .* in Python, to the working directory or to `rel"):
        write_bundle("b", [Persona("ann")], method=method, relative_to=tmp_path / "b")


def scored_alone(folder):
    return load_bundle(folder).score([RewardRequest("ann", "p", "four")])[0].reward


def test_rows_of_the_users_file_stay_as_they_are(full):
    rows = [json.loads(line) for line in (full / "users.jsonl").read_text().splitlines()]
    assert [row["user_id"] for row in rows] == ["ann", "bob"]


def test_a_store_that_is_not_there_is_refused_and_not_created(tmp_path):
    new_store(tmp_path, "people.sqlite")
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, "relative_to": tmp_path}
    folder = write_bundle(tmp_path, [Persona("ann")], profiles="sqlite:peple.sqlite", **keys)
    with pytest.raises(DataError, match=r"peple\.sqlite: there is no profile store.*did you mean 'people\.sqlite'"):
        load_bundle(folder)
    assert not (tmp_path / "peple.sqlite").exists()
