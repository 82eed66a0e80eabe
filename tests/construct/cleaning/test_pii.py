"""Identifiers planted in many written forms come out; years, prices, scores and versions stay."""

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.cleaning import checksums
from persona_rm.construct.cleaning.identifiers import DNI
from persona_rm.construct.cleaning.pii import find, leaks, scrub
from persona_rm.construct.cleaning.view import view

PROSE = [
    "honestly I think {} would be the best way",
    "{} is what he wrote, so go on",
    "ask them ({}) and see",
    "first line\n{}\nlast line",
    "see: {}.",
    '"{}"',
    "I said {}, and then nothing happened for 3 weeks in 2014",
]
NAMES = ["bob.smith", "j_doe99", "anna-lee", "o'neil", "x.y.z", "marta+news"]
HOSTS = ["example.org", "mail.example.co.uk", "gmail.com", "uni-bonn.de"]


def ending(make, digits):
    """`digits` and the one check digit that makes them valid."""
    return next(digits + str(d) for d in range(10) if make(digits + str(d)))


def number(r, size, first="123456789"):
    return r.choice(first) + "".join(r.choice("0123456789") for _ in range(size - 1))


def grouped(text, sizes, separator):
    parts, place = [], 0
    for size in sizes:
        parts.append(text[place : place + size])
        place += size
    return separator.join(parts)


def email(r):
    name, host = r.choice(NAMES), r.choice(HOSTS)
    at = r.choice(["@", " (at) ", "(at)", " [at] ", "[at]", " @ ", " {at} ", "&#64;", "\uff20", "@\u200b", " (@) "])
    dot = r.choice([".", " (dot) ", "[dot]", " dot ", " . "]) if at != "@" else r.choice([".", "[dot]"])
    return name + at + host.replace(".", dot)


def spelled_email(r):
    return f"{r.choice(NAMES)} at {r.choice(HOSTS).replace('.', ' dot ')}"


def american(r):
    area, exchange = r.choice(["212", "415", "650", "713"]), number(r, 3, "23456789")
    line = number(r, 4, "0123456789")
    form = r.choice(
        ["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "{} {} {}", "+1 {} {} {}", "1-{}-{}-{}", "+1{}{}{}", "({}){}-{}"]
    )
    return form.format(area, exchange, line)


def foreign_phone(r):
    return r.choice(
        [
            f"+44 20 7946 0{number(r, 3)}",
            f"+44 (0)20 7946 0{number(r, 3)}",
            f"020 7946 0{number(r, 3)}",
            f"07700 900{number(r, 3)}",
            f"+49 30 {number(r, 7)}",
            f"030 / {number(r, 7)}",
            f"0049 30 {number(r, 7)}",
            f"06 12 34 {number(r, 2)} {number(r, 2)}",
            f"+33 6 12 34 {number(r, 2)} {number(r, 2)}",
            f"+91 98765 {number(r, 5)}",
            f"98765 {number(r, 5)}",
        ]
    )


def spoken_phone(r):
    return r.choice(["call me on {}", "tel: {}", "my cell is {}", "whatsapp {}"]).format(
        r.choice(["555-01{}", "612 345 6{}", "55501{}", "30 12 34 {}"]).format(number(r, 2))
    )


def ip(r):
    v4 = ".".join(str(r.randint(1, 254)) for _ in range(4))
    v6 = ":".join(f"{r.randint(1, 65535):x}" for _ in range(8))
    return r.choice([v4, v4 + ":8080", v6, f"2001:db8::{r.randint(1, 9999):x}:{r.randint(1, 9999):x}", "fe80::1"])


def card(r):
    prefix, size, groups = r.choice([("4", 16, (4, 4, 4, 4)), ("53", 16, (4, 4, 4, 4)), ("37", 15, (4, 6, 5))])
    digits = ending(checksums.luhn, prefix + number(r, size - len(prefix) - 1, "0123456789"))
    return grouped(digits, groups, r.choice(["", " ", "-", ".", " - "]))


def wide_card(r):
    return "".join(chr(0xFF10 + int(c)) if c.isdigit() else c for c in card(r))


def iban(r):
    body = number(r, 18)
    check = 98 - int("".join(str(int(c, 36)) for c in f"{body}DE00")) % 97
    whole = f"DE{check:02}{body}"
    return r.choice([whole, whole.lower(), grouped(whole, (4, 4, 4, 4, 4, 2), " ")])


def ssn(r):
    return r.choice(["{:03}-{:02}-{:04}", "{:03} {:02} {:04}", "SSN: {:03}{:02}{:04}"]).format(
        r.randint(100, 665), r.randint(1, 99), r.randint(1, 9999)
    )


def nino(r):
    return r.choice(["AB 12 34 56 C", "ab123456c", "JG103759A", "AB-12-34-56-D"])


def dni(r):
    digits = number(r, 8)
    letter = DNI[int(digits) % 23]
    return r.choice([f"{digits}{letter}", f"{digits}-{letter}".upper(), f"{grouped(digits, (2, 3, 3), '.')}-{letter}"])


def nie(r):
    digits = number(r, 7)
    return f"Y{digits}{DNI[int('1' + digits) % 23].upper()}"


def codice(r):
    return r.choice(["RSSMRA85T10A562S", "rssmra85t10a562s"])


def aadhaar(r):
    digits = ending(checksums.verhoeff, number(r, 11, "23456789"))
    return grouped(digits, (4, 4, 4), r.choice(["", " ", "-"]))


def cpf(r):
    digits = next(d for d in (f"{n:011}" for n in range(12345678900, 12345679999)) if checksums.cpf(d))
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


def nir(r):
    body = f"1{r.randint(40, 99)}{r.randint(1, 12):02}75{number(r, 6, '0123456789')}"
    return f"{body}{97 - int(body) % 97:02}"


def swedish(r):
    digits = ending(checksums.luhn, f"8112{r.randint(10, 28)}{number(r, 3, '0123456789')}")
    return f"{digits[:6]}-{digits[6:]}"


def user(r):
    return r.choice(
        [
            "@bob_s99",
            "@Maria.Lopez",
            "/u/norskie7",
            "u/some-body",
            "@a_b@mastodon.social",
            "someone#1234",
            "Snapchat: bob_99",
        ]
    )


def profile(r):
    return r.choice(
        [
            "https://twitter.com/bobsmith",
            "twitter.com/bobsmith/status/12345",
            "https://www.linkedin.com/in/bob-smith-123",
            "http://facebook.com/bob.smith?x=1",
            "instagram.com/bob.smith",
            "https://github.com/bobsmith",
            "https://www.reddit.com/user/bobsmith/comments",
            "http://bob:secret@example.org/",
            "https://example.org/?mail=bob%40example.org",
            "https://example.org/x?q=bob@example.org",
            "https://medium.com/@bobsmith/post-1",
            "http://bobsmith.tumblr.com/post/1",
            "http://example.edu/~bobsmith/",
            "mailto:bobsmith@example.org",
            "http://10.1.2.3/bobsmith",
        ]
    )


KINDS = {
    "EMAIL": (email, spelled_email),
    "PHONE": (american, foreign_phone, spoken_phone),
    "IP": (ip,),
    "CARD": (card, wide_card),
    "IBAN": (iban,),
    "NATIONAL_ID": (ssn, nino, dni, nie, codice, aadhaar, cpf, nir, swedish),
    "USER": (user,),
    "URL": (profile,),
}
PLANTERS = [(kind, make) for kind, makes in KINDS.items() for make in makes]
SAME = {"URL": {"URL", "USER", "EMAIL", "IP"}, "USER": {"USER"}}


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
