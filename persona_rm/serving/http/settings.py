"""How the HTTP API listens, and its limits."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from persona_rm.errors import RecipeError
from persona_rm.prompts import ChatTemplate
from persona_rm.serving.labels import LabelPolicy

TOKEN = "PERSONA_RM_TOKEN"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Raises `RecipeError` for an address that other machines reach without a token."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    token: str | None = None
    body_limit: int = 16 * MIB
    """Bytes of one call; the bodies of all calls in progress hold at most 16 times that."""
    row_limit: int = 1024
    """Rows of one call."""
    deadline: float = 150.0
    """Seconds that a call may take. It is below the timeouts of trainers, so that they get the reason."""
    body_seconds: float = 30.0
    """Seconds in which a body must be complete."""
    labels: LabelPolicy = field(default_factory=LabelPolicy)
    """What happens to samples without a user that the bundle knows."""
    chat: ChatTemplate | None = None
    """The chat side of the policy's tokenizer, which says where an answer ends; None: common spellings say it."""

    def __post_init__(self) -> None:
        if self.token is None and not is_local(self.host):
            raise RecipeError(
                f"--host {self.host} lets other machines ask for rewards, and there is no token: put one into {TOKEN} "
                "or into a file for --token-file, or leave --host out (127.0.0.1)"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise RecipeError("a token is printable ASCII text, and not empty")
        if not 0 <= self.port < 1 << 16 or self.body_limit < 1:
            raise RecipeError(f"--port is 0 to 65535 and --body-limit above 0: {self.port} and {self.body_limit}")

    @property
    def memory(self) -> int:
        """Bytes of the bodies of all calls in progress."""
        return 16 * self.body_limit


def is_local(host: str) -> bool:
    """True if only this machine can connect."""
    try:
        # Of names only localhost is known to be local: any other one may be resolved differently later.
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_from(file: Path | None, environ: Mapping[str, str] | None = None) -> str | None:
    """The token of the file, else of the environment; None without either. Raises `RecipeError` for a missing file."""
    if file is None:
        return (os.environ if environ is None else environ).get(TOKEN)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"--token-file {file} cannot be read ({type(error).__name__})") from error
