"""Every kind of users is what it claims, and the kinds that came first still give the same bytes."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from persona_rm.simulator.simulated_language import load_language
from persona_rm.simulator.simulated_users import RANK, TURNS, SimulatedUser, draw_users
from persona_rm.simulator.simulator import Simulator, SimulatorConfig

BYTES = {"independent": "d756dc0b13827126", "clusters": "15a12e506feb5fd6", "conflict": "fc09554baa44f8ea"}
"""What these kinds gave before there were others: figures in use rest on it."""
LATER = ("low_rank", "plural", "drift")


def simulator_of(space, kind, **other):
    return Simulator(SimulatorConfig(kind=kind, users=12, test_users=6, posts=8, replies=3, **other), space)


def _recorded(persona):
    """The persona as it was when BYTES was recorded: pairs had no strength, and the simulator gives none."""
    row = asdict(persona)
    assert all(pair.pop("strength") is None for pair in row["pairs"])
    return row


def digest(simulator):
    """A hash of users, their evidence, posts, threads and choices."""
    found = hashlib.sha256()
    for side in ("train", "test"):
        users = simulator.users(side)
        told = [(p.id, p.directions, p.group) for p in users]
        evidence = [json.dumps(_recorded(simulator.persona(p, side, 6, 6))) for p in users[:3]]
        posts = repr([(post.id, post.text) for post in simulator.posts(side)])
        for text in (*map(repr, told), *evidence, posts):
            found.update(text.encode())
    for thread in simulator.threads():
        named = asdict(thread) | {"source": "toy"}  # the name of the source when BYTES was recorded
        found.update(json.dumps(named).encode())
    for c in simulator.choices(2):
        row = (c.user.id, c.post.id, asdict(c.chosen), asdict(c.rejected), c.p, c.utilities)
        found.update(repr(row).encode())
    return found.hexdigest()[:16]


def said(simulator, text):
    """dimension -> -1 or 1: what a text says."""
    return {dim: level - 2 for dim, level in enumerate(simulator.language.read_levels(text)) if level != 2}


def agreement(simulator, pieces):
    """The share of what is said in (user, text) on dimensions where that user's two vectors differ, by vector:
    with the main one, with the other."""
    count = Counter()
    for user, text in pieces:
        for dim, sign in said(simulator, text).items():
            if user.directions[dim] != user.other[dim]:
                count["all"] += 1
                count["main"] += sign == user.directions[dim]
                count["other"] += sign == user.other[dim]
    assert count["all"] > 100
    return count["main"] / count["all"], count["other"] / count["all"]


@pytest.mark.parametrize("kind", BYTES)
def test_a_simulator_of_an_early_kind_has_the_bytes_it_had(space, kind):
    assert digest(simulator_of(space, kind)) == BYTES[kind]


@pytest.mark.parametrize("kind", LATER)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(space, kind):
    assert digest(simulator_of(space, kind)) == digest(simulator_of(space, kind))
    assert digest(simulator_of(space, kind)) != digest(simulator_of(space, kind, seed=1))


@pytest.mark.parametrize("kind", LATER)
def test_users_hold_six_to_twelve_views_on_active_dimensions_in_each_of_their_vectors(space, kind):
    language = load_language(space)
    for user in draw_users(language, kind, 100, 0, "train"):
        for directions in filter(None, (user.directions, user.other)):
            held = {dim for dim, direction in enumerate(directions) if direction}
            assert 6 <= len(held) <= 12
            assert held <= set(language.active)


def test_a_user_with_one_vector_is_the_same_everywhere(space):
    for kind in (*BYTES, "low_rank"):
        user = draw_users(load_language(space), kind, 1, 0, "train")[0]
        assert user.at("sports", "2024-01-01") is user


def test_where_and_when_the_other_vector_holds():
    user = SimulatedUser("p", (1,), "", other=(-1,), topics=frozenset({"sports"}), until="2024-05-01")
    asked = [("sports", ""), ("money", ""), ("money", "2024-04-30T23:59:59"), ("money", "2024-05-01T00:00:00")]
    assert [user.at(*where).directions for where in asked] == [(-1,), (1,), (-1,), (1,)]
    assert user.at("sports").at("money").directions == (-1,)


def test_low_rank_users_are_made_of_few_numbers(space):
    def share(kind):
        users = np.array([p.directions for p in draw_users(load_language(space), kind, 400, 0, "train")], float)
        energy = np.linalg.svd(users, compute_uv=False) ** 2
        return energy[:RANK].sum() / energy.sum()

    assert share("low_rank") > 0.5
    assert share("independent") < 0.2


def test_a_sector_says_what_its_users_like(space):
    users = draw_users(load_language(space), "low_rank", 400, 0, "train")
    sizes = Counter(user.group for user in users)
    assert set(sizes) == {f"sector {i}" for i in range(4)}
    assert min(sizes.values()) > 60
    means = {g: np.mean([p.directions for p in users if p.group == g], axis=0) for g in sizes}
    assert means["sector 0"] @ means["sector 2"] < -1
    assert means["sector 1"] @ means["sector 3"] < -1


def test_training_and_test_users_of_low_rank_share_the_axes(space):
    train, test = (np.array([p.directions for p in draw_users(load_language(space), "low_rank", 300, 0, side)], float)
                   for side in ("train", "test"))  # fmt: skip
    axes = np.linalg.svd(train, full_matrices=False)[2][:RANK]
    assert ((test @ axes.T) ** 2).sum() / (test**2).sum() > 0.5


def test_two_tastes_share_the_topics_evenly_and_know_nothing_of_each_other(space):
    language = load_language(space)
    users = draw_users(language, "plural", 200, 0, "train")
    assert {len(user.topics) for user in users} == {len(language.topics) // 2}
    assert len({user.topics for user in users}) > 100
    same, turned = (sum(x * y == sign for p in users for x, y in zip(p.directions, p.other, strict=True))
                    for sign in (1, -1))  # fmt: skip
    assert 0.7 < same / turned < 1.4


def test_choices_and_words_of_two_tastes_follow_the_one_of_the_topic(space):
    simulator = Simulator(SimulatorConfig(kind="plural", users=20, test_users=30), space)
    choices = list(simulator.choices(10))
    for choice in choices:
        here = choice.user.at(choice.post.topic.name)
        for utility, comment in zip(choice.utilities, (choice.chosen, choice.rejected), strict=True):
            assert utility == simulator.utility(here, comment.levels) == simulator.utility(choice.user, comment.levels, choice.post)  # fmt: skip # noqa: E501
    other = [c for c in choices if c.post.topic.name in c.user.topics]
    assert 0.4 < len(other) / len(choices) < 0.6
    assert all(c.user.at(c.post.topic.name).directions == c.user.other for c in other)
    assert sum(c.utilities[0] > c.utilities[1] for c in other) > 0.95 * len(other)
    by_main = [
        simulator.utility(c.user, c.chosen.levels) > simulator.utility(c.user, c.rejected.levels) for c in other
    ]
    assert sum(by_main) < 0.7 * len(other)
    topics = {post.text: post.topic.name for post in simulator.posts("test")}
    pieces = [(p, u) for p in simulator.users("test") for u in simulator.persona(p, "test", 16, 0).ugc]
    main, other = ([(p, u.comment) for p, u in pieces if (topics[u.prompt] in p.topics) == there]
                   for there in (False, True))  # fmt: skip
    assert agreement(simulator, main)[0] > agreement(simulator, main)[1] + 0.3
    assert agreement(simulator, other)[1] > agreement(simulator, other)[0] + 0.3


def test_a_user_who_drifts_replaces_half_of_their_views_on_one_day_of_the_middle_of_the_year(space):
    users = draw_users(load_language(space), "drift", 200, 0, "train")
    first, last = (day.isoformat() for day in TURNS)
    assert (first, last) == ("2024-04-01", "2024-09-30")
    assert all(first <= user.until <= last for user in users)
    assert len({user.until for user in users}) > 80
    for user in users:
        views = [(new, old) for new, old in zip(user.directions, user.other, strict=True) if old]
        assert sum(new == old for new, old in views) == len(views) - round(len(views) / 2)
        assert len(user.held) == len(views)
    turned = sum(x * y < 0 for p in users for x, y in zip(p.directions, p.other, strict=True))
    dropped = sum(bool(y) and not x for p in users for x, y in zip(p.directions, p.other, strict=True))
    assert 0.8 < turned / dropped < 1.25


def test_evidence_of_a_user_who_drifts_follows_the_old_vector_before_the_day_and_the_new_one_after(space):
    simulator = Simulator(SimulatorConfig(kind="drift", test_users=40, non_attitudes=0), space)
    evidence = [(p, simulator.persona(p, "test", 16, 10)) for p in simulator.users("test")]
    assert all(persona.directions == user.directions for user, persona in evidence)
    assert all(item.created for _, persona in evidence for item in persona.items)
    for kind in ("comment", "chosen"):
        items = [(p, i) for p, e in evidence for i in (e.ugc if kind == "comment" else e.pairs)]
        old, new = ([(p, getattr(i, kind)) for p, i in items if (i.created < p.until) == before]
                    for before in (True, False))  # fmt: skip
        assert agreement(simulator, old)[1] > agreement(simulator, old)[0] + 0.25
        assert agreement(simulator, new)[0] > agreement(simulator, new)[1] + 0.25


def test_choices_of_a_user_who_drifts_follow_the_new_vector(space):
    for choice in Simulator(SimulatorConfig(kind="drift", test_users=20), space).choices(3):
        main = [sum(d * (level - 2) for d, level in zip(choice.user.directions, c.levels, strict=True))
                for c in (choice.chosen, choice.rejected)]  # fmt: skip
        assert choice.utilities == tuple(main)


def test_threads_of_users_who_drift_follow_the_time_of_each_comment(space):
    simulator = Simulator(SimulatorConfig(kind="drift", users=20, posts=150, replies=6), space)
    users = {user.id: user for user in simulator.users("train")}
    written = [(users[c.author], c) for thread in simulator.threads() for c in thread.comments]
    old, new = ([(p, c.text) for p, c in written if (c.created < p.until) == before] for before in (True, False))
    assert agreement(simulator, old)[1] > agreement(simulator, old)[0] + 0.3
    assert agreement(simulator, new)[0] > agreement(simulator, new)[1] + 0.3
