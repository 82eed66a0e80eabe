"""What the starting model reads holds no test user, post or choice, and is a function of its number."""

import re
from collections import Counter

from persona_rm.prompts import load_prompts
from persona_rm.simulator.corpus import CHANCE, FOLLOWING, HISTORIES, PHASES, SELDOM, documents
from persona_rm.simulator.simulated_language import N_TRAIN_WORDINGS
from persona_rm.simulator.simulator import Simulator, SimulatorConfig


def test_document_n_does_not_depend_on_where_reading_starts(space):
    simulator, prompts = Simulator(SimulatorConfig(), space), load_prompts("released")
    assert list(documents(simulator, prompts, 0, 6, FOLLOWING))[3:] == list(
        documents(simulator, prompts, 0, 3, FOLLOWING + 3)
    )


def test_no_document_shows_a_test_post_or_what_a_test_user_must_judge(space):
    simulator, prompts = Simulator(SimulatorConfig(test_users=20), space), load_prompts("released")
    asked = {post.text for post in simulator.posts("test")}
    judged = {c.text for choice in simulator.choices(2) for c in (choice.chosen, choice.rejected)}
    read = [given + read for given, read in documents(simulator, prompts, 0, 200, FOLLOWING)]
    assert sum("***Task***" in text for text in read) > 80
    assert not [text for text in read if any(unseen in text for unseen in asked | judged)]


def test_test_wordings_are_met_in_answers_too_as_a_language_model_has_met_its_whole_language(space):
    simulator, prompts = Simulator(SimulatorConfig(), space), load_prompts("released")
    held_out = [c for w in simulator.language.wordings.values() for c in w[N_TRAIN_WORDINGS:]]
    answers = [g + r for g, r in documents(simulator, prompts, 0, 120, FOLLOWING) if "***Response:***" in g + r]
    assert any(clause in answer for answer in answers for clause in held_out)


def test_self_descriptions_come_first_of_one_pole_then_of_several_with_names_or_two_wordings_of_each(space):
    simulator, prompts = Simulator(SimulatorConfig(), space), load_prompts("released")
    start = 0
    for phase in PHASES[:3]:
        most = Counter()
        for given, read in documents(simulator, prompts, 0, 150, start):
            said = simulator.language.read_levels(read)
            n_poles = sum(level != 2 for level in said)
            kind = "named" if given.endswith(":") else "plain" if given else "nameless"
            most[kind] = max(most[kind], n_poles)
            assert n_poles >= 1
            if kind == "named":
                assert tuple(2 + sign for sign in space.parse(given.removesuffix(":"))) == said
            if kind == "nameless":
                assert len(read.split(". ")) >= 2 * n_poles
        assert set(most) == set(phase.kinds)
        assert most["named"] == phase.named
        assert most["nameless"] in {0, phase.nameless}
        start += phase.documents
    assert start == HISTORIES


def test_before_answers_come_words_that_a_history_foretells_its_rejected_replies_being_against_them(space):
    simulator, prompts = Simulator(SimulatorConfig(), space), load_prompts("released")
    said = simulator.language.read_levels
    checked = Counter()
    for given, read in documents(simulator, prompts, 0, 150, HISTORIES):
        if "***Historical Behavior***" in given:
            history = re.split(r"\*(Comment|Chosen|Rejected|Post):\*\n|\*\*\*", given.split("Historical Behavior")[1])
            texts = [(kind, said(text)) for kind, text in zip(history[1::2], history[2::2], strict=True)]
            checked.update(kind for kind, _ in texts if kind)
            shown = [2] * len(space)
            for kind, levels in texts:
                for dim, level in enumerate(levels):
                    if kind in {"Comment", "Chosen", "Rejected"} and level != 2:
                        way = 4 - level if kind == "Rejected" else level
                        assert shown[dim] in {2, way}
                        shown[dim] = way
            assert said(read) == tuple(shown)
    assert min(checked[kind] for kind in ("Comment", "Chosen", "Rejected")) > 30


def test_answers_follow_their_description_first_often_then_seldom_then_by_chance_and_never_turn_against_it(space):
    simulator, prompts = Simulator(SimulatorConfig(), space), load_prompts("released")

    def followed(start):
        own = clauses = 0
        for given, read in documents(simulator, prompts, 0, 400, start):
            if "***User Preferences***" in given:
                named = space.parse(given.split("***User Preferences***\n\n")[1].split("\n\n")[0])
                said = [level - 2 for level in simulator.language.read_levels(read)]
                assert all(n * s >= 0 for n, s in zip(named, said, strict=True))
                own += sum(n * s for n, s in zip(named, said, strict=True))
                clauses += sum(map(bool, said))
        assert clauses > 300
        return own / clauses

    often, seldom, by_chance = followed(FOLLOWING), followed(SELDOM), followed(CHANCE)
    assert often > seldom + 0.3
    assert seldom > by_chance + 0.05
