import gzip
import json
from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from pydantic import ValidationError

from persona_rm.benchmarks import BENCHMARKS, controls
from persona_rm.benchmarks.figures import accuracy
from persona_rm.errors import DataError

DEBATES, STANCES, TEXTS = 8, ("yes", "no"), 4
SMALL = {"history": 6, "per_user": 3, "least": 10}


def argument(debate, stance, i, **changes):
    topic = f"d_{debate}_{stance}"
    text = f"argument {i} of {topic}"
    row = {"argument_id": f"{topic}/a{i}", "topic": topic, "debate": f"D{debate}", "stance": stance, "text": text}
    return {key: value for key, value in (row | changes).items() if value is not ...}


def judgment(user, a, b, preferred="a"):
    return {"user_id": user, "argument_a": a["argument_id"], "argument_b": b["argument_id"], "preferred": preferred}


def world(users=5, share=0.5):
    """Every user judges about `share` of all pairs at random; every tenth judgment is a tie."""
    rng = np.random.default_rng(0)
    arguments = [argument(d, s, i) for d in range(DEBATES) for s in STANCES for i in range(TEXTS)]
    by_topic = defaultdict(list)
    for one in arguments:
        by_topic[one["topic"]].append(one)
    pairs = [pair for topic in by_topic.values() for pair in combinations(topic, 2)]
    votes = [(f"u{u}", pair) for u in range(users) for pair in pairs if rng.random() < share]
    sides = ["tie" if i % 10 == 0 else "ab"[int(rng.integers(2))] for i in range(len(votes))]
    return arguments, [judgment(user, *pair, side) for (user, pair), side in zip(votes, sides, strict=True)]


def save(folder, arguments, judgments):
    for name, rows in (("a", arguments), ("j", judgments)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def load(folder, space, **config):
    cls = BENCHMARKS.load("ukp")
    paths = {"arguments": folder / "a.jsonl.gz", "judgments": folder / "j.jsonl.gz"}
    return cls(cls.Config(**{**paths, **SMALL, **config}), space)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save(tmp_path_factory.mktemp("ukp"), *world())


@pytest.fixture(scope="module")
def real(shared_data, space):
    cls = BENCHMARKS.load("ukp")
    folder = shared_data / "comparisons"
    names = {"arguments": folder / "ukp_arguments.jsonl.gz", "judgments": folder / "ukp_judgments.jsonl.gz"}
    return cls(cls.Config(**names), space)


def leaks(cases, debate_of):
    """People with a debate or a text on both sides."""
    held, shown = defaultdict(set), defaultdict(set)
    for case in cases:
        example, user = case.example, case.unit
        held[user] |= {example.chosen, example.rejected, debate_of[example.chosen]}
        for pair in example.persona.pairs:
            shown[user] |= {pair.chosen, pair.rejected, debate_of[pair.chosen]}
    return [user for user in held if held[user] & shown[user]]


def debates(folder_rows):
    return {row["text"]: "debate " + row["topic"].rpartition("_")[0] for row in folder_rows}


def test_a_case_is_a_vote_with_the_persons_own_history(toy, space):
    arguments, judgments = world()
    said = {
        (j["user_id"], *(j["argument_a"], j["argument_b"])[:: 1 if j["preferred"] == "a" else -1]) for j in judgments
    }
    text = {a["argument_id"]: a["text"] for a in arguments}
    voted = {(user, text[a], text[b]) for user, a, b in said}
    cases = load(toy, space).cases()
    assert len(cases) == 5 * 3
    for case in cases:
        example, user = case.example, case.unit
        assert (user, example.chosen, example.rejected) in voted
        assert example.persona.user_id == user
        assert len(example.persona.pairs) == 6
        assert all((user, p.chosen, p.rejected) in voted for p in example.persona.pairs)
        assert example.prompt.startswith(f"Debate: {example.group.replace('d_', 'D')}\nSide: ")
    assert len({case.example.id for case in cases}) == len(cases)


@pytest.mark.parametrize("seed", range(5))
def test_history_and_held_out_share_no_debate(toy, space, seed):
    assert leaks(load(toy, space, seed=seed).cases(), debates(world()[0])) == []


def test_the_leak_check_finds_a_leak(toy, space):
    first, *_ = load(toy, space).cases()
    pair = first.example.persona.pairs[0]
    held = debates(world()[0]) | {first.example.chosen: "debate x", pair.chosen: "debate x"}
    assert leaks([first], held) == ["u0"]


def test_a_text_of_two_debates_stands_on_one_side_only(tmp_path, space):
    arguments, judgments = world()
    shared = [one | {"text": "the SAME  text"} if one["argument_id"].endswith("/a0") else one for one in arguments]
    cases = load(save(tmp_path, shared, judgments), space, history=4).cases()
    held, shown = defaultdict(set), defaultdict(set)
    for case in cases:
        held[case.unit] |= {case.example.chosen, case.example.rejected}
        shown[case.unit] |= {text for p in case.example.persona.pairs for text in (p.chosen, p.rejected)}
    assert any("the SAME  text" in texts for texts in held.values())
    assert not any(held[user] & shown[user] for user in held)


def test_what_is_drawn_sees_no_vote_and_no_order_of_the_file(toy, tmp_path, space):
    arguments, judgments = world()
    turned = [j | {"preferred": {"a": "b", "b": "a"}.get(j["preferred"], "tie")} for j in judgments]
    before = load(toy, space).cases()
    after = load(save(tmp_path, arguments[::-1], turned[::-1]), space).cases()
    assert [c.example.id for c in after] == [c.example.id for c in before]
    assert [(c.example.rejected, c.example.chosen) for c in after] == [
        (c.example.chosen, c.example.rejected) for c in before
    ]
    other = load(toy, space, seed=1).cases()
    assert {c.example.id for c in other} != {c.example.id for c in before}


def test_ties_and_equal_texts_are_no_cases_and_are_counted(tmp_path, space):
    arguments, judgments = world(users=2)
    same = [one | {"text": "equal"} if one["topic"] == "d_0_yes" else one for one in arguments]
    benchmark = load(save(tmp_path, same, judgments), space)
    counts = benchmark.counts()
    equal = sum(j["argument_a"].startswith("d_0_yes") for j in judgments)
    ties = sum(j["preferred"] == "tie" and not j["argument_a"].startswith("d_0_yes") for j in judgments)
    assert (counts["ties"], counts["same_text"], counts["judgments"]) == (ties, equal, len(judgments))
    assert counts["votes"] == len(judgments) - ties - equal
    assert (counts["people"], counts["people_with_least"], counts["people_without_split"]) == (2, 2, 0)
    assert all(case.example.chosen != case.example.rejected for case in benchmark.cases())


def test_a_person_of_one_debate_has_no_split_and_nobody_left_is_an_error(tmp_path, space):
    arguments, judgments = world(users=1, share=1)
    one = [j for j in judgments if j["argument_a"].startswith("d_0_")]
    benchmark = load(save(tmp_path, arguments, one), space, history=2, per_user=2, least=4)
    assert benchmark.counts()["people_without_split"] == 1
    with pytest.raises(DataError, match=r"no worker has 4 votes with 2 for a history and 2 held out.*ask for fewer"):
        benchmark.cases()


def test_the_majority_is_of_the_others(tmp_path, space):
    arguments, judgments = world(users=1, share=1)
    mine = [j for j in judgments if j["preferred"] != "tie"]
    plus = [j | {"user_id": f"w{k}", "preferred": side} for j in mine for k, side in enumerate(("a", "a", "b", "tie"))]
    benchmark = load(save(tmp_path, arguments, mine + plus), space, least=80)
    cases = [case for case in benchmark.cases() if case.unit == "u0"]
    own = {(j["argument_a"], j["argument_b"]): j["preferred"] for j in mine}
    for case, votes in zip(cases, benchmark.majority_rewards(cases).tolist(), strict=True):
        chosen, rejected = case.example.extra["chosen_argument"], case.example.extra["rejected_argument"]
        assert votes == ([2, 1] if own.get((chosen, rejected)) == "a" else [1, 2])


def test_the_majority_does_not_depend_on_whose_history_a_case_carries(toy, space):
    benchmark = load(toy, space)
    cases = benchmark.cases()
    votes = benchmark.majority_rewards(cases)
    assert votes.shape == (15, 2)
    assert votes.min() >= 0
    assert (benchmark.majority_rewards(controls.shuffled_personas(cases)) == votes).all()
    assert benchmark.majority_rewards([]).shape == (0, 2)


def test_a_case_of_elsewhere_has_no_majority(toy, space):
    from tests.benchmarks.benchmark_samples import case

    with pytest.raises(DataError, match="none of benchmark ukp"):
        load(toy, space).majority_rewards([case("u", 0, (0,))])


A, B, C = argument(0, "yes", 0), argument(0, "yes", 1), argument(0, "no", 0)


@pytest.mark.parametrize(
    ("arguments", "judgments", "where"),
    [
        ([A, argument(0, "yes", 1, text=...)], [], r"a\.jsonl\.gz, row 2, key 'text'"),
        ([A, argument(0, "yes", 1, text=3)], [], r"a\.jsonl\.gz, row 2, key 'text'"),
        ([A, argument(0, "yes", 1, topic="stance")], [], r"a\.jsonl\.gz, row 2, key 'topic'"),
        ([A, B, A], [], r"a\.jsonl\.gz, row 3, key 'argument_id'.*before"),
        ([A, B], [judgment("u", A, C)], r"j\.jsonl\.gz, row 1, key 'argument_b': no argument 'd_0_no/a0'"),
        ([A, B, C], [judgment("u", A, C)], r"j\.jsonl\.gz, row 1, key 'argument_b'.*one topic"),
        ([A, B], [judgment("u", A, B, "c")], r"j\.jsonl\.gz, row 1, key 'preferred'.*a, b or tie"),
        ([A, B], [judgment("u", A, B), judgment("u", B, A)], r"j\.jsonl\.gz, row 2, key 'user_id'.*before"),
        ([A, B], [{"user_id": "u"}], r"j\.jsonl\.gz, row 1, key 'argument_a'"),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_key(tmp_path, space, arguments, judgments, where):
    judgments = judgments or [judgment("u", A, B)]
    with pytest.raises(DataError, match=where):
        load(save(tmp_path, arguments, judgments), space).cases()


def test_a_missing_file_and_an_unknown_key(tmp_path, toy, space):
    with pytest.raises(DataError, match=r"j\.jsonl\.gz"):
        load(toy, space, judgments=tmp_path / "j.jsonl.gz").cases()
    with pytest.raises(ValidationError, match="users"):
        load(toy, space, users=3)


def test_the_real_file_splits_without_leakage(real, shared_data):
    counts, cases = real.counts(), real.cases()
    assert (counts["judgments"], counts["votes"] + counts["ties"] + counts["same_text"]) == (84445, 84445)
    assert counts["people_with_least"] == 219
    people = counts["people_with_least"] - counts["people_without_split"]
    assert len(cases) == 8 * people
    assert {len(case.example.persona.pairs) for case in cases} == {16}
    with gzip.open(shared_data / "comparisons" / "ukp_arguments.jsonl.gz", "rt") as file:
        assert leaks(cases, debates([json.loads(line) for line in file])) == []


def test_on_the_real_file_others_and_length_are_where_they_were_measured(real):
    cases = real.cases()
    votes = real.majority_rewards(cases)
    decided = votes[:, 0] != votes[:, 1]
    assert (votes[decided, 0] > votes[decided, 1]).mean() == pytest.approx(0.775, abs=0.03)
    assert accuracy(*controls.longer_wins(cases).T).mean() == pytest.approx(0.679, abs=0.03)
