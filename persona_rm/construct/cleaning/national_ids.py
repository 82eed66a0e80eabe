"""Further national identifiers. Those without a form of their own count only behind a word that says what they are.

Rules of check digits: the laws and registries of the countries, as python-stdnum's documentation lists them.
"""

from collections.abc import Callable
from typing import NamedTuple

from persona_rm.construct.cleaning import checksums

Valid = Callable[[str], bool]


class WorldId(NamedTuple):
    """A kind of number: its pattern in small letters, what it must satisfy, and the words before it ("" for none)."""

    name: str
    pattern: str
    valid: Valid
    context: str = ""


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _date(digits: str, order: str) -> bool:
    """A day and month at their places: `order` is ymd or dmy, two digits each."""
    month, day = (int(digits[at : at + 2]) for at in (order.index("m") * 2, order.index("d") * 2))
    return 1 <= month <= 12 and 1 <= day <= 31


def _sum(digits: str, weights: tuple[int, ...]) -> int:
    return checksums.weighted(digits, weights)


def bsn(text: str) -> bool:
    """Netherlands: the sum with weights 9 to 2 and -1 is divisible by 11."""
    digits = _letters(text)
    return len(digits) == 9 and _sum(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(digits) > 0


def belgian(text: str) -> bool:
    """Belgium: 97 less the remainder of the first nine digits, with a 2 in front for those born since 2000."""
    digits = _letters(text)
    body, check = digits[:9], int(digits[9:])
    return any(97 - int(front + body) % 97 == check for front in ("", "2"))


def norwegian(text: str) -> bool:
    """Norway: two check digits modulo 11."""
    digits = _letters(text)
    first = -_sum(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
    second = -_sum(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _date(digits, "dmy") and digits[9:] == f"{first}{second}"


def finnish(text: str) -> bool:
    """Finland: the letter of the remainder modulo 31."""
    code = _letters(text.replace("+", "").replace("-", ""))
    digits = code[:6] + code[-4:-1]
    return _date(digits, "dmy") and "0123456789abcdefhjklmnprstuvwxy"[int(digits) % 31] == code[-1]


def chinese(text: str) -> bool:
    """China: ISO 7064 MOD 11-2, and a date."""
    code = text.lower()
    total = _sum(code[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return _date(code[8:14], "ymd") and "10x98765432"[total % 11] == code[17]


def korean(text: str) -> bool:
    """South Korea: modulo 11, and a date."""
    digits = _letters(text)
    check = (11 - _sum(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    return _date(digits, "ymd") and check == int(digits[12])


def hong_kong(text: str) -> bool:
    """Hong Kong: modulo 11 over letters and digits."""
    code = _letters(text)
    values = [36] * (9 - len(code)) + [int(c, 36) for c in code[:-1]]
    check = -sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True)) % 11
    return code[-1] == ("a" if check == 10 else str(check))


def taiwanese(text: str) -> bool:
    """Taiwan: the letter counts as two digits."""
    letter = "abcdefghjklmnpqrstuvxywzio".index(text[0].lower()) + 10
    total = letter // 10 + letter % 10 * 9 + _sum(text[1:9], (8, 7, 6, 5, 4, 3, 2, 1)) + int(text[9])
    return total % 10 == 0 and text[0].isupper()


def irish(text: str) -> bool:
    """Ireland: a check letter modulo 23."""
    code = _letters(text)
    total = _sum(code[:7], (8, 7, 6, 5, 4, 3, 2))
    total += 9 * (ord(code[8]) - 96) if len(code) == 9 and code[8] != "w" else 0
    return "wabcdefghijklmnopqrstuv"[total % 23] == code[7] and text.upper() == text


def chilean(text: str) -> bool:
    """Chile: modulo 11, with k for ten."""
    code = _letters(text)
    total = sum(int(digit) * (2 + place % 6) for place, digit in enumerate(reversed(code[:-1])))
    return "0k987654321"[total % 11] == code[-1]


def argentine(text: str) -> bool:
    """Argentina: modulo 11."""
    digits = _letters(text)
    return (11 - _sum(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11) % 11 == int(digits[10])


def mexican(text: str) -> bool:
    """Mexico (CURP): modulo 10 over 37 characters."""
    code = _letters(text)
    table = "0123456789abcdefghijklmn\u00f1opqrstuvwxyz"
    total = sum(table.index(c) * (18 - place) for place, c in enumerate(code[:17]))
    return str(-total % 10) == code[17] and _date(code[4:10], "ymd")


def turkish(text: str) -> bool:
    """Turkey: two check digits modulo 10."""
    d = [int(c) for c in text]
    tenth = (sum(d[0:9:2]) * 7 - sum(d[1:8:2])) % 10
    return tenth == d[9] and sum(d[:10]) % 10 == d[10]


def romanian(text: str) -> bool:
    """Romania: modulo 11, and a date."""
    check = _sum(text, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return _date(text[1:7], "ymd") and (1 if check == 10 else check) == int(text[12])


def czech(text: str) -> bool:
    """Czechia and Slovakia: divisible by 11; 50 is added to the month of women."""
    digits = _letters(text)
    month = int(digits[2:4]) % 50 % 20
    return 1 <= month <= 12 and 1 <= int(digits[4:6]) <= 31 and int(digits) % 11 == 0


def nhs(text: str) -> bool:
    """The number of the NHS in the United Kingdom: modulo 11."""
    digits = _letters(text)
    return (11 - _sum(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11) % 11 == int(digits[9])


def tfn(text: str) -> bool:
    """The tax file number of Australia: modulo 11."""
    return _sum(_letters(text), (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def portuguese(text: str) -> bool:
    """Portugal: modulo 11."""
    digits = _letters(text)
    check = 11 - _sum(digits, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if check > 9 else check) == int(digits[8])


def israeli(text: str) -> bool:
    """Israel: Luhn over nine digits."""
    return checksums.luhn(_letters(text).zfill(9))


def south_african(text: str) -> bool:
    """South Africa: Luhn, and a date."""
    return _date(text, "ymd") and text[10] in "01" and checksums.luhn(text)


def danish(text: str) -> bool:
    """Denmark: a date. Numbers given since 2007 have no check digit, so a word must stand before them."""
    return _date(_letters(text), "dmy")


def named(_: str) -> bool:
    """True: the word before the number is enough."""
    return True


WORLD = (
    WorldId("uk_nino_named", r"[a-z]{2}(?:[ -]?\d\d){3}[ -]?[a-d]", named, r"\b(?:ni|nino|national insurance)\b"),
    WorldId("nl_bsn", r"\d{3}[. ]?\d{3}[. ]?\d{3}", bsn, r"\b(?:bsn|sofi(?:nummer)?|burgerservicenummer)\b"),
    WorldId("be_national", r"\d\d\.?[01]\d\.?[0-3]\d-?\d{3}\.?\d\d", belgian),
    WorldId("no_fodsel", r"[0-7]\d[0-5]\d{3} ?\d{5}", norwegian),
    WorldId("fi_hetu", r"[0-3]\d[01]\d{3}[-+a]\d{3}[\da-fhj-npr-y]", finnish),
    WorldId("dk_cpr", r"[0-3]\d[01]\d{3}-?\d{4}", danish, r"\b(?:cpr|personnummer)\b"),
    WorldId("cn_id", r"[1-9]\d{5}(?:19|20)\d\d[01]\d[0-3]\d{4}[\dx]", chinese),
    WorldId("kr_rrn", r"\d\d[01]\d[0-3]\d-[1-8]\d{6}", korean),
    WorldId("hk_id", r"[a-z]{1,2}\d{6} ?\([\da]\)", hong_kong),
    WorldId("tw_id", r"[a-z][12]\d{8}", taiwanese),
    WorldId("ie_pps", r"\d{7}[a-w][a-iw]?", irish),
    WorldId("cl_rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dk]", chilean),
    WorldId("ar_cuit", r"(?:2[03-7]|3[0134])-\d{8}-\d", argentine),
    WorldId("mx_curp", r"[a-z]{4}\d{6}[hmx][a-z]{5}[a-z\d]\d", mexican),
    WorldId("tr_tckn", r"[1-9]\d{10}", turkish),
    WorldId("ro_cnp", r"[1-8]\d\d[01]\d[0-3]\d{7}", romanian),
    WorldId("cz_rodne", r"\d\d[0-35-8]\d[0-3]\d/\d{4}", czech),
    WorldId("uk_nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", nhs, r"\bnhs\b"),
    WorldId("au_tfn", r"\d{3}[ -]?\d{3}[ -]?\d{3}", tfn, r"\b(?:tfn|tax file n)"),
    WorldId("pt_nif", r"[1-35689]\d\d ?\d{3} ?\d{3}", portuguese, r"\b(?:nif|contribuinte)\b"),
    WorldId("il_id", r"\d{9}", israeli, r"\b(?:teudat|zehut|israeli id)\b"),
    WorldId("za_id", r"\d{13}", south_african),
)
