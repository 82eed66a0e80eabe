"""Runs of digits: which of them are addresses, cards, identifiers or telephones, and which are years and prices.

A run is digits with at most three of space . - ( ) / between them. Most are short and are left at once.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from persona_rm.construct.cleaning import checksums
from persona_rm.construct.cleaning.identifiers import BEFORE, IdentifierMatch, accounts, digits_of, identifiers
from persona_rm.construct.cleaning.view import View
from persona_rm.errors import MissingExtra

RUN = r"(?<!\d)\d(?:[ .\-()/]{0,3}\d)*+"
LETTERS = 8
"""How far before its first digit an identifier may begin."""
TRIES = 64
"""In a run with more, what is written like a telephone number is taken for one without asking the library."""
LONGEST = 64
"""Longer runs are tables of numbers: they are searched by pattern, but not asked about as one telephone number."""
REGIONS = ("GB", "FR", "DE", "IT", "AU", "NL")
"""Whose national numbers with a leading zero are recognised."""
LIMITS = ("2147483647", "2147483648", "4294967295", "4294967296")
"""Powers of two that are valid American numbers."""

IPV4 = re.compile(r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\w)(?!\.\d)(?::\d{1,5}\b)?")
VERSION = re.compile(r"(?:v|ver|version|release|build|firmware|section|chapter|ios|android)[. :#]{0,3}$")
CARD = re.compile(
    r"(?<!\d)(?<!\d[.,])(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}(?:[ .\-]{1,3}\d{4}){3}(?:[ .\-]{1,3}\d{1,3})?"
    r"|3\d{3}[ .\-]{1,3}\d{6}[ .\-]{1,3}\d{4,5})(?!\d)"
)
AMERICAN = re.compile(
    r"(?<![\d$])(?<!\d[.\-/])(?:\+?1[ .\-]{0,3})?"
    r"(?:\([2-9]\d\d\)[ .\-]{0,3}\d{3}[ .\-]{0,3}\d{4}|[2-9]\d\d(?:[.\-/]|[ ]?-[ ]?)\d{3}(?:[.\-]|[ ]?-[ ]?)\d{4}"
    r"|[2-9]\d\d[ .\-]{1,3}[2-9]\d\d[ .\-]{1,3}\d{4}|[2-9]\d\d[ .\-]?[2-9]\d{6}|[2-9]\d{5}[ .\-]\d{4})"
    r"(?!\d)(?![.\-/]\d)"
)
INDIAN = re.compile(r"(?<![\d$])(?<!\d[ .\-/])[6-9]\d{4}[ \-]\d{5}(?!\d)(?![ .\-/]\d)")
NATIONAL = re.compile(r"(?<!\d)(?<!\d[.\-/,:])\(?0[1-9](?:[ .\-()/]{0,3}\d){7,11}(?!\d)(?![.\-/]\d)")
INTERNATIONAL = re.compile(r"(?:\+[ (]{0,2}|(?<![a-z\d])00[ ]?)[1-9](?:[ .\-()/]{0,3}\d){6,14}")
SPOKEN = re.compile(
    r"\b(?:(?:tele)?phone|tel|cell|mobile|call|text|txt|whatsapp|fax|dial|ring|sms|reach (?:me|us|him|her))"
    r"\b[^\d\n]{0,24}$"
)
SOCIAL = re.compile(r"\b(?:ssn|social(?: security)?(?: number| no)?)\W{0,3}(?:is\W{1,3})?$")
BOOK = re.compile(r"\b(?:e?isbn(?:-?1[03])?|asin|issn)\b[^\d\n]{0,8}$")
PRODUCT = re.compile(r"\b(?:upc|ean|gtin|sku|bar\s?code|item (?:no|number)|part (?:no|number))\b[^\d\n]{0,12}$")
SPACED_UPC = re.compile(r"\d[ \-]\d{5}[ \-]\d{5}[ \-]\d")
GROUPED_ISBN = re.compile(r"(?=[\dx \-]{13}(?!\w))\d{1,5}([ \-])\d{1,7}\1\d{1,6}\1[\dx](?!\w)")
OPERATOR = re.compile(r"(?:[=*\u00d7\u00b7\u22c5^~<>\u2248{|]|\\[a-z]+|(?<=\d) ?[x+/])\s{0,2}\{?$")
"""What stands before a factor or a result of a formula."""
OPERATOR_AFTER = re.compile(r"\s{0,2}(?:[*\u00d7\u00b7\u22c5^}]|\\(?:cdot|times|div|pm|approx|over|,)|= ?\$?[\d\\-])")
DECIMAL = re.compile(r"\d+\.\d+")
DATE = re.compile(r"(?<!\d)(?:\d{1,2}[.\-/]\d{1,2}[.\-/](?:19|20)?\d\d|(?:19|20)\d\d[.\-/]\d{1,2}[.\-/]\d{1,2})(?!\d)")
YEARS = re.compile(r"(?:(?:19|20)\d\d[ .\-()/]*)+|(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d")


def numerals(view: View, start: int, end: int, floor: int) -> list[IdentifierMatch]:
    """What the run from `start` to `end` holds. Nothing before `floor` is looked at: it has been given a mark.

    Raises MissingExtra if a telephone number is likely and phonenumbers is not installed.
    """
    text = view.text
    size = end - start
    lettered = text[start - 1 : start].isalpha() or text[end : end + 1].isalpha()
    if size < 6 and not lettered:
        return []
    # The order in which kinds are added below is their rank: of matches that overlap, `_apart` keeps the mark of the
    # kind that was added first. So telephone numbers with a + come before cards, and those with 00 after them.
    if _is_other(text, start, end):
        return []
    low = max(floor, start - LETTERS)
    matches: list[IdentifierMatch] = list(accounts(view, low, end))
    if size >= 6:
        matches += _addresses(text, start, end)
    # Counted only if the run holds something else, because most runs are digits alone.
    digits = size if text[start:end].isdigit() else len(digits_of(text[start:end]))
    # A plus and two of space and bracket may stand before the first digit of `INTERNATIONAL`.
    abroad = list(_abroad(text, max(floor, start - 3), end)) if digits >= 7 else []
    matches += [one for one in abroad if text[one.start] == "+"]
    if digits >= 13:
        matches += _cards(text, start, end)
    matches += abroad
    matches += identifiers(view, low, end)
    if digits == 9 and SOCIAL.search(text, max(floor, start - BEFORE), start):
        matches.append(IdentifierMatch(start, end, "NATIONAL_ID"))
    if digits >= 7:
        matches += _telephones(text, max(floor, start - 3), start, end, digits)
    return _apart(matches)


def _apart(matches: list[IdentifierMatch]) -> list[IdentifierMatch]:
    """In the order of the text; of those that overlap, one with the mark of the first named."""
    kept: list[tuple[int, IdentifierMatch]] = []
    for rank, one in (
        sorted(enumerate(matches), key=lambda pair: pair[1].start) if len(matches) > 1 else enumerate(matches)
    ):
        if kept and one.start < kept[-1][1].end:
            best, last = kept[-1]
            mark = last.mark if best < rank else one.mark
            kept[-1] = min(best, rank), IdentifierMatch(last.start, max(one.end, last.end), mark)
        else:
            kept.append((rank, one))
    return [one for _, one in kept]


def _addresses(text: str, start: int, end: int) -> Iterator[IdentifierMatch]:
    # A run holds no colon, so a port lies behind its end; the lookahead needs one more character.
    for match in IPV4.finditer(text, start, end + len(":65535") + 1):
        parts = match.group().partition(":")[0].split(".")
        plain = all(part == str(int(part)) and int(part) < 256 for part in parts)
        if plain and not VERSION.search(text, max(0, match.start() - 10), match.start()):
            yield IdentifierMatch(*match.span(), "IP")


def _cards(text: str, start: int, end: int) -> Iterator[IdentifierMatch]:
    # One more character than the run, for the lookahead.
    for match in CARD.finditer(text, start, end + 1):
        # Barcodes of products have 13 digits, and cards of today more.
        if checksums.card(digits_of(match.group())) and not checksums.ean(match.group()):
            yield IdentifierMatch(*match.span(), "CARD")
    if (
        end - start <= LONGEST
        and not DECIMAL.fullmatch(text, start, end)
        and checksums.card(digits_of(text[start:end]))
        and not checksums.ean(text[start:end])
    ):
        yield IdentifierMatch(start, end, "CARD")


def _abroad(text: str, low: int, end: int) -> Iterator[IdentifierMatch]:
    """Telephone numbers with a country's code."""
    for match in INTERNATIONAL.finditer(text, low, end):
        if size := _international(match.group()):
            yield IdentifierMatch(match.start(), match.start() + size, "PHONE")


def _telephones(text: str, low: int, start: int, end: int, digits: int) -> Iterator[IdentifierMatch]:
    """Written as telephone numbers are, or after a word such as "call"; not dates, years and book numbers."""
    before = max(0, start - BEFORE)
    if digits == 13 and _isbn13(text[start:end]):
        return
    for match in AMERICAN.finditer(text, low, end + 2):
        # Punctuation shows that a number is one to call. Bare digits must be a number that the library knows.
        written = match.group()
        if written.isdigit():
            taken = _alone(text, *match.span()) and written not in LIMITS and _valid(written, ("US",))
        else:
            taken = _ended(text, match.end())
        if taken:
            yield IdentifierMatch(*match.span(), "PHONE")
    yield from (IdentifierMatch(*match.span(), "PHONE") for match in INDIAN.finditer(text, low, end + 2))
    for number, match in enumerate(NATIONAL.finditer(text, low, end + 2)):
        if match.group().isdigit() and not _alone(text, *match.span()):
            continue
        if not DATE.search(match.group()) and (number >= TRIES or _valid(match.group(), REGIONS)):
            yield IdentifierMatch(*match.span(), "PHONE")
    spoken = digits <= 15 and end - start <= LONGEST and SPOKEN.search(text, before, start)
    if spoken and not DATE.search(text, start, end) and not YEARS.fullmatch(text, start, end):
        yield IdentifierMatch(start, end, "PHONE")


def _is_other(text: str, start: int, end: int) -> bool:
    """True for the number of a book or a product, and for a bare number of a formula."""
    before = max(0, start - BEFORE)
    if BOOK.search(text, before, start) or PRODUCT.search(text, before, start):
        return True
    run = text[start:end]
    if SPOKEN.search(text, before, start):
        return False
    if SPACED_UPC.fullmatch(run):
        return checksums.upc(digits_of(run))
    if book := GROUPED_ISBN.match(text, start):
        return book.end() >= end and checksums.isbn10("".join(c for c in book.group() if c.isalnum()))
    if not run.isdigit():
        return False
    if (len(run) == 10 and checksums.isbn10(run)) or (len(run) == 12 and checksums.upc(run) and run[0] in "01"):
        return _alone(text, start, end) and text[start - 1 : start] != "+"
    return bool(OPERATOR.search(text, max(0, start - 12), start) or OPERATOR_AFTER.match(text, end))


def _alone(text: str, start: int, end: int) -> bool:
    """False for digits inside a word of letters, such as a hash; an extension ("x12") may follow."""
    return not text[max(0, start - 1) : start].isalnum() and _ended(text, end)


def _ended(text: str, end: int) -> bool:
    """False if letters follow at once; an extension may."""
    after = text[end : end + 2]
    return not after[:1].isalpha() or (after[:1] == "x" and after[1:].isdigit()) or text.startswith("ext", end)


def _isbn13(text: str) -> bool:
    digits = digits_of(text)
    return digits[:3] in ("978", "979") and checksums.ean(digits)


def _international(text: str) -> int:
    """How many characters of a text that begins with + or 00 are a telephone number: the most that are valid, or
    else the most that are possible, or 0. Ends are tried where a group of digits ends."""
    ends = [match.end() for match in re.finditer(r"\d+", text)][::-1]
    number = "+" + text[2:] if text.startswith("00") else text
    shift = len(text) - len(number)
    tries = [(size, number[: size - shift]) for size in ends if 7 <= len(digits_of(number[: size - shift])) <= 15]
    library = _library()
    parsed = [(size, one) for size, part in tries if (one := _parse(part, None)) is not None]
    for test in (library.is_valid_number, library.is_possible_number):
        for size, one in parsed:
            if test(one):
                return size
    return 0


def _valid(text: str, regions: tuple[str, ...]) -> bool:
    library = _library()
    return any((one := _parse(text, region)) is not None and library.is_valid_number(one) for region in regions)


def _parse(text: str, region: str | None) -> Any:
    """The library's number, or None where it says that this is none."""
    library = _library()
    try:
        return library.parse(text, region)
    except library.NumberParseException:
        return None


@cache
def _library() -> Any:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtra("telephone numbers need phonenumbers: pip install persona_rm[data]") from error
    return phonenumbers
