"""How the HTTP API listens, and its limits."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from persona_rm.bundle.text_limits import TextLimits
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
    """Rows of one call. Its body may hold 32 times as many JSON values."""
    limits: TextLimits = field(default_factory=TextLimits)
    """Characters of a prompt and of a response, as the bundle says."""
    connections: int = 1000
    """Open connections. Above, the connection that has waited longest for its caller makes room."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the `Host` header beside those of this machine (`host_names`); `*.example.com` and `*` are allowed."""
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
        if self.connections < 1:
            raise RecipeError(f"--connections is 1 or more, found {self.connections}")
        for name in self.allowed_hosts:
            if not name or ("*" in name.removeprefix("*.") and name != "*"):
                raise RecipeError(f"--allowed-host is a name, *.NAME for its subdomains, or *, found {name!r}")

    @property
    def memory(self) -> int:
        """Bytes of the bodies of all calls in progress."""
        return 16 * self.body_limit

    @property
    def values(self) -> int:
        """JSON values and keys of one call."""
        return 32 * self.row_limit

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """What the `Host` header may name: a page of another site could otherwise reach a service on loopback under a
        name of its own (DNS rebinding)."""
        return (*dict.fromkeys([*host_names(self.host), *self.allowed_hosts]),)


def host_names(host: str) -> list[str]:
    """The names under which callers of this machine, or of its network, reach a service that listens on `host`."""
    names = ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]
    if is_local(host):
        return names
    own = socket.gethostname()
    names.append(own)
    with suppress(OSError):
        # A container's probe asks by the address.
        names += [f"[{ip}]" if ":" in ip else ip for ip in {str(info[4][0]) for info in socket.getaddrinfo(own, None)}]
    return names


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
