import json
from dataclasses import replace

import pytest
import yaml

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.backends.logprob.vllm_logprob import VllmOptions
from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import DataError, ScoreError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.evidence import items_of
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.types import Pair, Persona, RewardRequest, Ugc, UserState
from tests.profiles.store_samples import new_store


def directions(space, **by_id):
    return tuple(by_id.get(dim, 0) for dim in space.ids)


def pairs(votes, n=3, prompt="q"):
    return tuple(Pair(prompt, f"yes {i}", "no", votes) for i in range(n))


@pytest.fixture
def folder(tmp_path, space):
    first, second = space.ids[0], space.ids[1]
    likes = directions(space, **{first: 1})
    people = [
        User(Persona("ann", directions=likes), "cats"),
        User(Persona("bob", pairs=pairs(directions(space, **{second: -1})), demo="Bob."), "dogs"),
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
    assert bundle.users["bob"].persona.pairs[0].chosen == "yes 0"
    assert bundle.users["eve"].group == "all"
    assert bundle.groups == ["all", "cats", "dogs"]
    assert bundle.method.config.beta == 0.5


def test_states_are_the_persons_own_and_a_strangers_is_the_prior(folder):
    bundle = load_bundle(folder)
    state = bundle.state("ann")
    assert state.known
    assert state.user_id == "ann"
    assert bundle.state("ann") is state
    prior = replace(bundle.method.prior(), version=0, status="cold", known=False)
    for unknown in (None, "zoe"):
        assert bundle.state(unknown) == prior


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
    first = bundle.state("ann")
    bundle.state("bob")
    assert [user for user, _ in bundle._states_kept] == ["bob"]
    assert len(bundle.user_states) == 1
    assert bundle.state("ann") == first


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
        def logprob(self, prompts, responses, finished=None):
            return [SequenceLogProb(-float(len(r)), -2.0 * len(r), len(r)) for r in responses]

    bundle = load_bundle(folder)
    bundle.__dict__["_backends"] = Backends(logprob=Letters())
    rows = [("ann", "p", "aaaa"), (None, "p", "a"), ("bob", "p", "aa")]
    results = bundle.score([RewardRequest(*row) for row in rows])
    assert [result.reward for result in results] == [2.0, 0.5, 1.0]
    assert [result.status for result in results] == ["ok", "cold", "ok"]
    traces = [result.trace for result in results]
    assert [(t.user, t.user_known, t.group) for t in traces] == [
        ("ann", True, "cats"), (None, False, "unknown"), ("bob", True, "dogs"),
    ]  # fmt: skip
    assert [(t.state_version, t.inputs, len(t.evidence)) for t in traces] == [
        (0, {"n_items": 0}, 0), (0, {"n_items": 0}, 0), (0, {"n_items": 3}, 3),
    ]  # fmt: skip
    assert bundle.score([]) == []


def test_the_logged_dimensions_are_those_that_people_have(folder, space):
    assert load_bundle(folder).log_dims == [space.ids[0]]
    assert load_bundle(edit(folder, log_dims=[space.ids[7]])).log_dims == [space.ids[7]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metod": {}}, "bundle.yaml, key 'metod'.*did you mean 'method'"),
        ({"method": {"name": "pbx"}}, "key 'method'.*there is: .*pba"),
        ({"method": {"name": "pba", "betta": 1}}, r"key 'method\.betta': .*did you mean 'beta'"),
        ({"method": {}}, "key 'method'"),
        ({"inferrer": {"name": "guess"}}, "key 'inferrer'.*there is: .*vote"),
        ({"inferrer": {"name": "posterior", "wrong": -1}}, r"key 'inferrer\.wrong'"),
        ({"inferrer_dir": "none"}, "key 'inferrer_dir'.*no such folder"),
        ({"inferrer": None, "inferrer_dir": "."}, "key 'inferrer_dir'.*inferrer is null"),
        ({"inferrer_dir": "."}, r"config\.json: no saved inferrer posterior here"),
        ({"refresh": -1}, "key 'refresh'"),
        ({"profiles": "tape:people"}, "key 'profiles'.*there is: arrow:PATH"),
        ({"profiles": "arrow:none.arrow"}, r"none\.arrow: there is no profile store here"),
        (
            {"profiles": "sqlite:p", "inferrer": {"name": "vote"}},
            "key 'profiles'.*'posterior', this bundle's is 'vote'",
        ),
        ({"profiles": "sqlite:p", "inferrer": None}, "key 'profiles'.*this bundle's is null"),
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
        ({"ugc": []}, "row 2, key 'user_id': the user is missing"),
        ({"user_id": 7.5}, "row 2, key 'user_id'"),
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


def test_by_default_directions_come_from_a_posterior_that_nobody_fitted(folder):
    bundle = load_bundle(folder)
    assert (bundle.inferrer.name, bundle.inferrer.fitted) == ("posterior", {})
    assert load_bundle(edit(folder, inferrer={"name": "vote"})).inferrer.name == "vote"


def test_an_inferrer_that_learned_comes_from_its_folder_with_its_config(folder, space):
    config = PosteriorConfig(claim=100.0)
    PosteriorInferrer(config, space).save(folder / "learned")
    bundle = load_bundle(edit(folder, inferrer_dir="learned"))
    assert bundle.inferrer.config == config
    assert not any(bundle.directions("bob"))
    asked = {"name": "posterior", "claim": 100.0}
    assert load_bundle(edit(folder, inferrer=asked)).inferrer.config == config
    with pytest.raises(
        DataError, match=r"key 'inferrer': claim is 3.0 here, and 100.0 in .*/bundle/learned: fit it again"
    ):
        load_bundle(edit(folder, inferrer={"name": "posterior", "claim": 3}))


@pytest.mark.parametrize(
    "form", ["sqlite:people.sqlite", "people.sqlite", "sqlite:{}/people.sqlite", "{}/people.sqlite"]
)
def test_a_path_of_a_store_is_relative_to_the_bundle(folder, form, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    new_store(folder, "people.sqlite")
    bundle = load_bundle(edit(folder, profiles=form.format(folder)))
    assert bundle.store.where == str(folder / "people.sqlite")


def test_whom_only_the_store_knows_is_in_the_group_of_everybody(folder, space):
    like = directions(space, **{space.ids[2]: 1})
    bundle = load_bundle(edit(folder, profiles=new_store(folder)))
    tally = bundle.user_states.stateful.tally(Persona("new", pairs=pairs(like)))
    bundle.store.put([bundle.user_states.stateful.state("new", tally, 3)])
    inferred = bundle.inferred("new")
    assert (inferred.directions, inferred.version, bundle.group_of(inferred)) == (like, 3, "all")
    assert "all" in bundle.groups
    assert bundle.state("new").payload["directions"] == list(like)
    assert bundle.render("new", "Hello?") != bundle.render(None, "Hello?")
    assert bundle.group_of(bundle.inferred("zoe")) == "unknown"


def test_a_state_that_cannot_be_read_is_an_error_of_its_row_and_not_the_prior(folder):
    bundle = load_bundle(edit(folder, profiles=new_store(folder)))
    bundle.store.put([UserState("tastes", "ann", {"x": 1})])
    for call in (bundle.state, bundle.directions, bundle.profile, bundle.persona):
        with pytest.raises(DataError, match="user 'ann' was written by 'tastes', not 'posterior': infer the user"):
            call("ann")
    with pytest.raises(ScoreError, match="user 'ann' was written by 'tastes'"):
        bundle.score([RewardRequest("bob", "p", "r"), RewardRequest("ann", "p", "r")])


def test_a_state_is_adapted_again_only_when_the_directions_changed(folder, space):
    bundle = load_bundle(edit(folder, profiles=new_store(folder), refresh=0))
    before = bundle.state("bob")
    tally, _ = bundle.user_states.tally("bob")
    posterior = bundle.user_states.stateful
    bundle.store.put([posterior.state("bob", tally, 1)])
    after = bundle.state("bob")
    assert after.payload is before.payload
    assert (before.version, after.version) == (0, 1)
    tally.add(items_of(Persona("bob", pairs=pairs(directions(space, **{space.ids[4]: 1}), prompt="r")), len(space)))
    bundle.store.put([posterior.state("bob", tally, 2)])
    assert bundle.state("bob").payload["directions"][4] == 1
    bundle.store.erase(["bob"])
    assert bundle.state("bob") == replace(bundle.method.prior(), version=0, status="erased", known=False)
    assert not bundle._states_kept


def test_directions_that_depend_on_the_prompt_are_kept_by_prompt(folder, space):
    bundle = load_bundle(folder)
    asked = []

    class ByPrompt(Inferrer):
        """Likes dimension 0 under prompts that say so."""

        name = "by_prompt"
        by_prompt = True

        def items(self, persona):
            return []

        def read(self, items, persona, prompt):
            asked.append(prompt)
            return Posterior(((0.0, 0.0, 1.0),) * len(space), (int("yes" in prompt), *space.neutral[1:]), n_items=1)

    bundle.__dict__["inferrer"] = ByPrompt(None, space)
    assert bundle.directions("bob", "yes?")[0] == 1
    assert bundle.directions("bob", "no?")[0] == 0
    assert bundle.state("bob", "yes?") != bundle.state("bob", "no?")
    assert bundle.profile("bob", "yes?") in bundle.render("bob", "yes?")
    assert bundle.render("bob", "yes?").replace("yes?", "no?") != bundle.render("bob", "no?")
    assert asked == ["yes?", "no?"]
    assert bundle.directions("ann", "no?")[0] == 1, "given directions do not depend on anything"


def test_the_users_file_may_be_empty_where_a_store_has_the_people(tmp_path):
    folder = write_bundle(tmp_path, [], method="pba", profiles=new_store(tmp_path), relative_to=tmp_path)
    assert load_bundle(folder).users == {}
    with pytest.raises(DataError, match="the file is empty"):
        load_bundle(edit(folder, profiles=None))


@pytest.fixture
def models(folder):
    for name in ("p", "r"):
        (folder / name).mkdir()
    return folder


def test_the_engine_that_gives_log_probs_is_the_bundles(models):
    folder = models
    here = load_bundle(edit(folder, policy="p", reference="r", engine_options={"cache_bytes": 7, "truncate": "left"}))
    made = here._backends.logprob
    assert (type(made).__name__, made.policy, made.truncate) == ("TransformersLogProb", str(here.path("p")), "left")
    settings = {"max_length": 90, "block_size": 64}
    there = load_bundle(edit(folder, engine="vllm", engine_options=settings))._backends.logprob
    assert (type(there).__name__, there.dtype) == ("VllmLogProb", "float32")
    assert there.options == VllmOptions(max_length=90, block_size=64)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            {"engine_options": {"block_size": 64}},
            r"engine transformers: block_size: there is no such key; .*batch_tokens",
        ),
        *[
            (
                {"engine": engine, "engine_options": options},
                rf"engine {engine}: {key}: there is no such key; .*max_len",
            )
            for engine in ("transformers", "vllm")
            for key, options in (
                ("extra", {"extra": {"trust_remote_code": True}}),
                ("trust_remote_code", {"trust_remote_code": True}),
                ("tokenizer", {"tokenizer": "elsewhere"}),
            )
        ],
        ({"engine": "vllm", "device": "cpu"}, "engine vllm chooses its device itself"),
        ({"engine": "vllm", "dtype": "float64"}, "has no float64"),
    ],
)
def test_what_an_engine_does_not_take_is_named(models, keys, problem):
    with pytest.raises(DataError, match=problem):
        load_bundle(edit(models, policy="p", **keys))._backends  # noqa: B018
