"""The simulator is what it claims: known truth, nothing on both sides, nothing to be won by a shortcut."""

import json
import math
from dataclasses import asdict

import pytest

from persona_rm.errors import RecipeError
from persona_rm.simulator.simulated_language import N_TRAIN_WORDINGS, load_language
from persona_rm.simulator.simulated_users import SimulatedUser, draw_users
from persona_rm.simulator.simulator import Simulator, SimulatorConfig

SMALL = {"users": 30, "test_users": 40, "posts": 60, "replies": 4}


@pytest.fixture(scope="module")
def simulator(space):
    return Simulator(SimulatorConfig(**SMALL), space)


@pytest.fixture(scope="module")
def choices(simulator):
    return list(simulator.choices(10))


def words(text):
    return " ".join("".join(c if c.isalpha() else " " for c in text.lower()).split())


def test_forty_dimensions_are_active_and_every_pole_has_wordings_of_its_own(space):
    language = load_language(space)
    assert len(language.active) >= 40
    clauses = [clause for wordings in language.wordings.values() for clause in wordings]
    assert len(clauses) == len(set(clauses)) == 7 * 2 * len(language.active)
    assert not [(a, b) for a in clauses for b in clauses if a != b and f" {a} " in f" {b} "]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(space):
    def written(seed):
        threads = Simulator(SimulatorConfig(**SMALL, seed=seed), space).threads()
        return "\n".join(json.dumps(asdict(thread)) for thread in threads)

    assert written(1) == written(1)
    assert written(1) != written(2)


def test_text_is_read_back_to_the_levels_that_made_it(simulator):
    for thread in simulator.threads():
        for comment in thread.comments:
            assert simulator.language.read_levels(comment.text) == comment.levels


def test_repetition_saturates_and_gibberish_counts_for_nothing(simulator):
    language = simulator.language
    clause = language.wordings[language.active[0], 1][0]
    assert language.read_levels(clause) == language.read_levels(". ".join([clause] * 9))
    assert set(language.read_levels("match match zzz i i the final boss console")) == {2}


def test_no_user_post_or_wording_is_on_both_sides(simulator, choices):
    train = list(simulator.threads("train"))
    assert not {t.prompt for t in train} & {c.post.text for c in choices}
    assert not {a.author for t in train for a in t.comments} & {c.user.id for c in choices}
    shown = " ".join(f" {words(a.text)} " for t in train for a in t.comments)
    judged = " ".join(f" {words(c.chosen.text)}  {words(c.rejected.text)} " for c in choices)
    for wordings in simulator.language.wordings.values():
        assert not any(f" {clause} " in judged for clause in wordings[:N_TRAIN_WORDINGS])
        assert not any(f" {clause} " in shown for clause in wordings[N_TRAIN_WORDINGS:])
    held_out = [c for w in simulator.language.wordings.values() for c in w[N_TRAIN_WORDINGS:]]
    assert sum(f" {clause} " in judged for clause in held_out) > 0.9 * len(held_out)


def test_the_evidence_comes_from_other_posts(simulator, choices):
    persona = simulator.persona(choices[0].user, "test", avoid=choices[0].post.id)
    assert choices[0].post.text not in {item.prompt for item in persona.items}
    assert (len(persona.ugc), len(persona.pairs)) == (16, 16)


def test_the_bayes_optimal_scorer_is_where_theory_says(choices):
    expected = sum(max(c.p, 1 - c.p) for c in choices) / len(choices)
    found = sum(c.utilities[0] > c.utilities[1] for c in choices) / len(choices)
    assert 0.95 < expected < 0.99
    assert abs(found - expected) < 3 * math.sqrt(expected * (1 - expected) / len(choices))


@pytest.mark.parametrize("shortcut", [len, lambda text: text.count(" "), lambda text: text.count("the ")])
def test_length_and_filler_are_at_chance(choices, shortcut):
    wins = [(shortcut(c.chosen.text) > shortcut(c.rejected.text)) - (shortcut(c.chosen.text) < shortcut(c.rejected.text)) for c in choices]  # fmt: skip # noqa: E501
    assert abs(sum(wins)) / len(wins) < 3 / math.sqrt(len(wins))


def test_first_wins_is_at_chance_before_the_sides_are_named(choices):
    first = [c.chosen.id < c.rejected.id for c in choices]
    assert abs(sum(first) / len(first) - 0.5) < 3 * 0.5 / math.sqrt(len(first))


@pytest.mark.parametrize("kind", ["independent", "clusters", "conflict"])
def test_users_hold_six_to_twelve_views_on_active_dimensions(space, kind):
    language = load_language(space)
    for user in draw_users(language, kind, 50, 0, "train"):
        held = [dim for dim, direction in enumerate(user.directions) if direction]
        assert 6 <= len(held) <= 12
        assert set(held) <= set(language.active)


def test_two_camps_oppose_each_other(space):
    users = draw_users(load_language(space), "conflict", 200, 0, "train")
    camps = {group: [p for p in users if p.group == group] for group in ("camp A", "camp B")}
    assert 0.4 < len(camps["camp A"]) / len(users) < 0.6
    a, b = (camps[g][0].directions for g in ("camp A", "camp B"))
    assert sum(x * y for x, y in zip(a, b, strict=True)) <= -6


def test_correlated_views_go_together(space):
    language = load_language(space)
    a, b, turn = language.correlated[0]
    both = [
        p.directions for p in draw_users(language, "independent", 600, 0, "train") if p.directions[a] * p.directions[b]
    ]
    agree = sum(d[a] * d[b] == turn for d in both) / len(both)
    assert agree > 0.75


def test_the_annotator_errs_as_often_as_its_confusion_matrix_says(simulator):
    comments = [comment for thread in simulator.threads() for comment in thread.comments]
    pairs = [(a, b) for c in comments for a, b in zip(c.levels, simulator.noisy_levels(c), strict=True) if a != 2]
    kept = sum(a == b for a, b in pairs) / len(pairs)
    assert abs(kept - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(pairs))


def test_more_posts_than_there_are_is_an_error(simulator):
    with pytest.raises(RecipeError, match="were asked for"):
        simulator.posts("test", 100_000)


def test_a_user_without_views_writes_about_the_topic(space):
    simulator = Simulator(SimulatorConfig(), space)
    nobody = SimulatedUser("nobody", space.neutral, "none")
    levels = simulator.language.read_levels(simulator.reply(nobody, simulator.posts("train")[0], "train").text)
    assert set(levels) > {2}
