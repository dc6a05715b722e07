"""The sockets of a process that no supervisor has given any: a bot that runs alone, and a check of a bot.

The addresses are those of `[sockets]` in the configuration beside the bot. A bot that runs alone binds them itself. A
check binds free ports of the loopback interface instead, so that it never accepts a real connection.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import cast

from ...protocol.listening import InheritedSocket, SocketAddress, SocketAddressError
from ..io.listening_sockets import WorkerSockets, loopback
from ..io.own_configuration import own_section
from .declaration import BotError

__all__ = ["loopback_sockets", "own_sockets"]


def own_sockets(directory: Path) -> WorkerSockets:
    """The sockets of the configuration in `directory`, bound by this process. Raises `BotError`."""
    found: list[tuple[InheritedSocket, socket.socket]] = []
    for name, text in _addresses(directory).items():
        try:
            address = SocketAddress.parse(text, str(directory))
            bound = _bind(address)
        except SocketAddressError as problem:
            raise BotError(f"sockets.{name}: {problem.message}") from None
        except OSError as problem:
            used = (
                ": does the bot run already, under a supervisor?" if problem.errno == errno.EADDRINUSE else ""
            )
            raise BotError(f"socket {name} can't listen on {text}: {problem.strerror}{used}") from None
        real = (
            str(address) if address.is_unix else f"{str(address).rpartition(':')[0]}:{bound.getsockname()[1]}"
        )
        found.append((InheritedSocket(name, real), bound))
    return WorkerSockets(found, leads=True)


def loopback_sockets(directory: Path) -> WorkerSockets:
    """Sockets with the names in the configuration in `directory`, each on a free port of the loopback interface."""
    found: list[tuple[InheritedSocket, socket.socket]] = []
    for name in _addresses(directory):
        bound = loopback()
        found.append((InheritedSocket(name, f"127.0.0.1:{bound.getsockname()[1]}"), bound))
    return WorkerSockets(found, leads=True)


def _addresses(directory: Path) -> dict[str, str]:
    """The addresses in the configuration, by name. Entries without one are left out: the supervisor reports them."""
    texts = {name: _address_in(value) for name, value in own_section(directory, "sockets").items()}
    return {name: text for name, text in texts.items() if text}


def _address_in(value: object) -> str:
    if isinstance(value, dict):
        value = cast("dict[str, object]", value).get("address")
    return value if isinstance(value, str) else ""


def _bind(address: SocketAddress) -> socket.socket:
    family = socket.AF_UNIX if address.is_unix else socket.AF_INET6 if address.is_v6 else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        if address.is_unix:
            _remove_stale(address.path)
            before = os.umask(0o177)
            try:
                bound.bind(address.path)
            finally:
                os.umask(before)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.is_v6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address.host, address.port))
        bound.listen()
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_stale(path: str) -> None:
    """Remove the file of a socket whose process has ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            # It is not there, or busy, or no socket: binding says so.
            pass
