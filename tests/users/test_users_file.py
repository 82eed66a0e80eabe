"""The strict reader of a bundle's own users file."""

import json

import pytest

from persona_rm import DataError, Pair, read_users


def read(tmp_path, space, **row):
    path = tmp_path / "users.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [user] = read_users(path, space)
    return user.persona


def test_empty_responses_null_and_strength(tmp_path, space):
    pairs = [{"prompt": "p", "chosen": "", "rejected": "b", "created": None, "strength": 2}]
    persona = read(tmp_path, space, user_id="ann", pairs=pairs, ugc=None, demo=None)
    assert persona.pairs == (Pair("p", "", "b", strength=2.0),)


def test_a_whole_number_is_an_id(tmp_path, space):
    assert read(tmp_path, space, user_id=17).user_id == "17"
    for wrong in (1.5, True, "", None):
        with pytest.raises(DataError, match=r"users\.jsonl, row 1, key 'user_id'"):
            read(tmp_path, space, user_id=wrong)


@pytest.mark.parametrize("strength", [-1, True, "2", float("nan"), float("inf")])
def test_a_wrong_strength(tmp_path, space, strength):
    pairs = [{"prompt": "p", "chosen": "a", "rejected": "b", "strength": strength}]
    with pytest.raises(DataError, match=r"row 1, key 'pairs\[0\]\.strength': a strength is a number of 0 "):
        read(tmp_path, space, user_id="ann", pairs=pairs)
