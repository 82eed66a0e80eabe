"""How logs write user ids: as keyed hashes, which only the owner of the key can compute again.

The hash is HMAC-SHA256 (RFC 2104), cut to 128 bits, under a random key. The key is in the file `log_ids.key` of the
folder whose logs use it, readable by its owner only. With the key the owner finds the lines of a user and erases them.
Without it the ids cannot be guessed, as they could from a plain hash of "u17".
"""

import ast
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from persona_rm.errors import DataError

logger = logging.getLogger(__name__)
KEY_FILE = "log_ids.key"
MARK = "user-"
"""The beginning of a hashed id, so that a reader sees that it is none of their own ids."""
HASHED = re.compile(rf"{MARK}[0-9a-f]{{32}}")
_KEY = re.compile(r"[0-9a-f]{64}")
_QUOTED = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_NAMED = re.compile(rf"\busers?:? (?:{_QUOTED.pattern})(?:(?:, | and | or )(?:{_QUOTED.pattern}))*")
"""Users as the errors of this library name them: user 'ann', this user: 'ann', users 'ann', 'bob'."""


class LogIds:
    """The ids of one folder's logs. Without a key ids are written as they are."""

    def __init__(self, key: bytes | None) -> None:
        self.key = key

    @classmethod
    def in_folder(cls, folder: str | Path, *, plain: bool = False) -> Self:
        """The ids under the key of this folder, which is made if there is none.

        If the folder takes no file, a key in memory replaces it, and a warning says so: a log must not cost a reward.
        Raises `DataError` for a file that holds no key.
        """
        if plain:
            return cls(None)
        try:
            return cls(_make(Path(folder)))
        except OSError as error:
            told = "persona_rm: no key for user ids can be kept in %s (%s); this process hashes them under its own"
            logger.warning("%s, so their lines cannot be found by user later", told % (folder, error))
            return cls.unkept()

    @classmethod
    def unkept(cls) -> Self:
        """Ids under a random key that is kept nowhere."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def existing(cls, folder: Path) -> Self | None:
        """The ids under the key that is in this folder; None if there is none."""
        path = folder / KEY_FILE
        return cls(_read(path)) if path.is_file() else None

    def of(self, user: str) -> str:
        """The id as a log line holds it."""
        if self.key is None:
            return user
        digest = hmac.digest(self.key, user.encode("utf-8", "surrogatepass"), sha256)
        return MARK + digest.hex()[:32]

    def hide(self, text: str) -> str:
        """A message with the hash in place of each id that it names as `user 'ID'`."""
        if self.key is None:
            return text
        return _NAMED.sub(lambda named: _QUOTED.sub(lambda quoted: self.of(_unquoted(quoted[0])), named[0]), text)

    def user_of(self, logged: str, users: Iterable[str]) -> str | None:
        """Which of these users a log line means; None if none of them."""
        return next((user for user in users if self.of(user) == logged), None)


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        # A message that was cut inside an escape: what is left of the id is hidden all the same.
        return text


def _make(folder: Path) -> bytes:
    """The key in this folder. Several processes that begin at once take the same one."""
    path = folder / KEY_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32) + "\n")
            # A link is made whole and only if the name is free, unlike a rename.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> bytes:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not _KEY.fullmatch(text):
        problem = "no key for the user ids of logs (64 hexadecimal digits); restore it, or remove it to get a new one"
        raise DataError(f"{problem}, under which older lines cannot be found by user", file=path)
    return bytes.fromhex(text)
