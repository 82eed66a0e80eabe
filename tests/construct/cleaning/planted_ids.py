"""Identifiers that are planted into sentences, made by their rules, and numbers that are none.

Shared by the tests and by the table of docs/pii.md: python -m tests.perf.pii_recall
"""

import hashlib

from persona_rm.construct.cleaning import checksums
from persona_rm.construct.cleaning.identifiers import DNI
from persona_rm.construct.cleaning.wallets import BASE58, BECH32, BECH32_SUMS, GENERATORS, is_vin
from tests.construct.cleaning.country_ids import world

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


def obfuscated_email(r):
    name = r.choice(["bob.smith", "jdoe", "marta99", "x.y"])
    return name + r.choice(
        [
            " arroba ejemplo.es",
            " arroba gmail punto com",
            " [arroba] ejemplo [punto] com",
            " arobase free.fr",
            " chiocciola libero.it",
            "&#x40;example&#46;com",
            "&#064;example&period;org",
            "&commat;example.net",
            "(at)example(dot)co(dot)uk",
            " [a] example [.] com",
            "<at>example.org",
            " AT example DOT com",
            "@example[dot]com",
            " {at} example {dot} de",
            "_at_example_dot_com",
            "-at-example-dot-org",
            " -at- example -dot- net",
            " @ example . com",
            "@example (dot) org",
        ]
    )


def vin(r):
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    while True:
        code = "1" + "".join(r.choice(letters + "0123456789") for _ in range(12)) + number(r, 4, "0123456789")
        if any(c.isalpha() for c in code) and is_vin(code.lower(), ""):
            return code


def bitcoin(r):
    data = bytes([r.choice([0, 5, 48])]) + r.randbytes(20)
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    value, code = int.from_bytes(data, "big"), ""
    while value:
        value, rest = divmod(value, 58)
        code = BASE58[rest] + code
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + code


def segwit(r):
    values = [0] + [r.randrange(32) for _ in range(32)]
    check = 1
    for value in [3, 3, 0, 2, 3, *values, 0, 0, 0, 0, 0, 0]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            check ^= generator if top >> place & 1 else 0
    check ^= BECH32_SUMS[0]
    return "bc1" + "".join(BECH32[value] for value in [*values, *((check >> 5 * (5 - i)) & 31 for i in range(6))])


def ether(r):
    return "0x" + r.randbytes(20).hex()


def word(r, size, letters="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"):
    return "7" + "".join(r.choice(letters) for _ in range(size - 1))


def api_key(r):
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return r.choice(
        [
            f"AKIA{word(r, 16, capitals)}",
            f"ASIA{word(r, 16, capitals)}",
            f"aws_secret_access_key = {word(r, 40)}",
            f"ghp_{word(r, 36)}",
            f"github_pat_{word(r, 60)}",
            f"glpat-{word(r, 20)}",
            f"xoxb-{word(r, 12)}-{word(r, 24)}",
            f"AIza{word(r, 35)}",
            f"sk_live_{word(r, 24)}",
            f"sk-proj-{word(r, 48)}",
            f"sk-ant-api03-{word(r, 40)}",
            f"hf_{word(r, 34)}",
            f"npm_{word(r, 36)}",
            f"SG.{word(r, 22)}.{word(r, 43)}",
            f"eyJ{word(r, 20)}.eyJ{word(r, 40)}.{word(r, 43)}",
            f"api_key='{word(r, 32)}'",
        ]
    )


def coordinates(r):
    north, east = r.uniform(-80, 80), r.uniform(11, 179) * r.choice([1, -1])
    ns, ew = "NS"[north < 0], "EW"[east < 0]
    a, b = abs(north), abs(east)
    minutes = [f"{r.randrange(60)}'{r.uniform(0, 59):.1f}\"" for _ in range(2)]
    return r.choice(
        [
            f"{north:.6f}, {east:.6f}",
            f"({north:.5f},{east:.5f})",
            f"I live at {north:.4f}, {east:.4f}",
            f"{a:.4f}\u00b0 {ns}, {b:.4f}\u00b0 {ew}",
            f"{a:.4f} {ns}, {b:.4f} {ew}",
            f"{ns}{a:.3f} {ew}{b:.3f}",
            f"{int(a)}\u00b0{minutes[0]}{ns} {int(b)}\u00b0{minutes[1]}{ew}",
            f"lat: {north:.5f}, lon: {east:.5f}",
        ]
    )


KINDS = {
    "EMAIL": (email, spelled_email, obfuscated_email),
    "PHONE": (american, foreign_phone, spoken_phone),
    "IP": (ip,),
    "CARD": (card, wide_card),
    "IBAN": (iban,),
    "NATIONAL_ID": (ssn, nino, dni, nie, codice, aadhaar, cpf, nir, swedish, world),
    "USER": (user,),
    "URL": (profile,),
    "WALLET": (bitcoin, segwit, ether),
    "KEY": (api_key,),
    "VIN": (vin,),
    "COORDINATES": (coordinates,),
}
