"""What programs wrote: accounts known to be bots or named like one, and the phrases that bots sign with."""

import re

from persona_rm.construct.cleaning.lists import listed

KNOWN = frozenset(listed("bots"))
NAMED = re.compile(r"(?:[_\-]bot|[a-z0-9]Bot|BOT|(?<=[a-z]{3})bot)[_\-]?\d*_*$")
"""Joe-bot, joe_bot, JoeBot, joebot42; `HUMAN` are the words that end so."""
HUMAN = re.compile(r"(?:abb|talb|cab|turb|sab|jab|arb|hob|rob|gamb)ots?[_\-]?\d*_*$", re.I)
PHRASES = re.compile(
    r"i am a bot, and this action was performed automatically"
    r"|this (?:action|comment|message|reply|post) was (?:performed|posted|made|created|generated|written|sent) "
    r"(?:automatically|by a bot)"
    r"|(?:^|[\n(\[.!|])\W{0,6}(?:hi|hello|hey|beep boop)?\W{0,6}i(?:'|\s?a)?m\W{1,3}a\W{1,3}(?:reddit )?"
    r"bot(?=\W{0,3}(?:$|[)\]|,.!;\n]| that | which | and | made | for ))"
    r"|\W(?:beep|bleep),? ?(?:boop|bloop)\W.{0,200}\bbot\b|contact the moderators of this subreddit"
    r"|(?:contact|message|pm)(?: the| my)? (?:bot'?s? )?(?:creator|owner|author|maker)\b.{0,80}\bbot\b"
    r"|(?:summon|call) this bot|^this is an automated (?:message|reply|comment|response)|bot will (?:reply|delete)"
)
MARKUP = str.maketrans({"^": "", "*": "", "_": " ", "~": "", ">": "", "\u2019": "'"})
"""Bots sign in small print, which on Reddit is a caret before every word."""
SIGIL = re.compile(r"/?(?:u|user)/", re.I)
SAMPLE = 2000
"""Bots sign at the beginning or the end: so many characters of each are read."""


def account(author: str) -> str:
    """The name of an account without what sites write before it: "/u/name", "U/name" and "name" are one."""
    name = author.strip()
    sigil = SIGIL.match(name)
    return name[sigil.end() :] if sigil else name


def bot_name(author: str, extra: frozenset[str] = frozenset()) -> bool:
    """True for an account that is a bot by its name; `extra` are further names, in lower case."""
    name = account(author)
    lower = name.casefold()
    return lower in KNOWN or lower in extra or bool(NAMED.search(name) and not HUMAN.search(name))


def bot_text(text: str) -> bool:
    """True for a text that says it was written by a program."""
    if len(text) > 2 * SAMPLE:
        text = text[:SAMPLE] + "\n" + text[-SAMPLE:]
    lower = text.lower()
    # Every alternative of `PHRASES` holds one of these words, so most texts cost four substring searches. A phrase
    # that is added there must hold one, too.
    if "bot" not in lower and "automated" not in lower and "automatically" not in lower and "moderators" not in lower:
        return False
    return PHRASES.search(lower.translate(MARKUP)) is not None
