"""Addresses of cryptocurrencies and vehicle numbers: words of letters and digits with a check of their own."""

import hashlib
import re

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32_SUMS = (1, 0x2BC830A3)
"""Of bech32 (BIP 173) and bech32m (BIP 350)."""
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
ETHER = r"(?<!\w)0x[0-9a-f]{40}(?!\w)"
SEGWIT = rf"(?<!\w)(?:bc|tb|ltc)1[{BECH32}]{{11,71}}(?!\w)"
LEGACY = r"(?<!\w)[13lmdtx][1-9a-z]{25,34}(?!\w)"
"""Bitcoin, Litecoin, Dogecoin, Tron and others in base58."""
WALLET = f"{ETHER}|{SEGWIT}|{LEGACY}"
VIN = r"(?<!\w)(?=\d{0,12}[a-z])[a-hj-npr-z1-9][a-hj-npr-z\d]{12}\d{4}(?!\w)"
"""A vehicle identification number (ISO 3779): 17 characters without i, o and q, the last four digits."""
VIN_VALUES = dict(zip("abcdefghjklmnprstuvwxyz", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
                      strict=True))  # fmt: skip
VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
VIN_WORD = re.compile(r"\b(?:vin|chassis|fahrgestell\w*|vehicle id\w*)\W{0,4}(?:(?:is|number|no|nr)\W{0,3}){0,2}$")


def is_wallet(written: str) -> bool:
    """True for an address whose check holds; `written` has its capitals. Addresses of Ethereum have none to check."""
    lower = written.lower()
    if lower.startswith("0x"):
        return True
    if lower.startswith(("bc1", "tb1", "ltc1")):
        return _segwit(lower) and written in (lower, written.upper())
    return _base58(written)


def _base58(code: str) -> bool:
    """Base58Check: the last four bytes are the first of a double SHA-256 over the others."""
    number = 0
    for letter in code:
        value = BASE58.find(letter)
        if value < 0:
            return False
        number = number * 58 + value
    if number >= 1 << 200:
        return False
    data = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()[:4] == data[-4:]


def _segwit(code: str) -> bool:
    prefix, _, data = code.partition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [BECH32.index(c) for c in data]
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            check ^= generator if top >> place & 1 else 0
    return check in BECH32_SUMS


def is_vin(code: str, before: str) -> bool:
    """True for a number whose ninth character is its check digit (North America, China), or behind a word for it."""
    total = sum(VIN_WEIGHTS[place] * (int(c) if c.isdigit() else VIN_VALUES[c]) for place, c in enumerate(code))
    return "0123456789x"[total % 11] == code[8] or VIN_WORD.search(before) is not None
