"""Personal identifiers, replaced by typed marks: one combined pattern over a normalised copy, validators behind it.

Marks are [EMAIL] [PHONE] [IP] [MAC] [CARD] [IBAN] [NATIONAL_ID] [USER] [URL] [WALLET] [KEY] [VIN] [COORDINATES].
A kind takes part in the pattern only where the text holds what it cannot do without (an e-mail needs an @ or a spelled
one), so plain prose costs a few substring searches. Possessive and bounded repetitions, and starts that only lie where
a run begins, keep the work linear in the length of the text. Names, places and dates of birth are not detected: no
pattern tells them. docs/pii.md holds the measured recall.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from persona_rm.construct.cleaning import coordinates, keys, links
from persona_rm.construct.cleaning.identifiers import IdentifierMatch
from persona_rm.construct.cleaning.lists import listed
from persona_rm.construct.cleaning.numerals import RUN, numerals
from persona_rm.construct.cleaning.view import View, view
from persona_rm.construct.cleaning.wallets import VIN, WALLET, is_vin, is_wallet

ROUNDS = 8
"""A text is searched again until nothing is found: what a mark took away may have hidden its neighbour."""
PROVIDERS = "gmail|googlemail|hotmail|yahoo|ymail|outlook|icloud|protonmail|aol|gmx|live|mailinator|fastmail|zoho"
TLD = (
    "(?:com|org|net|edu|gov|mil|info|biz|io|co|me|uk|de|fr|es|it|nl|ca|au|in|us|eu|ch|at|se|no|dk|fi|pl|be|ie|nz|jp|"
    "ru|br|mx|za|tv|dev|app|xyz|ac|ai|pt|gr|cz|hu|ro|tr|il|kr|cn|hk|sg|tw|ar|cl)"
)
LOCAL = r"(?<![\w.+'\-])[\w.+'\-]++"
AT_WORDS = "at|arroba|arobase|chiocciola|\u00e4t|aet"
DOT_WORDS = "dot|punto|ponto|point|punkt|punt"
AT = (
    rf"\s{{0,3}}(?:@|&#0{{0,4}}64;?|&#x0{{0,4}}40;?|&commat;|%40|[(\[{{<]\s?(?:{AT_WORDS}|@)\s?[)\]}}>]"
    r"|[(\[{]\s?a\s?[)\]}])\s{0,3}"
)
DOT = (
    rf"(?:\.|&#0{{0,4}}46;?|&#x0{{0,4}}2e;?|&period;|\s{{0,3}}[(\[{{<]\s?(?:{DOT_WORDS}|\.)\s?[)\]}}>]\s{{0,3}}"
    r"|\s{1,3}dot\s{1,3}|\s{1,2}\.\s?)"
)
LABEL = r"[\w\-]{1,63}"
WORD_DOT = r"\s{1,3}dot\s{1,3}"
FOREIGN_DOT = rf"(?:\.|\s{{1,3}}(?:{DOT_WORDS})\s{{1,3}})"
FOREIGN_AT = r"\s{1,3}(?:arroba|arobase|chiocciola)\s{1,3}"
"""Words that mean nothing but the sign."""
JOINED = (
    r"(?<![\w.+'\-])(?=[\w.\- ]{0,80}?[_\-]at[_\-])[a-z0-9][a-z0-9.]{0,40}?\s?[_\-]{1,2}at[_\-]{1,2}\s?[a-z0-9]{2,40}"
    r"(?:\s?[_\-]{1,2}dot[_\-]{1,2}\s?[a-z0-9]{2,40}){0,3}?"
    rf"\s?[_\-]{{1,2}}dot[_\-]{{1,2}}\s?{TLD}(?![a-z0-9])"
)
"""Joined by dashes or underscores: jo_at_firm_dot_com, jo -at- firm -dot- com."""
EMAIL = (
    rf"{LOCAL}(?:@(?:[\w\-]++(?:\.[\w\-]++)++|(?:{PROVIDERS})\b)"
    rf"|{AT}{LABEL}(?:{DOT}{LABEL}){{0,3}}{DOT}{TLD}\b|{AT}(?:{PROVIDERS})\b"
    rf"|{FOREIGN_AT}{LABEL}(?:{FOREIGN_DOT}{LABEL}){{0,3}}{FOREIGN_DOT}{TLD}\b)"
)
SPELLED = (
    rf"{LOCAL}\s{{1,3}}at\s{{1,3}}(?!(?:the|a|an|this|that|my|your|his|her|our|their|its)\s)(?:{LABEL}(?:{WORD_DOT}{LABEL}){{0,3}}{WORD_DOT}{TLD}\b"
    rf"|(?:{PROVIDERS}){DOT}(?:com|net|org|de|fr|co{DOT}uk|co|me)\b)"
)
ADDRESSED = rf"{LOCAL}\s{{1,3}}at\s{{1,3}}{LABEL}(?:\.{LABEL}){{0,3}}\.{TLD}\b"
"""A whole host behind "at", which is an address only where a word says so: "look at example.com"."""
MAIL_WORD = re.compile(r"\b(?:e-?mails?|mail me|contact|reach(?: me| us)?|write to|send to|inbox)\b")
USER = (
    r"(?<![\w@])@[a-z_](?:[\w.\-]*\w)?+(?:@[\w.\-]*\w)*+|(?:/u/|(?<!\w)u/|(?<![\w./])/user/)[\w\-]{3,}+"
    r"|(?<![\w#/])[a-z][\w.]{1,31}+#\d{4}(?!\w)"
)
HANDLE = (
    r"(?<!\w)(?:snap(?:chat)?|insta(?:gram)?|ig|kik|psn|gamertag|gt|discord|skype|telegram|venmo|cashapp|steam|origin|"
    r"xbl|battle\.?tag|twitter|username)(?:\s(?:id|name|handle|account))?(?:\s?[:=]|\sis)\s{0,2}"
    r"(?=[\w.\-]{0,30}[\d_])[\w.\-]{3,}+"
)
NETWORK = (
    r"(?<![\w:.])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])|(?<![\w\-])(?:[0-9a-f]{2}-){5}[0-9a-f]{2}(?![\w\-])"
    r"|(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{0,4})(?![\w:])"
)
NOT_USERS = frozenset(f"@{word}" for word in listed("not_users"))
NOT_TAGS = frozenset(listed("not_tags"))
DIGIT = re.compile(r"\d")
LONG_WORD = re.compile(r"(?<![a-z\d])[a-z\d]{17}")
JOINT = re.compile(r"[_\-]at[_\-]")
BEFORE = 48
"""How far before a match the words stand that say what it is."""
HOSTS = (".co", ".io", ".org", ".net/", ".me/", ".gg/", ".fm/", ".it/", ".tv/", ".app/", ".ru/", ".ee/")
ATS = (
    *("&#", "&commat", "%40", "arroba", "arobase", "chiocciola"),
    *(f"{bracket}{space}{word}" for bracket in "([{<" for space in ("", " ") for word in ("a", "\u00e4")),
)
HANDLES = (
    "snap",
    "insta",
    "ig ",
    "ig:",
    "kik",
    "psn",
    "tag",
    "gt:",
    "discord",
    "skype",
    "telegram",
    "venmo",
    "cashapp",
    "steam",
    "origin",
    "twitter",
    "username",
    "xbl",
)


def _any(parts: tuple[str, ...]) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        for part in parts:  # noqa: SIM110 - half the time of any() over a generator, and every text comes here
            if part in text:
                return True
        return False

    return holds


def _spelled(text: str) -> bool:
    return " at " in text and _SPELLED(text)


def _keyed(text: str) -> bool:
    # Keys hold digits, and most texts none.
    return DIGIT.search(text) is not None and _KEYS(text)


def _long_word(text: str) -> bool:
    return DIGIT.search(text) is not None and LONG_WORD.search(text) is not None


def _handled(text: str) -> bool:
    return (":" in text or " is " in text) and _HANDLES(text)


_SPELLED = _any(("dot", *PROVIDERS.split("|")))
_HANDLES = _any(HANDLES)
_KEYS = _any(keys.starts())
RUNS = re.compile(RUN)


class IdentifierKind(NamedTuple):
    """A part of the combined pattern, and whether a (lower-case) text can hold it at all."""

    name: str
    pattern: str
    possible: Callable[[str], bool]


KINDS = (
    IdentifierKind("key", keys.start_pattern(), _keyed),
    IdentifierKind("joined", JOINED, lambda text: "dot" in text and JOINT.search(text) is not None),
    IdentifierKind("addressed", ADDRESSED, lambda text: " at " in text and MAIL_WORD.search(text) is not None),
    IdentifierKind("email", EMAIL, _any(("@", *ATS))),
    IdentifierKind("spelled", SPELLED, _spelled),
    IdentifierKind("link", links.LINK, _any(("://", "www.", *HOSTS))),
    IdentifierKind("user", USER, _any(("@", "u/", "/user/", "#"))),
    IdentifierKind("handle", HANDLE, _handled),
    # The six groups of a hardware address have five separators between them.
    IdentifierKind("network", NETWORK, lambda text: "::" in text or text.count(":") >= 5 or text.count("-") >= 5),
    IdentifierKind("wallet", WALLET, _long_word),
    IdentifierKind("vin", VIN, _long_word),
    IdentifierKind("coordinates", coordinates.COORDINATES, coordinates.possible),
    IdentifierKind("number", RUN, lambda text: DIGIT.search(text) is not None),
)


@cache
def _combined(kinds: tuple[bool, ...]) -> re.Pattern[str] | None:
    """The pattern of the kinds that are possible, compiled when first met."""
    parts = [f"(?P<{kind.name}>{kind.pattern})" for kind, wanted in zip(KINDS, kinds, strict=True) if wanted]
    return re.compile("|".join(parts)) if parts else None


def find(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of what one pass finds, in the order of the text, none overlapping."""
    copy = view(text)
    return [(*copy.original(one.start, one.end), one.mark) for one in _search(copy)]


def _search(copy: View) -> list[IdentifierMatch]:
    text = copy.text
    pattern = _combined(tuple(kind.possible(text) for kind in KINDS))
    matches: list[IdentifierMatch] = []
    place = 0
    while pattern and (match := pattern.search(text, place)):
        here = _judge(copy, match, matches[-1].end if matches else 0)
        matches += here
        # A match that was judged to be nothing is passed over whole, so that no part of an ordinary link is searched.
        # A run of digits may hold a match that ends behind it, such as an address with its port.
        place = max(match.end(), here[-1].end if here else 0)
    return matches


def _judge(copy: View, match: re.Match[str], floor: int) -> list[IdentifierMatch]:
    """What a match of the combined pattern is: nothing, itself, or (a run of digits) several things."""
    start, end = match.span()
    if match.lastgroup == "number":
        return numerals(copy, start, end, floor)
    kind = str(match.lastgroup)
    if kind in CHECKED:
        return _checked(copy, kind, start, end, floor)
    mark = _mark(kind, match.group())
    if match.lastgroup == "link":
        # Punctuation at the end belongs to the sentence, and not to the link.
        end = start + len(match.group().rstrip(".,;:!?'*_"))
    return [IdentifierMatch(start, end, mark)] if mark else []


CHECKED = ("key", "addressed", "wallet", "vin", "coordinates")
"""Kinds that need more than their text: capitals, or the words before them."""


def _checked(copy: View, kind: str, start: int, end: int, floor: int) -> list[IdentifierMatch]:
    """The match of such a kind, or what the digits in it are otherwise."""
    if kind == "key":
        stop = keys.key_end(copy.written, start)
        return [] if stop is None else [IdentifierMatch(start, stop, "KEY")]
    text, written = copy.text[start:end], copy.written[start:end]
    before = copy.text[max(0, start - BEFORE) : start]
    if kind == "addressed":
        return [IdentifierMatch(start, end, "EMAIL")] if MAIL_WORD.search(before) else []
    if kind == "wallet" and is_wallet(written):
        return [IdentifierMatch(start, end, "WALLET")]
    if kind == "vin" and is_vin(text, before):
        return [IdentifierMatch(start, end, "VIN")]
    if kind == "coordinates" and coordinates.is_position(text, before):
        return [IdentifierMatch(start, end, "COORDINATES")]
    matches: list[IdentifierMatch] = []
    for run in RUNS.finditer(copy.text, start, end):
        matches += numerals(copy, run.start(), run.end(), max(floor, matches[-1].end if matches else 0))
    return matches


def _mark(kind: str, text: str) -> str:
    """The mark of a match that is not a number, or ""."""
    if kind == "link":
        return links.link_mark(text)
    if kind == "network":
        return _network(text)
    if kind == "user":
        return "" if text in NOT_USERS or text.partition("#")[0] in NOT_TAGS else "USER"
    return "USER" if kind == "handle" else "EMAIL"


def _network(text: str) -> str:
    """A hardware address, an IPv6 address, or neither: times, slices and C++ names look like the latter."""
    groups = [group for group in re.split("[:-]", text) if group]
    if len(groups) == 6 and all(len(group) == 2 for group in groups) and "::" not in text:
        return "MAC"
    if not (len(groups) >= 3 or (groups and len(groups[0]) == 4)) or not DIGIT.search(text):
        return ""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    return "IP"


def scrub(text: str) -> tuple[str, Counter[str]]:
    """The text with marks in the place of identifiers, and how many of each kind. Scrubbing again changes nothing.

    Raises MissingExtra if phonenumbers is needed and not installed.
    """
    marks: Counter[str] = Counter()
    for _ in range(ROUNDS):
        matches = find(text)
        if not matches:
            break
        marks.update(kind for _, _, kind in matches)
        text = replace_spans(text, matches)
    return text, marks


def replace_spans(text: str, spans: list[tuple[int, int, str]]) -> str:
    """The text with each (start, end, kind), sorted and apart, replaced by [kind]."""
    parts, place = [], 0
    for start, end, kind in spans:
        parts += [text[place:start], f"[{kind}]"]
        place = end
    return "".join([*parts, text[place:]])


def leaks(text: str) -> list[str]:
    """The kinds of identifiers that the detectors still find: empty after `scrub`."""
    return sorted({kind for _, _, kind in find(text)})
