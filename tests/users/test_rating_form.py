"""Ratings become comparisons within user and prompt."""

import json

import pytest

from persona_rm import DataError, Pair
from persona_rm.users.rating_form import PARTNERS, Rating, sampled
from persona_rm.users.read_file import read_users_data


def read(tmp_path, *ratings):
    rows = [dict(zip(("user", "prompt", "response", "rating", "time"), rating, strict=False)) for rating in ratings]
    path = tmp_path / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_users_data(path)


def kinds(data):
    return {finding.kind: finding.count for finding in data.findings}


def test_the_higher_rating_is_chosen_and_the_difference_is_the_strength(tmp_path):
    data = read(
        tmp_path, ("u", "p", "good", 5, "2024-01-01"), ("u", "p", "bad", 1, "2024-01-02"), ("u", "p", "fair", 5)
    )
    assert data.users[0].persona.pairs == (
        Pair("p", "good", "bad", None, "2024-01-02", 4.0),
        Pair("p", "good", "fair", None, "2024-01-01", 0.0),
        Pair("p", "fair", "bad", None, "2024-01-02", 4.0),
    )
    assert data.summary().startswith(
        "ratings.jsonl: 3 ratings, from which come 3 comparisons of 1 user (one row per rat"
    )


def test_ratings_are_compared_within_a_user_and_a_prompt_only(tmp_path):
    data = read(tmp_path, ("u", "p", "a", 5), ("u", "q", "b", 1), ("v", "p", "b", 1))
    assert data.n_pairs == 0
    assert kinds(data)["lone_rating"] == 3
    assert len(data.users) == 2


@pytest.mark.parametrize(
    ("up", "down"), [("agree", "disagree"), ("Like", "Dislike"), (True, False), ("thumbs up", "thumbs-down"), (1, -1)]
)
def test_agreement_in_words(tmp_path, up, down):
    data = read(tmp_path, ("u", "p", "a", down), ("u", "p", "b", up))
    assert data.users[0].persona.pairs == (Pair("p", "b", "a", strength=2.0),)


def test_no_opinion_is_no_rating_and_a_later_rating_counts(tmp_path):
    data = read(tmp_path, ("u", "p", "a", "pass"), ("u", "p", "b", 1), ("u", "p", "c", 0), ("u", "p", "b", -1))
    assert data.users[0].persona.pairs == (Pair("p", "c", "b", strength=1.0),)
    assert (kinds(data)["no_opinion"], kinds(data)["changed_rating"]) == (1, 1)


def test_a_rating_in_other_words(tmp_path):
    with pytest.raises(DataError, match=r"key 'rating': a rating is a number, or one of: agree,.* mean 'agree'"):
        read(tmp_path, ("u", "p", "a", "agreed"))


def test_many_ratings_of_a_prompt_give_a_bounded_number_of_comparisons(tmp_path):
    data = read(tmp_path, *(("u", "p", f"text {number}", number % 2) for number in range(200)))
    pairs = data.users[0].persona.pairs
    assert 200 <= len(pairs) <= 200 * PARTNERS
    assert {text for pair in pairs for text in (pair.chosen, pair.rejected)} == {f"text {n}" for n in range(200)}
    assert all(pair.strength == 1 for pair in pairs)
    assert len({(pair.chosen, pair.rejected) for pair in pairs}) == len(pairs)
    assert kinds(data)["many_ratings"] == 1


def test_the_comparisons_do_not_depend_on_the_order_of_rows():
    ratings = [Rating(f"text {number}", number % 3, None) for number in range(40)]
    one, other = ({frozenset(pair) for pair in sampled(rows)} for rows in (ratings, ratings[::-1]))
    assert one == other
    assert list(sampled([Rating(str(number), 1.0, None) for number in range(20)])) == []


def test_a_rating_that_float_cannot_hold_is_a_bad_row_and_spaces_are_none(tmp_path):
    good = [("u", "p", f"r{number}", f" {number} ") for number in range(10)]
    data = read(tmp_path, *good * 3, ("u", "p", "huge", 10**400))
    assert data.n_pairs == 45
    [example] = [finding.examples[0] for finding in data.findings if finding.kind == "unreadable"]
    assert "row 31, key 'rating': must be a finite number, found int" in example
