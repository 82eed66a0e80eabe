"""What the starting model reads holds no test person, post or choice, and is a function of its number."""

from persona_rm.prompts import load_prompts
from persona_rm.world.corpus import FIRST, documents
from persona_rm.world.language import N_TRAIN_WORDINGS
from persona_rm.world.world import World, WorldConfig


def test_document_n_does_not_depend_on_where_reading_starts(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    assert list(documents(world, prompts, 0, 6, FIRST))[3:] == list(documents(world, prompts, 0, 3, FIRST + 3))


def test_no_document_shows_a_test_post_or_what_a_test_person_must_judge(space):
    world, prompts = World(WorldConfig(test_people=20), space), load_prompts("released")
    asked = {post.text for post in world.posts("test")}
    judged = {c.text for choice in world.choices(2) for c in (choice.chosen, choice.rejected)}
    read = [given + read for given, read in documents(world, prompts, 0, 200, FIRST)]
    assert sum("***Task***" in text for text in read) > 80
    assert not [text for text in read if any(unseen in text for unseen in asked | judged)]


def test_test_wordings_are_met_in_answers_too_as_a_language_model_has_met_its_whole_language(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    held_out = [c for w in world.language.wordings.values() for c in w[N_TRAIN_WORDINGS:]]
    answers = [g + r for g, r in documents(world, prompts, 0, 120, FIRST) if "***Response:***" in g + r]
    assert any(clause in answer for answer in answers for clause in held_out)


def test_short_self_descriptions_come_first_bare_and_under_a_post(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    layouts = set()
    for given, read in documents(world, prompts, 0, 30):
        under_post = "***User Preferences***" in given
        names = (
            given.split("***User Preferences***\n\n")[1].split("\n\n")[0] if under_post else given.removesuffix(":")
        )
        layouts.add(under_post)
        said = world.language.read_levels(read)
        named = space.parse(names)
        assert 1 <= sum(map(bool, named)) <= 3
        assert tuple(2 + sign for sign in named) == said
    assert layouts == {True, False}
