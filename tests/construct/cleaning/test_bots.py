"""Bots by name and by phrase; authors who are not bots."""

import pytest

from persona_rm.construct.cleaning.bots import bot_name, bot_text


@pytest.mark.parametrize(
    "name",
    ["AutoModerator", "haikubot-1911", "HelperBot_", "JoeBot", "joe-bot", "joe_bot2", "autowikibot", "TotesMessenger"],
)
def test_names_of_bots(name):
    assert bot_name(name)


@pytest.mark.parametrize(
    "name", ["bob", "Talbot", "abbot12", "mr_robot", "bottle", "botany_fan", "Cabot", "", "robot"]
)
def test_names_of_authors_who_are_not_bots(name):
    assert not bot_name(name)


def test_more_names_can_be_given():
    assert bot_name("Bob", frozenset({"bob"}))


@pytest.mark.parametrize(
    "text",
    [
        "Removed.\n\n*I am a bot, and this action was performed automatically. Please contact the moderators.*",
        "^(I'm a bot) ^| ^(feedback)",
        "^I\u2019m ^a ^bot ^made ^by someone",
        "Beep boop, here is your summary. I am a bot.",
        "This comment was posted automatically.",
    ],
)
def test_phrases_of_bots(text):
    assert bot_text(text)


@pytest.mark.parametrize(
    "text",
    ["You are a bot, admit it", "I am not a bot!", "robots are automatically better", "he said that I'm a bottle", ""],
)
def test_phrases_of_authors_who_are_not_bots(text):
    assert not bot_text(text)


def test_a_phrase_in_the_middle_of_a_huge_text_costs_nothing():
    assert not bot_text("x" * 5_000_000)
    assert bot_text("x " * 2_500_000 + "\nI am a bot, and this action was performed automatically.")
