"""Identifiers planted in many written forms come out; years, prices, scores and versions stay."""

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.cleaning.national_ids import WORLD
from persona_rm.construct.cleaning.pii import find, leaks, scrub
from persona_rm.construct.cleaning.view import view
from tests.construct.cleaning.country_ids import TEMPLATES, world_id
from tests.construct.cleaning.other_numbers import NEGATIVES
from tests.construct.cleaning.planted_ids import (
    KINDS,
    PROSE,
    aadhaar,
    american,
    card,
    email,
    foreign_phone,
    iban,
    ip,
    ssn,
    user,
)

PLANTERS = [(kind, make) for kind, makes in KINDS.items() for make in makes]
SAME = {
    "URL": {"URL", "USER", "EMAIL", "IP"},
    "USER": {"USER"},
    # A national number may also be a valid number of a card or a telephone, and is removed as that.
    "NATIONAL_ID": {"NATIONAL_ID", "CARD", "PHONE"},
}


def trace(planted):
    """What would be left of a planted identifier: its longest run of letters and digits, one with digits if any."""
    runs = "".join(c if c.isalnum() else " " for c in view(planted).text).split()
    return max((len(run) > 1 and any(map(str.isdigit, run)), len(run), run) for run in runs)[2]


@pytest.mark.parametrize(("kind", "make"), PLANTERS, ids=[make.__name__ for _, make in PLANTERS])
def test_nothing_planted_comes_out(kind, make):
    r = random.Random(make.__name__)
    for _ in range(60):
        planted, sentence = make(r), r.choice(PROSE)
        out, marks = scrub(sentence.format(planted))
        assert set(marks) & SAME.get(kind, {kind}), f"{planted!r} in {sentence!r} gave {out!r}"
        assert trace(planted) not in view(out).text, f"{planted!r} in {sentence!r} gave {out!r}"
        assert leaks(out) == []


@pytest.mark.parametrize("row", WORLD, ids=lambda row: row.name)
def test_the_numbers_of_every_country_are_removed(row):
    r = random.Random(row.name)
    numbers = {world_id(r, row) for _ in range(10)}
    assert all(set(scrub(f"mine is {one}, you know")[1]) & SAME["NATIONAL_ID"] for one in numbers)
    assert TEMPLATES.keys() == {row.name for row in WORLD}


@pytest.mark.parametrize("make", NEGATIVES, ids=lambda make: make.__name__)
def test_numbers_that_identify_no_user_stay(make):
    r = random.Random(make.__name__)
    texts = [r.choice(PROSE).format(make(r)) for _ in range(100)]
    changed = [text for text in texts if scrub(text)[0] != text]
    assert changed == []


@pytest.mark.parametrize(
    "make", [american, foreign_phone, card, iban, ssn, aadhaar, email, ip, user], ids=lambda m: m.__name__
)
def test_neighbours_do_not_hide_each_other(make):
    r = random.Random(make.__name__)
    for _ in range(30):
        first, second = make(r), make(r)
        out, _ = scrub(f"it is {first}, or {second} \u2014 and the rest stays")
        assert trace(first) not in out
        assert trace(second) not in out
        assert out.endswith(" and the rest stays")


@given(st.lists(st.sampled_from(PLANTERS), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_scrubbing_twice_is_scrubbing_once(planters, r):
    text = " and then ".join(r.choice(PROSE).format(make(r)) for _, make in planters)
    once, marks = scrub(text)
    assert sum(marks.values()) >= 1
    assert scrub(once) == (once, {})
    assert leaks(once) == []


@given(st.text(alphabet="ab1290@.:-/+ ()u#\u200b\uff11", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_clean_after_one_pass(text):
    once, _ = scrub(text)
    assert leaks(once) == []
    assert scrub(once)[0] == once


PLAIN = """It was 2015, and by 2016-2017 nothing had changed.
They won 3-2 and then 28-24 in overtime, for a 12-4-1 record.
Version 1.2.3 works, v1.2.3.4 does not; neither does Chrome 41.0.2272.118 or version 10.0.0.1.
I paid $1,299.99 for it, or 1.299,99 EUR, and $2125550123 is a lot.
At 12:30:45 on 01/02/2015, 2015-02-01 or 01.02.2015 it stopped.
ISBN 978-0-306-40615-7 and ISBN-10: 0-306-40615-2 are the same book.
It has 7,000,000,000 people, 299792458 m/s and 6.02214076e23 of them.
Pi is 3.14159265358979 and e is 2.718281828459045, 0.123456789 is small.
The lottery numbers are 4 8 15 16 23 42 and 1 2 3 4 5 6 7 8 9 10.
Meet me at the dot com bubble; we had dinner at home, look at that dot.
std::vector<int> x; y[::2] and a::b are code, as are 0xdeadbeef and abc:def.
See https://example.org/page/2125550123 or http://www.bbc.co.uk/news/world-us-canada-12345678 for more.
https://en.wikipedia.org/wiki/Foo_(bar) and https://www.youtube.com/watch?v=dQw4w9WgXcQ are links.
https://www.reddit.com/r/askscience/comments/2z1abc/title/ is a thread in /r/askscience.
The 1990s, the 5th of May, 20th-century art, 4k screens, a PS4 and an i7-4770K.
Issue #1234, PR#1234 and room#1234 are fine, and so is @everyone @ 5pm.
10 000 000 people and 1 234 567 890 grains; 60/40 or 1/2 or 9.5/10 it is.
A 1920x1080 monitor at 60 Hz, 16 GB for 299.00, ratio 16:9, 1:1:1.
Timestamps such as 1425168000 and 2^31 - 1 = 2147483647 are numbers.
Chapter 4.5.6.7 says so; the catch-22 of 9/11 and 24/7 at Route 66.""".splitlines()


@pytest.mark.parametrize("line", PLAIN)
def test_plain_sentences_stay(line):
    assert scrub(line) == (line, {})


def test_what_is_around_an_identifier_stays():
    text = "Na\u00efve \u201cquote\u201d: b\u200bob@ex\u200bample.org \u2014 caf\u00e9!"
    assert scrub(text)[0] == "Na\u00efve \u201cquote\u201d: [EMAIL] \u2014 caf\u00e9!"


def test_find_says_where_in_the_original():
    text = "x\u200by call 212-555-0123 now"
    [(start, end, kind)] = find(text)
    assert (text[start:end], kind) == ("212-555-0123", "PHONE")


def test_leaks_names_the_kinds():
    assert leaks("bob@example.org and 8.8.8.8") == ["EMAIL", "IP"]
    assert leaks("[EMAIL] and [IP]") == []


LARGE = 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", "a.", "@a", "::", "(at) ", "a at b dot ", "http://a", "a-", "+"])
def test_ten_megabytes_of_almost_an_identifier_end(unit):
    text = unit * (LARGE // len(unit))
    assert len(scrub(text)[0]) <= 2 * LARGE


@pytest.mark.parametrize(
    "unit",
    ["a", "a.", "a@", "@a", "1 ", "1.", "::", "/u/", "(at) ", "a at b dot ", "http://a", "a-", "+", "01 ", "a1"],
)
def test_work_grows_with_the_text_and_not_with_its_square(unit):
    """Evidence without a clock: 300,000 characters are done, where a square would take 10^10 steps."""
    scrub(unit * (300_000 // len(unit)))


def test_real_replies_change_rarely(shared_data):
    texts = []
    with gzip.open(shared_data / "threads" / "reddit.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line, _ in zip(lines, range(6000), strict=False):
            texts += [response["text"] for response in json.loads(line)["responses"]]
    marks = [scrub(text)[1] for text in texts]
    changed = sum(map(bool, marks)) / len(texts)
    numbers = sum(m["PHONE"] + m["CARD"] + m["NATIONAL_ID"] + m["IBAN"] for m in marks)
    assert 0 < changed < 0.015
    assert numbers <= len(texts) / 1000
