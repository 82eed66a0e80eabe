"""What the starting model reads holds no test person, post or choice, and is a function of its number."""

from persona_rm.prompts import load_prompts
from persona_rm.world.corpus import FIRST, documents
from persona_rm.world.language import N_TRAIN_WORDINGS
from persona_rm.world.world import World, WorldConfig


def test_document_n_does_not_depend_on_where_reading_starts(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    assert list(documents(world, prompts, 0, 6, FIRST))[3:] == list(documents(world, prompts, 0, 3, FIRST + 3))


def test_answers_show_no_test_post_and_no_test_wording(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    asked = {post.text for post in world.posts("test")}
    held_out = [c for w in world.language.wordings.values() for c in w[N_TRAIN_WORDINGS:]]
    answers = [
        given + read for given, read in documents(world, prompts, 0, 120, FIRST) if "***Task***" in given + read
    ]
    assert len(answers) > 40
    assert not [text for text in answers if any(post in text for post in asked)]
    assert not [text for text in answers if any(f" {clause}." in text for clause in held_out)]


def test_self_descriptions_come_first_and_name_at_most_three_poles(space):
    world, prompts = World(WorldConfig(), space), load_prompts("released")
    for given, read in documents(world, prompts, 0, 30):
        assert 1 <= sum(map(bool, space.parse(given.removesuffix(":")))) <= 3
        assert set(world.language.read_levels(read)) != {2}
