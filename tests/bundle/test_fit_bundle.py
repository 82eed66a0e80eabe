"""A bundle of a team's own users: what is written, who is known, and that nothing else is read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from persona_rm.bundle import load_bundle, read_file
from persona_rm.bundle.fit_bundle import FittedBundle, fit_bundle
from persona_rm.bundle.known_users import known_users
from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import bare_item
from persona_rm.profiles import open_store
from persona_rm.report.user_words import lines_of, user_of_bundle
from persona_rm.types import Pair, Persona, RewardRequest, Ugc
from persona_rm.users.candidates import check_users, settings_of
from persona_rm.users.users_file import User

SHORT, LONG = "Yes.", "Yes, and there is a great deal more to be said about it, if you like."


def team() -> list[User]:
    """Three users prefer short answers, three long ones, and one has chosen nothing."""
    users = []
    for number in range(6):
        pairs = []
        for i in range(6):
            texts = (f"{SHORT} {i}", f"{LONG} {i}")
            first = number % 2
            pairs.append(Pair(f"question {i}?", texts[first], texts[1 - first]))
        users.append(User(Persona(f"u{number}", pairs=tuple(pairs)), "team"))
    return [*users, User(Persona("silent", ugc=(Ugc("q", "my secret text"),)))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FittedBundle:
    return fit_bundle(team(), tmp_path_factory.mktemp("fit") / "bundle", "centroid", keep_texts=False)


def test_users_are_known_without_their_texts(made: FittedBundle) -> None:
    assert (made.users, made.without_evidence, made.kept_texts) == (7, 1, False)
    assert set(made.scored) == {"known user", "unknown user", "empty response"}
    assert "question" not in (made.folder / "users.jsonl").read_text()
    assert b"question" not in (made.folder / "states.arrow").read_bytes()
    bundle = load_bundle(made.folder)
    requests = [RewardRequest(user, "new?", text) for user in ("u0", "u1", None) for text in (SHORT, LONG)]
    rewards = [result.reward for result in bundle.score(requests)]
    assert rewards[0] > rewards[1]
    assert rewards[2] < rewards[3]
    trace = bundle.score(requests[:1])[0].trace
    assert (trace.status, trace.state_version, trace.user_known, trace.group) == ("ok", 1, True, "team")
    assert trace.evidence == tuple(bare_item(item).id for item in team()[0].persona.items)
    assert trace.inputs["n_items"] == 6
    assert list(trace.parts) == ["pooled", "personal"]


def test_a_user_without_comparisons_and_an_unknown_one_get_the_prior(made: FittedBundle) -> None:
    bundle = load_bundle(made.folder)
    silent, unknown = bundle.score([RewardRequest(user, "new?", SHORT) for user in ("silent", "nowhere")])
    assert silent.reward == unknown.reward
    assert (silent.trace.status, silent.trace.user_known) == ("cold", True)
    assert (unknown.trace.status, unknown.trace.user_known) == ("cold", False)


def test_the_folder_names_no_simulator_and_can_be_moved(made: FittedBundle, tmp_path: Path) -> None:
    text = (made.folder / "bundle.yaml").read_text()
    assert "simulator" not in text
    assert str(made.folder) not in text
    file = read_file(made.folder)
    assert (file.inferrer, file.annotator, file.policy_prompt) == (None, None, "plain")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in made.folder.rglob("*"):
        if path.is_file():
            target = moved / path.relative_to(made.folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert load_bundle(moved).state("u0").n_items == 6


def test_an_erased_user_is_unknown_and_stays_so_in_the_next_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    fit_bundle(team(), folder, "centroid")
    assert "question" in (folder / "users.jsonl").read_text()
    bundle = load_bundle(folder)
    bundle.user_states.refresh = 0
    assert bundle.state("u0").known
    with open_store(f"arrow:{folder / 'states.arrow'}") as store:
        assert store.erase(["u0"]) == 1
    [result] = bundle.score([RewardRequest("u0", "new?", SHORT)])
    assert (result.trace.status, result.trace.user_known) == ("erased", False)
    assert known_users(bundle, ["u0", "u1", "nowhere"]) == {"u1"}
    again = fit_bundle(team(), folder, "centroid")
    assert (again.users, again.erased) == (6, 1)
    assert '"u0"' not in (folder / "users.jsonl").read_text()
    assert load_bundle(folder).inferred("u0").status == "erased"


def test_the_pooled_reward_is_the_prior_of_the_personal_method(made: FittedBundle, tmp_path: Path) -> None:
    fit_bundle(team(), tmp_path / "pooled", "bradley_terry", keep_texts=False)
    request = RewardRequest("nowhere", "new?", SHORT)
    [pooled], [prior] = (load_bundle(folder).score([request]) for folder in (tmp_path / "pooled", made.folder))
    assert pooled.reward == pytest.approx(prior.reward, abs=1e-9)


GAMES, NO_GAMES = "I love video games and I play them every night.", "I hate video games, they are a waste of time."


def gamers() -> list[User]:
    """Two users who want answers for and against games, one with the texts of the other team, and one without any."""
    ways = [(GAMES, NO_GAMES), (NO_GAMES, GAMES)]
    users = [User(Persona(f"g{n}", pairs=tuple(Pair(f"question {i}?", *ways[n]) for i in range(3)))) for n in range(2)]
    tie = Pair("q?", GAMES, NO_GAMES, strength=0)
    return [*users, User(Persona("mute", pairs=(Pair("q?", "7 8 9", "1 2 3"),))), User(Persona("tied", pairs=(tie,)))]


@pytest.mark.parametrize("keep", [True, False], ids=["texts", "no_texts"])
def test_directions_of_plain_text_are_read_without_a_language_model(tmp_path: Path, keep: bool) -> None:
    made = fit_bundle(gamers(), tmp_path / "bundle", "pba_linear", keep_texts=keep)
    assert (made.users, made.without_evidence) == (4, 2)
    file = read_file(made.folder)
    assert (file.annotator, file.inferrer) == ({"name": "encoder"}, None)
    assert ("I love" in (made.folder / "users.jsonl").read_text()) is keep
    bundle = load_bundle(made.folder)
    asked = [RewardRequest(user, "new?", text) for user in ("g0", "g1", "mute", None) for text in (GAMES, NO_GAMES)]
    rewards = [result.reward for result in bundle.score(asked)]
    assert rewards[0] > 0 > rewards[1]
    assert rewards[2] < 0 < rewards[3]
    assert rewards[4:] == [0.0] * 4
    trace = bundle.score(asked[:1])[0].trace
    assert trace.inputs["n_items"] == 3
    assert trace.parts["likes_gaming"] == 1.0
    assert bool(bundle.user_states.evidence(bundle.inferred("g0"))) is keep
    assert "Likes gaming" in "\n".join(lines_of(user_of_bundle(bundle, "g0")))


def test_an_annotator_that_reads_nothing_is_named_and_left_out_of_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = [
        User(Persona(f"m{n}", pairs=tuple(Pair(f"q {i}", f"7 8 {i}", f"1 {i} 3") for i in range(5)))) for n in range(4)
    ]
    with pytest.raises(DataError, match="'encoder' reads no preference in the texts of these 4 users"):
        fit_bundle(mute, tmp_path / "bundle", "pba_linear")
    assert not (tmp_path / "bundle").exists()
    left_out = check_users(mute).to_dict()["methods_left_out"]
    assert "reads no preference" in left_out["pba_linear"]
    check = check_users(team())
    assert (check.methods_left_out, check.figures["pba_linear"].n) == ({}, check.n_pairs)
    assert "pba_linear" not in check_users(team(), annotate=False).figures
    monkeypatch.setattr("persona_rm.users.candidates.MOST_ANNOTATED", 3)
    many = check_users(team())
    assert "which takes longer than the rest of the check" in many.methods_left_out["pba_linear"]
    assert "pba_linear" not in many.figures
    assert "pba_linear" in check_users(team(), annotate=True).figures


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="method 'pba' is not fitted on comparisons alone; there is: auto, centroid, bradley"
    ):
        settings_of("pba")
    tie = User(Persona("ann", pairs=(Pair("q", "same", "same"),)))
    for users in ([], [tie]):
        with pytest.raises(DataError, match="no user has a comparison"):
            fit_bundle(users, tmp_path / "none", "centroid")
        with pytest.raises(DataError, match="no user has a comparison"):
            check_users(users)
    assert not (tmp_path / "none").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and holds no bundle"):
        fit_bundle(team(), tmp_path, "centroid")
    with pytest.raises(DataError, match="this is a file"):
        fit_bundle(team(), tmp_path / "notes.txt", "centroid")


def test_states_of_another_method_are_refused(tmp_path: Path) -> None:
    folder = fit_bundle(team(), tmp_path / "bundle", "bradley_terry").folder
    text = (folder / "bundle.yaml").read_text()
    (folder / "bundle.yaml").write_text(text.replace("method_dir: method", "method_dir: null").replace(
        "name: bradley_terry", "name: centroid"))  # fmt: skip
    with pytest.raises(DataError, match="fitted by 'bradley_terry', the bundle's method is 'centroid'"):
        load_bundle(folder).state("u0")
    (folder / "states.arrow").unlink()
    with pytest.raises(DataError, match=r"states\.arrow"):
        load_bundle(folder)


def test_a_check_samples_whole_users() -> None:
    users = [replace(user, persona=replace(user.persona, user_id=f"{user.persona.user_id}-{copy}"))
             for copy in range(3) for user in team()]  # fmt: skip
    check = check_users(users, sample=12)
    assert (check.n_users, check.n_pairs) == (12, 72)
    assert json.loads(json.dumps(check.to_dict()))["personal_method"] == "centroid"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return fit_bundle(team(), tmp_path / "bundle", "centroid").folder


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "junk", "a list"])
@pytest.mark.parametrize(
    "name", ["bundle.yaml", "users.jsonl", "states.arrow", "method/config.json", "method/weights.safetensors"]
)
def test_a_damaged_file_of_a_bundle_is_named(whole: Path, name: str, damage: str) -> None:
    path = whole / name
    content = {"cut": path.read_bytes()[:30], "empty": b"", "junk": b"\x00\xffjunk" * 9, "a list": b"[1, 2]"}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[damage])
    with pytest.raises(DataError) as raised:
        load_bundle(whole).score([RewardRequest("u1", "q", "a")])
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": {"l3": 1}}, "key 'config': not the settings of centroid, or those of another version"),
        ({"config": [1]}, "key 'config': not the settings of centroid"),
        ({"method": "pba"}, "key 'method': this was saved by 'pba', not 'centroid'"),
    ],
)
def test_settings_of_another_version_are_refused(whole: Path, change: dict[str, object], says: str) -> None:
    path = whole / "method" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=says):
        load_bundle(whole).score([RewardRequest("u1", "q", "a")])


def test_an_interrupted_fit_leaves_no_bundle_of_two_fits(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("persona_rm.bundle.fit_bundle.write_snapshot", kill)
    with pytest.raises(KeyboardInterrupt):
        fit_bundle(team()[:3], whole, "centroid")
    with pytest.raises(DataError, match=r"no reward bundle here: `persona-rm bundle USERS --out FOLDER` writes one"):
        load_bundle(whole)
    monkeypatch.undo()
    assert fit_bundle(team()[:3], whole, "centroid").users == 3
    assert load_bundle(whole).inferred("u1").known


def test_a_file_is_no_bundle(whole: Path) -> None:
    with pytest.raises(DataError, match=r"users\.jsonl: this is a file, and a bundle is a folder"):
        load_bundle(whole / "users.jsonl")
    with pytest.raises(DataError, match=r"did you mean 'centroid'\?"):
        settings_of("Centriod")
