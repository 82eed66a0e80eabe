"""Bank accounts and national identifiers: a table of patterns with validators, in one compiled pattern.

Patterns meet a lower-case text. A validator gets the match as it was written, so that it may ask for capitals where
small letters are likely to be plain words.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from persona_rm.construct.cleaning import checksums
from persona_rm.construct.cleaning.national_ids import WORLD
from persona_rm.construct.cleaning.view import View

DNI = "trwagmyfpdxbnjzsqvhlcke"
"""Check letters of Spanish numbers, by remainder modulo 23."""
NOT_NINO = frozenset({"bg", "gb", "nk", "kn", "tn", "nt", "zz"})
START, END = r"(?<![\w])(?<!\d[.\-])", r"(?![\w])(?![.\-]\d)"


class Identifier(NamedTuple):
    """A kind of number: the mark it gets, its pattern, and what a match must satisfy beyond it."""

    name: str
    mark: str
    pattern: str
    valid: Callable[[str], bool]
    context: str = ""
    """What must stand before it; "" if it is recognised by itself."""


class IdentifierMatch(NamedTuple):
    """A stretch of the searched copy and the mark that takes its place."""

    start: int
    end: int
    mark: str


def plain(text: str) -> str:
    """Letters and digits only, lower case."""
    return "".join(c for c in text.lower() if c.isalnum())


def digits_of(text: str) -> str:
    """Digits only."""
    return "".join(c for c in text if c.isdigit())


def _always(_: str) -> bool:
    return True


def _nino(text: str) -> bool:
    # Small letters with spaces between the groups may be words, so such a text must be in capitals.
    return plain(text)[:2] not in NOT_NINO and (text.isalnum() or text.upper() == text)


def _dni(text: str) -> bool:
    code = plain(text)
    # The letter of a foreigner's number (NIE) counts as its first digit.
    number = code[:-1].translate(str.maketrans("xyz", "012"))
    return DNI[int(number) % 23] == code[-1]


def _date(digits: str) -> bool:
    """yymmdd."""
    return 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) <= 31


def _pesel(text: str) -> bool:
    # The century is added to the month, in steps of 20.
    month = int(text[2:4]) % 20
    sum_ = checksums.weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return 1 <= month <= 12 and 1 <= int(text[4:6]) <= 31 and sum_ % 10 == 0


def _german(text: str) -> bool:
    """One digit of the first ten occurs two or three times (section 139b AO, since 2016), and the check digit."""
    number = digits_of(text)
    most = sorted((number[:10].count(d) for d in set(number[:10])), reverse=True)
    return most[0] in (2, 3) and max(most[1:], default=1) == 1 and checksums.mod_11_10(number)


def _french(text: str) -> bool:
    number = digits_of(text)
    return 97 - int(number[:13]) % 97 == int(number[13:])


def _social(text: str) -> bool:
    number = digits_of(text)
    return number[:3] not in ("000", "666") and number[3:5] != "00" and number[5:] != "0000" and number[0] != "9"


NATIONAL = "NATIONAL_ID"
TABLE = (
    Identifier("us_ssn", NATIONAL, rf"{START}\d{{3}}(?:-\d\d-| \d\d )\d{{4}}{END}", _social),
    Identifier(
        "us_itin", NATIONAL, rf"{START}9\d\d(?:-(?:[578]\d|6[0-5]|9[0-24-9])-| (?:[578]\d) )\d{{4}}{END}", _always
    ),
    Identifier(
        "uk_nino",
        NATIONAL,
        rf"{START}[a-ceghj-prstw-z][a-ceghj-nprstw-z](?:[ -]?\d\d){{3}}[ -]?[a-d]{END}",
        _nino,
    ),
    Identifier("es_dni", NATIONAL, rf"{START}(?:\d{{8}}|\d\d\.\d{{3}}\.\d{{3}})-?[{DNI}]{END}", _dni),
    Identifier("es_nie", NATIONAL, rf"{START}[xyz]-?\d{{7}}-?[{DNI}]{END}", _dni),
    Identifier(
        "it_codice",
        NATIONAL,
        rf"{START}[a-z]{{6}}[ ]?(?:[\dl-np-v]{{2}}[ ]?)[a-ehlmprst][\dl-np-v]{{2}}[ ]?[a-z][\dl-np-v]{{3}}[a-z]{END}",
        lambda text: checksums.codice_fiscale(plain(text)),
    ),
    Identifier(
        "in_aadhaar",
        NATIONAL,
        rf"{START}[2-9]\d{{3}}(?:\d{{8}}| \d{{4}} \d{{4}}|-\d{{4}}-\d{{4}}){END}",
        lambda text: checksums.verhoeff(digits_of(text)),
    ),
    Identifier("in_pan", NATIONAL, rf"{START}[a-z]{{3}}p[a-z]\d{{4}}[a-z]{END}", str.isupper),
    Identifier("fr_nir", NATIONAL, rf"{START}[12] ?\d\d ?\d\d ?\d\d ?\d{{3}} ?\d{{3}} ?\d\d{END}", _french),
    Identifier("de_steuer", NATIONAL, rf"{START}[1-9]\d ?\d{{3}} ?\d{{3}} ?\d{{3}}{END}", _german),
    Identifier("pl_pesel", NATIONAL, rf"{START}\d{{11}}{END}", _pesel),
    Identifier(
        "br_cpf",
        NATIONAL,
        rf"{START}\d{{3}}\.\d{{3}}\.\d{{3}}-\d\d{END}",
        lambda text: checksums.cpf(digits_of(text)),
    ),
    Identifier(
        "ca_sin",
        NATIONAL,
        rf"{START}[1-79]\d\d-\d{{3}}-\d{{3}}{END}",
        lambda text: checksums.luhn(digits_of(text)),
    ),
    Identifier(
        "ch_ahv",
        NATIONAL,
        rf"{START}756[. ]?\d{{4}}[. ]?\d{{4}}[. ]?\d\d{END}",
        lambda text: checksums.ean(digits_of(text)),
    ),
    Identifier(
        "se_person",
        NATIONAL,
        rf"{START}(?:19|20)?\d{{6}}[-+]\d{{4}}{END}",
        lambda text: _date(digits_of(text)[-10:]) and checksums.luhn(digits_of(text)[-10:]),
    ),
    *(Identifier(row.name, NATIONAL, f"{START}{row.pattern}{END}", row.valid, row.context) for row in WORLD),
)
_IBAN = re.compile(r"(?<!\w)[a-z]{2}\d\d(?:[ \-]?[a-z0-9]){11,30}")
_ANY = re.compile("|".join(f"(?:{row.pattern})" for row in TABLE))
_EACH = tuple((re.compile(row.pattern), row, re.compile(rf"(?:{row.context})[^\d\n]{{0,24}}$")) for row in TABLE)
BEFORE = 40
"""How far before a number a word may stand that says what it is."""
WORD = re.compile(r"(?<!\w)\w")
LETTER = re.compile(r"(?<!\w)[a-z]")
"""Where a word begins, and where one with a letter does."""


def identifiers(view: View, start: int, end: int) -> Iterator[IdentifierMatch]:
    """The identifiers of the table that begin between two places of the searched copy, in order, none within another.

    All begin where a word begins, and none has an unbounded repetition, so work is bounded by the number of words.
    """
    place = start
    for word in WORD.finditer(view.text, start, end):
        if word.start() >= place and (match := _at(view, word.start())):
            place = match.end
            yield match


def _at(view: View, start: int) -> IdentifierMatch | None:
    # Most words are no identifier, and one match of all patterns joined tells so. The joined pattern would stop at the
    # first that fits, so each is tried for itself if one of them does: its validator may refuse it.
    if not _ANY.match(view.text, start):
        return None
    for pattern, row, context in _EACH:
        match = pattern.match(view.text, start)
        if match is None or not row.valid(view.written[start : match.end()]):
            continue
        if not row.context or context.search(view.text, max(0, start - BEFORE), start):
            return IdentifierMatch(start, match.end(), row.mark)
    return None


def accounts(view: View, start: int, end: int) -> Iterator[IdentifierMatch]:
    """IBANs that begin between two places. Words that follow one are told from it by the country's length."""
    text = view.text
    for word in LETTER.finditer(text, start, end):
        size = checksums.IBAN_LENGTHS.get(text[word.start() : word.start() + 2], 0)
        match = _IBAN.match(text, word.start()) if size else None
        if not match:
            continue
        # The pattern may run on into the next word. The country's length says where the number ends.
        places = [i for i in range(*match.span()) if text[i].isalnum()][:size]
        stop = places[-1] + 1
        if checksums.iban("".join(text[i] for i in places)) and not text[stop : stop + 1].isalnum():
            yield IdentifierMatch(match.start(), stop, "IBAN")
