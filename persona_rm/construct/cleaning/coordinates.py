"""Geographic coordinates: with degrees, with letters for the hemispheres, labelled, or as a bare pair of decimals.

A bare pair counts only where it is written like a position: numbers of a table or a loss curve look the same.
"""

import re

NUMBER = r"[-+]?\d{1,3}(?:\.\d{1,8})?"
DEGREE = "\u00b0\u00ba\u02da"
"""The sign, and two that look like it."""
ARC = (
    rf"\d{{1,3}}\s?[{DEGREE}]\s?\d{{1,2}}(?:\.\d{{1,6}})?\s?['\u2032\u2019]"
    r"(?:\s?\d{1,2}(?:\.\d{1,6})?\s?(?:[\"\u2033\u201d]|''))?"
)
BETWEEN = r"[\s,;/]{1,4}"
DEGREES = (
    rf"(?<![\w.]){ARC}\s?[ns]{BETWEEN}{ARC}\s?[ew](?!\w)"
    rf"|(?<![\w.]){NUMBER}\s?[{DEGREE}]?\s?[ns]\b{BETWEEN}{NUMBER}\s?[{DEGREE}]?\s?[ew](?!\w)"
    rf"|(?<!\w)[ns]\s?{NUMBER}[{DEGREE}]?{BETWEEN}[ew]\s?{NUMBER}[{DEGREE}]?(?!\w|\.\d)"
)
LABELLED = (
    r"(?<!\w)lat(?:itude)?[\s:='\"]{1,5}[-+]?\d{1,2}\.\d{2,16}[\s,;'\"&]{1,6}"
    r"(?:lon|lng|long|longitude)[\s:='\"]{1,5}[-+]?\d{1,3}\.\d{2,16}"
)
PAIR = (
    r"(?<![\w.\-+])(?<!\d[,;])(?<!\d[,;]\s)[-+]?\d{1,2}\.\d{4,16}\s?\u00b0?\s?[,;]\s?[-+]?\d{1,3}\.\d{4,16}"
    r"(?!\w|\.\d)(?!\s?[,;]\s?[-+]?\d)"
)
COORDINATES = f"{LABELLED}|{DEGREES}|{PAIR}"
POSITION = re.compile(
    r"\b(?:gps|coord\w*|lat|latitude|location|located|position|pin|map|maps|live|lives|living|house|home|address|"
    r"here|spot|find (?:me|us|him|her|it)|meet|camp|cache|parked)\b[^.\n]{0,30}$"
)
TWO_DECIMALS = re.compile(r"\.\d\d")
DECIMALS = re.compile(r"\.\d{4}|\.\d{1,3}\s?[nsew]\b|\b[nsew]\s?\d{1,3}\.\d|\blat(?:itude)?[\s:='\"]{1,5}[-+]?\d")
LIKELY = 5
"""Decimals (a metre) from which both numbers, written with as many, are a position without a word that says so."""


def possible(text: str) -> bool:
    """False for a (lower-case) text that holds no coordinates."""
    if any(sign in text for sign in DEGREE):
        return True
    # The second search is slow, and the first rules out nearly every text.
    return TWO_DECIMALS.search(text) is not None and DECIMALS.search(text) is not None


def is_position(match: str, before: str) -> bool:
    """True if a match of `COORDINATES` is a position on the earth. `before` is the text in front of it."""
    numbers = re.findall(r"[-+]?\d+(?:\.\d+)?", match)
    if match.startswith("lat") or any(sign in match for sign in DEGREE):
        return True
    if re.search("[nsew]", match):
        # "5 n, 3 w" is anything; a position has decimals.
        return all("." in number for number in numbers)
    north, east = (float(number) for number in numbers[:2])
    if abs(north) > 90 or abs(east) > 180:
        return False
    if POSITION.search(before):
        return True
    places = {len(number.partition(".")[2]) for number in numbers[:2]}
    return len(places) == 1 and min(places) >= LIKELY and max(abs(north), abs(east)) >= 10
