"""Labels of prompt rows against a bundle."""

import pytest

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import DataError
from persona_rm.hosts.command_records import DataColumns
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.label_check import label_column, label_report
from persona_rm.types import Persona
from tests.profiles.store_samples import new_store


@pytest.fixture
def bundle(tmp_path, space):
    folder = tmp_path / "bundle"
    users = [User(Persona(name, directions=space.neutral), group) for name, group in (("ann", "a"), ("bob", "b"))]
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "encoder"}}
    return load_bundle(write_bundle(folder, users, profiles=new_store(folder), relative_to=folder, **keys))


def table(*rows):
    return [JsonRow(row, "prompts.jsonl", number) for number, row in enumerate(rows, 1)]


def columns(label=None):
    return DataColumns(None, {"prompt": "prompt"}, {"prompt": "data.input_key"}, frozenset(), "data.label_key", label)


def test_every_label_is_counted_by_its_kind(bundle):
    rows = table({"who": "ann"}, {"who": {"user": "bob"}}, {"who": "zoe"}, {"who": None}, {"who": "[junk"})
    report = label_report(rows, "who", bundle)
    assert report.counts == {"known": 2, "unknown": 1, "missing": 1, "bad": 1}
    assert report.line() == (
        "2 of 5 labels name a user of the bundle (2 users); 1 name another user, 1 name none, 1 cannot be read"
    )


def test_an_erased_user_is_unknown(bundle):
    bundle.store.erase(["bob"])
    report = label_report(table({"who": "ann"}, {"who": "bob"}), "who", bundle)
    assert report.kinds == ["known", "unknown"]


def test_labels_of_which_none_is_known_are_refused_with_both_sides(bundle):
    with pytest.raises(DataError, match=r"row 1, key 'who'.*0 of 1 labels.*such as 'Ann'; did you mean 'ann'.*'bob'"):
        label_report(table({"who": "Ann"}), "who", bundle)


def test_few_rows_hold_every_group_and_kind_and_many_users(bundle):
    labels = ["ann"] * 50 + ["bob"] + ["zoe", "yan"] * 20 + [None]
    report = label_report(table(*({"who": label} for label in labels)), "who", bundle)
    drawn = report.spread(8)
    assert len(drawn) == len(set(drawn)) == 8
    assert drawn == sorted(drawn)
    assert {labels[place] for place in drawn} == {"ann", "bob", "zoe", "yan", None}
    assert report.spread(1000) == list(range(len(labels)))


def test_a_command_without_a_label_column_gets_the_one_with_known_users_and_is_told(bundle):
    rows = table({"prompt": "p", "topic": "x", "who": "ann"}, {"prompt": "q", "topic": "y", "who": "bob"})
    column, [told] = label_column(rows, columns(), bundle)
    assert column == "who"
    assert told.startswith("data.label_key: nothing -> who: without this flag every answer gets the population prior")


def test_a_label_column_that_is_not_there_names_the_one_that_is(bundle):
    rows = table({"prompt": "p", "who": "ann"})
    with pytest.raises(DataError, match=r"--data\.label_key names it.*users of the bundle are in the column 'who'"):
        label_column(rows, columns("label"), bundle)
    with pytest.raises(DataError, match=r"no column of the file holds users.*add a column with the user of each row"):
        label_column(table({"prompt": "p"}), columns(), bundle)
    assert label_column(rows, columns("who"), bundle) == ("who", [])
