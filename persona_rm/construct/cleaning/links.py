"""Which links identify an author. Ordinary pages stay in the text; profiles and links with an e-mail do not."""

import ipaddress
import re

from persona_rm.construct.cleaning.lists import listed

SCHEMES = r"(?:https?|hxxps?|ftp|ssh|git)"
TAIL = r"[^\s<>\"\[\]{}|\\^`)]"
LINK = (
    rf"(?<![\w@])(?:(?:{SCHEMES}://|www\.){TAIL}++"
    rf"|(?<![.\-])(?:[\w\-]++\.)++[a-z]{{2,}}+(?:(?::\d{{2,5}})?[/?]{TAIL}*+)?)"
)
"""With a scheme, or a bare host; matched as a whole, so that nothing inside an ordinary link is taken for a number."""
PROFILES = frozenset(listed("profile_hosts"))
PAGES = frozenset({"", *listed("pages")})
HOMES = listed("personal_hosts")
SHARED = frozenset(listed("shared_subdomains"))
PROFILE_LINK = re.compile(
    r"/(?:~|@|%40)[\w.\-]"
    r"|/(?:u|users?|usernames?|profiles?|people|members?|authors?|account|accounts)/[^/?#\s]"
    r"|(?:linkedin\.com/(?:in|pub)|youtube\.com/(?:c|channel)|steamcommunity\.com/id|facebook\.com/profile\.php"
    r"|flickr\.com/photos|snapchat\.com/add|discord\.com/users|last\.fm/user|skype\.com/\w*|telegram\.me)[/?]\w"
    r"|[?&;](?:user(?:_?(?:name|id))?|e?-?mail|login|uid|phone|tel|mobile|screen_?name|author|profile)=[^&\s]"
)
MAIL = re.compile(r"[\w.+]\s?(?:@|%40)[\w\-]+\.[a-z]{2}")
REDDIT = re.compile(r"(?:[\w\-]+\.)*(?:reddit\.com|redd\.it)/u(?:ser)?/\w")


def link_mark(link: str) -> str:
    """The mark for a link that identifies an author, or "". `link` is lower case, as `LINK` matched it."""
    rest = link.split("://", 1)[-1]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if REDDIT.match(rest):
        return "USER"
    name, _, _ = host.rpartition("@")
    host = host[len(name) :].lstrip("@").rstrip(".").split(":")[0]
    if _numeric(host):
        return "IP"
    named = bool(name) or MAIL.search(rest) or PROFILE_LINK.search(rest) or _home(host) or _profile(host, rest)
    return "URL" if named else ""


def _numeric(host: str) -> bool:
    # Most hosts are names, and need no exception to tell so.
    if not host[:1].isdigit():
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _home(host: str) -> bool:
    for home in HOMES:
        if host.endswith("." + home):
            first = host[: -len(home) - 1].rsplit(".", 1)[-1]
            return first not in SHARED and not first.isdigit()
    return False


def _profile(host: str, rest: str) -> bool:
    # These subdomains show the same site: for devices, for languages, or its older form.
    host = re.sub(r"^(?:www|m|mobile|old|en|[a-z]{2}-[a-z]{2})\.", "", host)
    segment = re.split(r"[/?#]", rest, maxsplit=2)[1:2]
    return host in PROFILES and bool(segment) and segment[0].strip(".,;:!'*") not in PAGES
