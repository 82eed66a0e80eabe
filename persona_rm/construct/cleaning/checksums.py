"""Check digits: what tells an identifier from any other number. All take plain ASCII digits (or letters)."""

from functools import cache

IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        15: "no",
        16: "be",
        18: "dk fo fi gl nl sd",
        19: "mk si",
        20: "at ba ee kz xk lt lu",
        21: "hr lv li ch",
        22: "bh bg cr ge de ie me rs va gb",
        23: "gi iq il om tl ae",
        24: "ad cz md pk ro sa sk es se tn",
        25: "ly pt st",
        26: "is tr",
        27: "bi dj fr gr it mr mc sm",
        28: "al az by cy do gt hu lb ni pl",
        29: "br eg ps qa ua",
        30: "jo kw mu",
        31: "mt sc",
        32: "lc",
        33: "ru",
    }.items()
    for country in countries.split()
}
"""Characters of an IBAN by country (ISO 13616 registry)."""
CARDS = (
    (("4",), (13, 16, 19)),
    (("51", "52", "53", "54", "55", *map(str, range(2221, 2721))), (16,)),
    (("34", "37"), (15,)),
    (("300", "301", "302", "303", "304", "305", "309", "36", "38", "39"), (14, 16)),
    (("6011", "644", "645", "646", "647", "648", "649", "65", "62", "81"), (16, 17, 18, 19)),
    (tuple(map(str, range(3528, 3590))), (16, 17, 18, 19)),
    (("2200", "2201", "2202", "2203", "2204"), (16,)),
    (("50", "56", "57", "58", "60", "61", "63", "67", "68", "69"), (13, 15, 16, 18, 19)),
)
"""Prefixes and lengths: Visa, Mastercard, American Express, Diners, Discover and UnionPay, JCB, Mir, Maestro."""
ITALIAN_ODD = dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)) | dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812: cards, Swedish and Canadian numbers."""
    # From the right, every second digit is doubled, and the two digits of the product are added.
    total = sum(int(d) for d in digits[-1::-2]) + sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return total % 10 == 0


def card(digits: str) -> bool:
    """A number of a card scheme: prefix, length and Luhn."""
    return any(digits.startswith(p) and len(digits) in n for p, n in CARDS) and luhn(digits)


def iban(code: str) -> bool:
    """Letters and digits without spaces, lower case: the country's length, and 1 modulo 97."""
    if len(code) != IBAN_LENGTHS.get(code[:2]):
        return False
    # In the sum a letter stands for two digits, a for 10 to z for 35, and the first four characters come last.
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def ean(digits: str) -> bool:
    """EAN-13: ISBN-13 and the Swiss number."""
    return len(digits) == 13 and sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(digits)) % 10 == 0


def isbn10(code: str) -> bool:
    """ISBN-10: ten digits, the last may be x, with weights 10 to 1, divisible by 11."""
    total = sum((10 - place) * (10 if c == "x" else int(c)) for place, c in enumerate(code.lower()))
    return len(code) == 10 and total % 11 == 0


def upc(digits: str) -> bool:
    """UPC-A: twelve digits, an EAN-13 without its leading 0."""
    return len(digits) == 12 and ean(f"0{digits}")


@cache
def _dihedral() -> tuple[list[list[int]], list[list[int]]]:
    """Verhoeff's multiplication and permutation tables, from the dihedral group D5."""
    # 0 to 4 are the rotations of a pentagon, 5 to 9 its reflections: after a reflection, rotations turn the other way.
    product = [[(i + j) % 5 + 5 * (j // 5) for j in range(10)] for i in range(5)]
    product += [[(i - j) % 5 + 5 * (1 - j // 5) for j in range(10)] for i in range(5, 10)]
    # Each row applies the permutation once more. Its order is 8, so eight rows serve all places.
    rows = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    while len(rows) < 8:
        rows.append([rows[-1][place] for place in rows[1]])
    return product, rows


def verhoeff(digits: str) -> bool:
    """Verhoeff's check: the Indian Aadhaar."""
    product, rows = _dihedral()
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = product[state][rows[place % 8][int(digit)]]
    return state == 0


def mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10: the German tax number."""
    # The recursion starts at 10, and a remainder of 0 counts as 10: both are part of the standard.
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """The sum of digit times weight, as many as there are weights."""
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def cpf(digits: str) -> bool:
    """The Brazilian number: two digits modulo 11."""
    first = weighted(digits, tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = weighted(digits, tuple(range(11, 1, -1))) * 10 % 11 % 10
    # Eleven equal digits satisfy both sums and are refused.
    return digits[9:] == f"{first}{second}" and len(set(digits)) > 1


def codice_fiscale(code: str) -> bool:
    """The Italian check letter (DM 23/12/1976), lower case."""
    odd = sum(ITALIAN_ODD[c] for c in code[0:15:2])
    even = sum(int(c, 36) - (10 if c.isalpha() else 0) for c in code[1:15:2])
    return (odd + even) % 26 == ord(code[15]) - ord("a")
