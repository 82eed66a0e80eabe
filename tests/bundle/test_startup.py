import pytest

from persona_rm.bundle import load_bundle, write_bundle
from persona_rm.bundle.startup import some_users, startup_check
from persona_rm.errors import ScoreError
from persona_rm.types import Persona


def bundle(folder, space, n=7, **keys):
    users = [Persona(f"u{i}", directions=space.parse("Likes Science")) for i in range(n)]
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, **keys}
    return load_bundle(write_bundle(folder, users, **keys))


def test_an_unknown_user_known_ones_and_empty_responses_are_scored(tmp_path, space):
    made = bundle(tmp_path, space)
    assert some_users(made) == ["u0", "u3", "u6"]
    results = startup_check(made)
    assert [result.trace.user for result in results] == [None, None, "u0", "u0", "u3", "u3", "u6", "u6"]
    assert [result.trace.user_known for result in results] == [False] * 2 + [True] * 6
    assert len(startup_check(made, ["u1"])) == 4


def test_one_user_is_scored_once(tmp_path, space):
    assert some_users(bundle(tmp_path, space, 1)) == ["u0"]
    assert some_users(bundle(tmp_path, space, 2)) == ["u0", "u1"]


def test_a_known_user_who_cannot_be_scored_is_named_with_the_cause(tmp_path, space):
    made = bundle(tmp_path, space, inferrer=None)
    made.users["u3"] = made.users["u3"].__class__(Persona("u3"))
    with pytest.raises(ScoreError, match=r"cannot score a response for user 'u3': .* has no directions") as caught:
        startup_check(made)
    assert caught.value.kind == "user"


def test_a_bundle_without_its_annotator_says_which_key_is_missing(tmp_path, space):
    with pytest.raises(
        ScoreError, match=r"for an unknown user: pba_linear needs an annotator.*`annotator` in bundle.yaml"
    ):
        startup_check(bundle(tmp_path, space, annotator=None))


def test_a_users_fault_has_a_cause_with_the_hash_of_the_user(tmp_path, space):
    from persona_rm.types import RewardRequest

    made = bundle(tmp_path, space, inferrer=None)
    made.users["u3"] = made.users["u3"].__class__(Persona("u3"))
    requests = [RewardRequest(user, "Hi", "Yes.") for user in ("u0", "u3", "u1")]
    with pytest.raises(ScoreError) as caught:
        made.score(requests)
    assert (caught.value.rows, caught.value.kind) == ((1,), "user")
    assert (
        caught.value.cause
        == f"pba_linear: user {made.log_ids.of('u3')} has no directions; run an inferrer first (vote, golden)"
    )
    assert "'u3'" in str(caught.value)
