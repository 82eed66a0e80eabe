"""How much is known about each user of a users file or a bundle."""

import json

import pytest

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.bundle.user_overview import overviews, totals
from persona_rm.errors import DataError
from persona_rm.types import Pair, Persona, Ugc
from tests.profiles.store_samples import new_store


@pytest.fixture
def ann(space):
    up = (1, *[0] * (len(space) - 1))
    pairs = tuple(Pair(f"q{i}", "yes", "no", up, f"2026-0{i + 1}-05") for i in range(3))
    return User(Persona("ann", (Ugc("q", "c", up, "2025-12-01"),), pairs), "cats")


def test_a_users_file_is_listed_with_sizes_dates_and_groups(tmp_path):
    path = tmp_path / "users.jsonl"
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "created": "2026-05-01"}
    rows = [
        {"user_id": "ann", "pairs": [pair, {**pair, "created": "2026-01-01"}], "group": "cats"},
        {"user_id": "bob"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ann, bob = overviews(path)
    assert (ann.pairs, ann.texts, ann.first, ann.last, ann.group) == (2, 0, "2026-01-01", "2026-05-01", "cats")
    assert (bob.items, bob.first, bob.directions) == (0, None, None)
    assert totals([ann, bob]) == "2 users, 2 comparisons, 0 texts; 1 user without evidence (a tie is none)"


def test_a_bundle_is_listed_with_inferred_directions_and_users_of_its_store(tmp_path, space, ann):
    folder = tmp_path / "bundle"
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, "profiles": new_store(folder)}
    users = [ann, User(Persona("gone", directions=ann.persona.pairs[0].directions))]
    bundle = load_bundle(write_bundle(folder, users, relative_to=folder, **keys))
    posterior = bundle.user_states.stateful
    bundle.store.put([posterior.state("new", posterior.tally(ann.persona), 1)])
    bundle.store.erase(["gone"])
    rows = {row.user_id: row for row in overviews(folder)}
    assert rows.keys() == {"ann", "new"}
    assert (rows["ann"].directions, rows["ann"].items, rows["ann"].group) == (1, 4, "cats")
    assert (rows["new"].directions, rows["new"].items, rows["new"].pairs) == (1, 4, 0)


def test_ties_are_comparisons_and_no_evidence(tmp_path):
    pairs = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b", "strength": int(i > 1)} for i in range(3)]
    rows = [{"who": "ann", "pairs": pairs}, {"who": "bob", "pairs": pairs[:1]}]
    path = tmp_path / "users.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ann, bob = overviews(path, {"user": "who"})
    assert (ann.pairs, ann.ties, ann.items) == (3, 2, 1)
    assert (bob.pairs, bob.ties, bob.items) == (1, 1, 0)
    said = "2 users, 4 comparisons (3 of them ties), 0 texts; 1 user without evidence (a tie is none)"
    assert totals([ann, bob]) == said


def test_a_bundle_has_no_columns_to_rename(tmp_path, ann):
    folder = write_bundle(tmp_path / "b", [ann], relative_to=tmp_path, method={"name": "bradley_terry"}, inferrer=None)
    with pytest.raises(DataError, match="leave out --map"):
        list(overviews(folder, {"user": "who"}))
