"""Which texts are surely foreign, and which are too short to say."""

import pytest

from persona_rm.construct.cleaning.language_filter import Languages
from persona_rm.errors import DataError

ENGLISH = Languages(("en",), 40, 0.5)
FOREIGN = [
    "Ich habe keine Ahnung, was du damit meinst, aber es klingt gut und richtig",
    "Je ne sais pas pourquoi tu dis toujours cela, mais c'est vrai quand m\u00eame",
    "No tengo ni idea de lo que est\u00e1s hablando, pero muchas gracias por todo",
    "\u042f \u043d\u0435 \u043f\u043e\u043d\u0438\u043c\u0430\u044e, \u043e \u0447\u0451\u043c \u0432\u044b",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_texts(text):
    assert Languages(("en",), 15, 0.5).foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "I have no idea what you are talking about, but thanks anyway for the answer",
        "lol same",
        "ok thx bye",
        "Nein!",
        "",
        "https://example.de/ein/langer/pfad/auf/einer/deutschen/seite/der/nichts/sagt",
        "*** >>> 12345 ___ ### 12345 *** >>> 12345 ___ ### 12345",
    ],
)
def test_english_and_undecided_texts_stay(text):
    assert not ENGLISH.foreign(text)


def test_the_wanted_language_is_kept():
    assert not Languages(("en", "de"), 30, 0.5).foreign(FOREIGN[0])
    assert Languages(("fr",), 30, 0.5).foreign(FOREIGN[0])
    assert Languages(("fr",), 30, 0.5).language(FOREIGN[1]) == ("fr", 0.0)


def test_the_margin_decides():
    assert not Languages(("en",), 30, 1.0).foreign(FOREIGN[0])


def test_an_unknown_language_is_an_error():
    with pytest.raises(DataError, match=r"no such language: klingon; there are: .*en"):
        Languages(("klingon",), 40, 0.5).foreign("whatever is written here is long enough to judge")
