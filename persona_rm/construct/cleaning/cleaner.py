"""Cleaning of one thread: the usable part of it, and a reason for everything that was dropped.

Every post and every response of the input is either in the output or in exactly one `Drop`.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property

from persona_rm.construct.cleaning import pii
from persona_rm.construct.cleaning.blocklist import Blocklist
from persona_rm.construct.cleaning.bots import account, bot_name, bot_text
from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.construct.cleaning.duplicates import exact_hash
from persona_rm.construct.cleaning.language_filter import Languages
from persona_rm.construct.cleaning.presidio import Presidio
from persona_rm.errors import DataError
from persona_rm.io.marks import is_removed, is_withdrawn, says_nothing
from persona_rm.io.text import is_blank, visible_length
from persona_rm.io.user_ids import NO_USER
from persona_rm.types import Comment, Drop, Thread

NO_AUTHOR = frozenset({"deleted", "removed"})
"""What old dumps write for the author of a deleted text, beside what no source takes for an author."""
HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The cleaned thread (None: nothing of it goes on), what was dropped, and how many marks of each kind it holds."""

    thread: Thread | None
    drops: list[Drop]
    marks: Counter[str] = field(default_factory=Counter)


@dataclass
class Cleaner:
    """Cleans threads by a config. `salt` is the key of the author hashes: with it, names can be tested.

    Cheap tests come first, so that what is far too long is never searched, and responses are looked at one by one. The
    blocklist is read, and packages are imported, at the first thread that needs them: `DataError`, `MissingExtra`.
    """

    config: CleanConfig
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.config.hash_authors and not self.salt:
            raise DataError("hashing authors needs a salt of at least one byte: give one, or set hash_authors: false")

    def clean(self, thread: Thread) -> Cleaned:
        """The thread without what cannot be used, identifiers replaced, authors hashed."""
        if reason := self._post_reason(thread):
            under = "under an empty post" if reason == "empty post" else "under a dropped post"
            responses = [Drop("response", comment.id, under) for comment in thread.comments]
            return Cleaned(None, [Drop("post", thread.id, reason), *responses])
        kept: list[Comment] = []
        drops: list[Drop] = []
        marks: Counter[str] = Counter()
        seen: set[int] = set()
        for comment in thread.comments:
            outcome = self._response(comment, seen, marks)
            kept.append(outcome) if isinstance(outcome, Comment) else drops.append(outcome)
        if not kept:
            reason = "no usable response" if thread.comments else "empty thread"
            return Cleaned(None, [*drops, Drop("post", thread.id, reason)])
        # The post is scrubbed last, because a thread without a usable response is dropped anyway.
        prompt, replaced = self._scrub(thread.prompt)
        marks.update(replaced)
        author = self.author(thread.author)
        return Cleaned(replace(thread, prompt=prompt, comments=tuple(kept), author=author), drops, marks)

    def texts(self, prompt: str, *responses: str) -> tuple[str, ...] | str:
        """A prompt and responses that are no thread, scrubbed; or why they cannot be used.

        The lengths of `CleanConfig` are those of forum comments and do not apply.
        """
        every = (prompt, *responses)
        if any(map(_empty, every)):
            return "empty text"
        if self.config.bots and any(map(bot_text, responses)):
            return "written by a bot"
        if any(map(self._blocked, every)):
            return "on the blocklist"
        if any(map(self._foreign, every)):
            return "in another language"
        scrubbed = tuple(self._scrub(text)[0] for text in every)
        same = len({exact_hash(text) for text in scrubbed[1:]}) < len(responses)
        return "responses that are the same without personal data" if same and scrubbed != every else scrubbed

    def author(self, name: str | None) -> str | None:
        """The author as the output names it: 16 hex digits of keyed BLAKE2b, or None for deleted authors and bots.

        Equal names of different sites give equal hashes.
        """
        if name is None or bot_name(name, self._bots):
            return None
        plain = account(name)
        if is_blank(plain) or plain.lower() in NO_AUTHOR or NO_USER.fullmatch(plain) or is_removed(plain):
            return None
        if not self.config.hash_authors:
            return plain
        # BLAKE2b refuses keys of more than 64 bytes. A longer salt is hashed, not cut, so that all of it counts.
        key = self.salt if len(self.salt) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(self.salt).digest()
        return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES, key=key).hexdigest()

    def _post_reason(self, thread: Thread) -> str:
        """Why a post cannot be used, or ""."""
        text, config = thread.prompt, self.config
        if _empty(text):
            return "empty post"
        if config.max_post_chars is not None and len(text) > config.max_post_chars:
            return "post too long"
        if self._by_bot(text, thread.author):
            return "post by a bot"
        if self._blocked(text):
            return "post on the blocklist"
        return "post in another language" if self._foreign(text) else ""

    def _response(self, comment: Comment, seen: set[int], marks: Counter[str]) -> Comment | Drop:
        """The response as it goes on (then `seen` and `marks` know it), or why it does not."""
        if reason := self._length_reason(comment.text) or self._content_reason(comment, seen):
            return Drop("response", comment.id, reason)
        text, replaced = self._scrub(comment.text)
        # Texts that differ in nothing but what marks replace are duplicates after scrubbing, so both forms are
        # remembered. The form as it came was compared before, in `_content_reason`, which spares the scrubbing.
        keys = {exact_hash(comment.text), exact_hash(text)} if replaced else {exact_hash(text)}
        if seen & keys:
            return Drop("response", comment.id, "duplicate in its thread")
        # A mark may be shorter than what it stands for, so a text that was long enough may be too short now.
        if len(text) < self.config.min_chars:
            return Drop("response", comment.id, "too short")
        seen |= keys
        marks.update(replaced)
        return replace(comment, text=text, author=self.author(comment.author))

    def _length_reason(self, text: str) -> str:
        if len(text) > self.config.max_chars:
            return "too long"
        if is_removed(text) or is_withdrawn(text):
            return "deleted or removed"
        # Ten invisible characters are not ten characters to a reader.
        return "too short" if says_nothing(text) or visible_length(text) < self.config.min_chars else ""

    def _content_reason(self, comment: Comment, seen: set[int]) -> str:
        if self._by_bot(comment.text, comment.author):
            return "written by a bot"
        if self._blocked(comment.text):
            return "on the blocklist"
        if exact_hash(comment.text) in seen:
            return "duplicate in its thread"
        return "in another language" if self._foreign(comment.text) else ""

    def _by_bot(self, text: str, author: str | None) -> bool:
        return self.config.bots and (bot_text(text) or (author is not None and bot_name(author, self._bots)))

    def _blocked(self, text: str) -> bool:
        return self._blocklist is not None and self._blocklist.holds(text)

    def _foreign(self, text: str) -> bool:
        return self._languages is not None and self._languages.foreign(text)

    def _scrub(self, text: str) -> tuple[str, Counter[str]]:
        if not self.config.pii:
            return text, Counter()
        text, marks = pii.scrub(text)
        if self._presidio is not None:
            text, more = self._presidio.scrub(text)
            marks.update(more)
        return text, marks

    @cached_property
    def _bots(self) -> frozenset[str]:
        return frozenset(name.casefold() for name in self.config.bot_names)

    @cached_property
    def _blocklist(self) -> Blocklist | None:
        return None if self.config.blocklist is None else Blocklist.read(self.config.blocklist)

    @cached_property
    def _languages(self) -> Languages | None:
        config = self.config
        wanted = config.languages
        return Languages(wanted, config.language_min_chars, config.language_margin) if wanted else None

    @cached_property
    def _presidio(self) -> Presidio | None:
        return Presidio() if self.config.presidio else None


def _empty(text: str) -> bool:
    """True for a text in which a reader sees nothing, and for what a site or its author left of a removed text."""
    return says_nothing(text) or is_removed(text) or is_withdrawn(text)
