import json

import pytest
import yaml

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import DataError
from persona_rm.types import Pair, Persona, Ugc


def directions(space, **by_id):
    return tuple(by_id.get(dim, 0) for dim in space.ids)


@pytest.fixture
def folder(tmp_path, space):
    first, second = space.ids[0], space.ids[1]
    likes = directions(space, **{first: 1})
    people = [
        User(Persona("ann", directions=likes), "cats"),
        User(Persona("bob", pairs=(Pair("q", "yes", "no", directions(space, **{second: -1})),), demo="Bob."), "dogs"),
        Persona("eve", ugc=(Ugc("q", "c"),)),
    ]
    return write_bundle(tmp_path / "bundle", people, method={"name": "pba", "beta": 0.5})


def edit(folder, **keys):
    path = folder / "bundle.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))
    return folder


def rewrite(folder, *rows):
    (folder / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_round_trip(folder, space):
    bundle = load_bundle(folder)
    assert bundle.users["ann"] == User(Persona("ann", directions=directions(space, **{space.ids[0]: 1})), "cats")
    assert bundle.users["bob"].persona.pairs[0].chosen == "yes"
    assert bundle.users["eve"].group == "all"
    assert bundle.groups == ["all", "cats", "dogs"]
    assert bundle.method.config.beta == 0.5


def test_states_are_the_persons_own_and_a_strangers_is_the_prior(folder):
    bundle = load_bundle(folder)
    state, known = bundle.state("ann")
    assert known
    assert state.user_id == "ann"
    assert bundle.state("ann")[0] is state
    for nobody in (None, "zoe"):
        assert bundle.state(nobody) == (bundle.method.prior(), False)


def test_directions_are_inferred_where_the_person_has_none(folder, space):
    bundle = load_bundle(folder)
    assert bundle.directions("bob") == directions(space, **{space.ids[1]: -1})
    assert bundle.directions("zoe") is None
    assert bundle.profile("bob") == space.describe(bundle.directions("bob")) != ""
    assert bundle.profile(None) == ""


def test_a_person_without_annotated_items_says_so(folder):
    with pytest.raises(DataError, match=r"eve.*carries no directions"):
        load_bundle(folder).state("eve")


def test_old_states_leave_first(folder):
    bundle = load_bundle(edit(folder, states=1))
    first, _ = bundle.state("ann")
    bundle.state("bob")
    assert list(bundle._states) == ["bob"]
    assert bundle.state("ann")[0] == first


def test_rendering(folder):
    bundle = load_bundle(folder)
    assert bundle.profile("ann") in bundle.render("ann", "Hello?")
    assert bundle.render("zoe", "Hello?") == bundle.render(None, "Hello?") == bundle.prompts.plain("Hello?")
    plain = load_bundle(edit(folder, policy_prompt="plain"))
    assert plain.render("ann", "Hello?") == plain.prompts.plain("Hello?")
    ica = load_bundle(edit(folder, policy_prompt="ica"))
    assert "Bob." in ica.render("bob", "Hello?")


def test_scores_come_in_the_order_of_the_rows(folder):
    class Letters:
        def logprob(self, prompts, responses):
            return [SequenceLogProb(-float(len(r)), -2.0 * len(r), len(r)) for r in responses]

    bundle = load_bundle(folder)
    bundle.__dict__["_backends"] = Backends(logprob=Letters())
    scores = bundle.score([("ann", "p", "aaaa"), (None, "p", "a"), ("bob", "p", "aa")])
    assert [s.rewards[0] for s in scores] == [2.0, 0.5, 1.0]
    assert [s.status for s in scores] == ["ok", "cold", "ok"]
    assert bundle.score([]) == []


def test_the_logged_dimensions_are_those_that_people_have(folder, space):
    assert load_bundle(folder).log_dims == [space.ids[0]]
    assert load_bundle(edit(folder, log_dims=[space.ids[7]])).log_dims == [space.ids[7]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metod": {}}, "bundle.yaml, key 'metod'.*keys are: method"),
        ({"method": {"name": "pbx"}}, "key 'method'.*there is: .*pba"),
        ({"method": {"name": "pba", "betta": 1}}, r"key 'method\.betta': .*keys are: .*beta"),
        ({"method": {}}, "key 'method'"),
        ({"inferrer": {"name": "guess"}}, "key 'inferrer'.*there is: .*vote"),
        ({"annotator": {"name": "guess"}}, "key 'annotator'"),
        ({"policy": "models/none"}, "key 'policy'.*no such folder"),
        ({"method_dir": "none"}, "key 'method_dir'.*no such folder"),
        ({"log_dims": ["shoe_size"]}, "key 'log_dims'.*'shoe_size' is no dimension"),
        ({"policy_prompt": "loud"}, "key 'policy_prompt'"),
        ({"states": "many"}, "key 'states'"),
        ({"users": "nobody.jsonl"}, "nobody.jsonl: no such file"),
    ],
)
def test_a_bundle_that_is_wrong_names_file_and_key(folder, keys, message):
    with pytest.raises(DataError, match=message):
        load_bundle(edit(folder, **keys))


def test_a_missing_or_broken_bundle(tmp_path):
    with pytest.raises(DataError, match=r"bundle\.yaml: no reward bundle here"):
        load_bundle(tmp_path)
    (tmp_path / "bundle.yaml").write_text("method: [")
    with pytest.raises(DataError, match="not YAML"):
        load_bundle(tmp_path)
    (tmp_path / "bundle.yaml").write_text("- a list")
    with pytest.raises(DataError, match=r"bundle\.yaml"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"ugc": []}, "row 2, key 'user_id': missing"),
        ({"user_id": 7}, "row 2, key 'user_id'"),
        ({"user_id": "ann"}, "row 2, key 'user_id': user 'ann' is already in row 1"),
        ({"user_id": "x", "age": 3}, "row 2, key 'age': unknown key"),
        ({"user_id": "x", "directions": [0] * 89}, "row 2, key 'directions': 89 directions.*has 90"),
        ({"user_id": "x", "directions": [0.7] + [0] * 89}, "row 2, key 'directions': .*found 0.7"),
        ({"user_id": "x", "directions": [True] + [0] * 89}, "row 2, key 'directions'"),
        ({"user_id": "x", "ugc": [{"prompt": "p"}]}, r"row 2, key 'ugc\[0\].comment': missing"),
        ({"user_id": "x", "pairs": [{"prompt": "p", "chosen": "c"}]}, r"row 2, key 'pairs\[0\].rejected'"),
        ({"user_id": "x", "pairs": "none"}, "row 2, key 'pairs'"),
    ],
)
def test_a_person_that_is_wrong_names_row_and_key(folder, row, message):
    with pytest.raises(DataError, match=r"users\.jsonl, " + message):
        load_bundle(rewrite(folder, {"user_id": "ann"}, row))


def test_a_cut_line_names_its_row(folder):
    (folder / "users.jsonl").write_text('{"user_id": "a"}\n{"user_id": "b", "dem')
    with pytest.raises(DataError, match=r"users\.jsonl, row 2: not JSON"):
        load_bundle(folder)


def test_writing_checks_its_keys(tmp_path):
    with pytest.raises(DataError, match="polcy"):
        write_bundle(tmp_path, [], method={"name": "pba"}, polcy="x")
