"""The settings of cleaning."""

from pydantic import Field

from persona_rm.config import Config


class CleanConfig(Config):
    """What a post or response must be to go on, and what is taken out of it. Lengths are characters."""

    min_chars: int = Field(default=10, ge=0)
    max_chars: int = Field(default=4000, ge=1)
    """Of a response as it came; a mark may be longer than what it stands for."""
    max_post_chars: int | None = Field(default=None, ge=1)
    """Of a post; None is any length."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes to keep; empty is any language."""
    language_min_chars: int = Field(default=40, ge=1)
    """Texts with fewer letters are not judged."""
    language_margin: float = Field(default=0.5, ge=0, le=1)
    """A text is in another language where the probability of that language is so much above the best kept one's."""
    bots: bool = True
    """Drop what bots wrote, told by name and by phrase."""
    bot_names: tuple[str, ...] = ()
    """Accounts that are bots too."""
    pii: bool = True
    """Replace personal identifiers by typed marks."""
    presidio: bool = False
    """A second pass by Presidio's pattern recognisers; needs `pii`."""
    blocklist: str | None = None
    """A file with a word or phrase per line; texts that hold one as whole words are dropped."""
    duplicates: bool = True
    """Keep one of the responses that are the same text, across threads."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Keep one of the responses whose shingles have this Jaccard similarity; 0.8 is usual, None is off."""
    shingle: int = Field(default=5, ge=1)
    """Words per shingle."""
    permutations: int = Field(default=128, ge=16)
    """Length of a MinHash signature; the estimate's standard error is at most 0.5 / sqrt of it."""
    hash_authors: bool = True
    """Replace author names by salted hashes."""
