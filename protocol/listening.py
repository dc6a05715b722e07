"""The listening sockets of a bot: `[sockets]` in the configuration.

The supervisor binds them, and each worker inherits them, in systemd's convention: descriptors from 3 on, with
`LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` in the environment.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import msgspec

from .endpoint import LONGEST_PATH
from .errors import NeverblinkError
from .wire import UNDECODABLE

__all__ = [
    "ACCEPTS",
    "BACKLOG",
    "EXAMPLES",
    "FIRST_DESCRIPTOR",
    "LISTEN_SOCKET",
    "MOST_SOCKETS",
    "SOCKET_NAME",
    "VARIABLES",
    "Accept",
    "InheritedSocket",
    "LentSockets",
    "ListeningError",
    "SocketAddress",
    "SocketAddressError",
    "decode_lent",
    "encode_lent",
]

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
FIRST_DESCRIPTOR = 3
"""Where the convention has the first socket."""
BACKLOG = 4096
"""How many connections may wait. The kernel limits it to net.core.somaxconn."""
MOST_SOCKETS = 64
SOCKET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
LISTEN_SOCKET = "listening.sock"
"""The supervisor's socket in the home's `run/` that workers send their listening sockets to."""

Accept = Literal["leader", "all"]
"""Which workers accept connections."""
ACCEPTS: tuple[Accept, ...] = ("leader", "all")

EXAMPLES = '"127.0.0.1:8085", "[::1]:8085" or "unix:api.sock"'

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+)):(?P<port>\d{1,5})", re.ASCII)
_UNIX = "unix:"


class ListeningError(NeverblinkError):
    """The message is not that of a worker that lends its sockets."""


class SocketAddressError(NeverblinkError):
    """The text is not an address to listen on."""


class SocketAddress(msgspec.Struct, frozen=True):
    """Where to listen: `path` of a unix socket (absolute), or else `host` and `port`, with port 0 for any free one."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str, base: str) -> SocketAddress:
        """The address in `text`. A unix socket's path is relative to `base`. Raises `SocketAddressError`."""
        if text.startswith(_UNIX):
            return cls(path=_path(text.removeprefix(_UNIX), base))
        found = _HOST_PORT.fullmatch(text)
        if found is None:
            raise SocketAddressError(f'is "{text}": expected an address and a port, as in {EXAMPLES}')
        host = found["v6"] or found["host"]
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            raise SocketAddressError(
                f'is "{text}": {host} is not an IP address of this machine: expected one, such as 127.0.0.1, or '
                "0.0.0.0 for all"
            ) from None
        port = int(found["port"])
        if port > 65535:
            raise SocketAddressError(f'is "{text}": expected a port from 0 to 65535')
        return cls(str(address), port)

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_v6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if self.is_v6 else f"{self.host}:{self.port}"


class InheritedSocket(msgspec.Struct, frozen=True):
    """A listening socket that a worker inherits as `descriptor`. `address` is where it listens, with its real port."""

    name: str
    address: str
    descriptor: int = -1
    accept: Accept = "leader"
    backlog: int = BACKLOG
    configured: str = ""
    """The address in the configuration, whose port may be 0."""


class LentSockets(msgspec.Struct, frozen=True):
    """What a worker sends to a new supervisor, as JSON, with the descriptors of these sockets in the same order."""

    worker: str
    sockets: tuple[InheritedSocket, ...]


def encode_lent(lent: LentSockets) -> bytes:
    return msgspec.json.encode(lent)


def decode_lent(data: bytes) -> LentSockets:
    """Return what `encode_lent` encoded. Raises `ListeningError`."""
    try:
        return msgspec.json.decode(data, type=LentSockets)
    except UNDECODABLE as problem:
        raise ListeningError(f"not the sockets of a worker: {problem}") from None


def _path(path: str, base: str) -> str:
    if not path or "\0" in path or path.endswith("/"):
        raise SocketAddressError(f'is "{_UNIX}{path}": expected the path of a socket, as in "unix:api.sock"')
    if not path.startswith("/"):
        path = f"{base.rstrip('/')}/{path}"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise SocketAddressError("has a path that is not text: choose another one") from None
    if size > LONGEST_PATH:
        raise SocketAddressError(
            f'is "{_UNIX}{path}": the path of a unix socket has at most {LONGEST_PATH} bytes, and this one has {size}: '
            "choose a shorter path"
        )
    return path
