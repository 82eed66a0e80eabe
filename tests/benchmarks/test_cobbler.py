import json

import numpy as np
import pytest

from persona_rm.benchmarks import BENCHMARKS, controls
from persona_rm.benchmarks.figures import accuracy
from persona_rm.errors import DataError

MODELS, USERS = ("m1", "m2", "m3", "m4"), ("anna", "ben", "cleo")
SMALL = {"history": 3, "per_user": 10}


def row(item, **changes):
    ranks = {user: np.random.default_rng([item, u]).permutation(len(MODELS)) for u, user in enumerate(USERS)}
    base = {
        "item": item,
        "prompt": f"prompt {item}",
        "responses": {model: f"answer of {model} to {item}" for model in MODELS},
        "rank_by_user": {user: dict(zip(MODELS, r.tolist(), strict=True)) for user, r in ranks.items()},
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


def load(path, rows, space, **config):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    cls = BENCHMARKS.load("cobbler")
    return cls(cls.Config(path=path, **{**SMALL, **config}), space)


@pytest.fixture
def toy(tmp_path, space):
    return load(tmp_path / "c.jsonl", [row(i) for i in range(8)], space)


@pytest.fixture(scope="module")
def real(shared_data, space):
    cls = BENCHMARKS.load("cobbler")
    return cls(cls.Config(path=shared_data / "comparisons" / "cobbler.jsonl.gz"), space)


def by_user(cases):
    return {
        user: [case for case in cases if case.group_label == user] for user in sorted({c.group_label for c in cases})
    }


def unordered(pairs):
    return [(pair.prompt, *sorted((pair.chosen, pair.rejected))) for pair in pairs]


def test_chosen_is_what_the_person_ranks_higher(toy):
    rows = {f"prompt {i}": row(i) for i in range(8)}
    cases = toy.cases()
    assert len(cases) == 30
    for case in cases:
        persona, user = case.example.persona, case.group_label
        assert persona.user_id == user
        for pair in (case.example, *persona.pairs):
            told = rows[pair.prompt]
            rank = {told["responses"][model]: place for model, place in told["rank_by_user"][user].items()}
            assert rank[pair.chosen] > rank[pair.rejected]
    assert len({case.example.id for case in cases}) == 30


def test_everybody_gets_the_same_pairs_and_they_do_choose_differently(toy):
    people = by_user(toy.cases())
    assert list(people) == list(USERS)
    anna, *others = people.values()
    for other in others:
        assert unordered([c.example for c in other]) == unordered([c.example for c in anna])
        assert unordered(other[0].example.persona.pairs) == unordered(anna[0].example.persona.pairs)
    assert len({tuple(c.example.chosen for c in cases) for cases in people.values()}) == 3


def test_history_and_held_out_have_different_prompts(toy):
    cases = toy.cases()
    shown = {pair.prompt for case in cases for pair in case.example.persona.pairs}
    assert len(shown) == 3
    held = [case.example.prompt for case in cases]
    assert not shown & set(held)
    assert sorted(held.count(prompt) for prompt in set(held)) == [6] * 5


def test_the_bootstrap_draws_prompts(toy):
    cases = toy.cases()
    assert len({case.unit for case in cases}) == 5
    assert all((a.unit == b.unit) == (a.example.prompt == b.example.prompt) for a in cases for b in cases)
    shuffled = controls.shuffled_personas(cases)
    assert [case.unit for case in shuffled] == [case.unit for case in cases]
    assert all(case.example.persona.user_id != case.group_label for case in shuffled)


def test_what_is_drawn_depends_on_the_seed_and_on_no_order(toy, tmp_path, space):
    ids = [case.example.id for case in toy.cases()]
    rows = [row(i) for i in range(8)][::-1]
    turned = [one | {"responses": dict(reversed(one["responses"].items()))} for one in rows]
    assert [c.example.id for c in load(tmp_path / "t.jsonl", turned, space).cases()] == ids
    assert [c.example.id for c in load(tmp_path / "t.jsonl", rows, space, seed=1).cases()] != ids


def test_more_history_than_half_of_the_prompts_takes_several_pairs_of_each(tmp_path, space):
    cases = load(tmp_path / "c.jsonl", [row(i) for i in range(4)], space, history=6, per_user=2).cases()
    pairs = cases[0].example.persona.pairs
    assert len(set(unordered(pairs))) == 6
    assert len({pair.prompt for pair in pairs}) == 2


@pytest.mark.parametrize(("config", "key"), [({"history": 25}, "history"), ({"per_user": 31}, "per_user")])
def test_more_pairs_than_there_are_is_an_error(tmp_path, space, config, key):
    with pytest.raises(
        DataError, match=rf"key '{key}': .* prompts yield \d+ pairs, \d+ were asked for: ask for fewer"
    ):
        load(tmp_path / "c.jsonl", [row(i) for i in range(8)], space, **config).cases()


def test_equal_texts_are_no_pair(tmp_path, space):
    same = dict.fromkeys(MODELS, "Equal  text.") | {"m1": "another", "m2": "equal text."}
    rows = [row(i, responses=same) for i in range(4)]
    cases = load(tmp_path / "c.jsonl", rows, space, history=2, per_user=6).cases()
    assert all("another" in (case.example.chosen, case.example.rejected) for case in cases)


def test_the_majority_is_the_mean_rank_of_the_others(tmp_path, space):
    first = dict(zip(MODELS, (0, 1, 2, 3), strict=True))
    ranks = {"anna": first, "ben": first, "cleo": dict(zip(MODELS, (3, 2, 1, 0), strict=True))}
    benchmark = load(tmp_path / "c.jsonl", [row(i, rank_by_user=ranks) for i in range(8)], space)
    cases = benchmark.cases()
    rewards = benchmark.majority_rewards(cases)
    people = np.array([case.group_label for case in cases])
    assert (rewards[people != "cleo"] == 1.5).all()
    assert (rewards[people == "cleo", 0] < rewards[people == "cleo", 1]).all()
    assert (benchmark.majority_rewards(controls.shuffled_personas(cases)) == rewards).all()
    assert benchmark.majority_rewards([]).shape == (0, 2)


def test_no_majority_without_others_or_for_a_case_of_elsewhere(tmp_path, space):
    from tests.benchmarks.benchmark_samples import case

    alone = [row(i, rank_by_user={"anna": dict(zip(MODELS, range(4), strict=True))}) for i in range(8)]
    benchmark = load(tmp_path / "c.jsonl", alone, space)
    with pytest.raises(DataError, match="ranked alone"):
        benchmark.majority_rewards(benchmark.cases())
    with pytest.raises(DataError, match="none of benchmark cobbler"):
        benchmark.majority_rewards([case("u", 0, (0,))])


FIRST = row(0)["rank_by_user"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"prompt": ...}, "'prompt'"),
        ({"prompt": "prompt 0"}, "'prompt': this prompt was there before"),
        ({"responses": ["a"]}, "'responses'"),
        ({"responses": {"m1": "a"}}, "'responses': needs two"),
        ({"responses": {"m1": "a", "m2": 5}}, r"'responses\.m2'"),
        ({"rank_by_user": {}}, "'rank_by_user': no ranks"),
        ({"rank_by_user": {"anna": FIRST["anna"]}}, "'rank_by_user': every prompt must be ranked by the same"),
        ({"rank_by_user": FIRST | {"ben": 3}}, r"'rank_by_user\.ben'"),
        ({"rank_by_user": FIRST | {"ben": {"m1": 0}}}, r"'rank_by_user\.ben\.m2'"),
        ({"rank_by_user": FIRST | {"ben": FIRST["ben"] | {"m9": 4}}}, r"'rank_by_user\.ben': must give the ranks"),
        ({"rank_by_user": FIRST | {"ben": dict.fromkeys(MODELS, 1)}}, r"'rank_by_user\.ben': must give the ranks"),
        ({"rank_by_user": FIRST | {"ben": FIRST["ben"] | {"m1": True}}}, r"'rank_by_user\.ben\.m1'"),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_key(tmp_path, space, changes, key):
    with pytest.raises(DataError, match=rf"c\.jsonl, row 2, key {key}"):
        load(tmp_path / "c.jsonl", [row(0), row(1, **changes), row(2)], space).cases()


def test_a_missing_file_is_named(tmp_path, space):
    cls = BENCHMARKS.load("cobbler")
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        cls(cls.Config(path=tmp_path / "nowhere.jsonl"), space).cases()


def test_the_real_file_has_six_people_on_the_same_pairs(real):
    people = by_user(real.cases())
    assert [len(cases) for cases in people.values()] == [102] * 6
    assert len({tuple(unordered([c.example for c in cases])) for cases in people.values()}) == 1
    one, two, *_ = people.values()
    agree = np.mean([a.example.chosen == b.example.chosen for a, b in zip(one, two, strict=True)])
    assert agree == pytest.approx(0.86, abs=0.08)


def test_on_the_real_file_the_others_are_better_than_length(real):
    cases = real.cases()
    others = accuracy(*real.majority_rewards(cases).T).mean()
    assert 0.7 < others < 0.95
    assert accuracy(*controls.longer_wins(cases).T).mean() < others
