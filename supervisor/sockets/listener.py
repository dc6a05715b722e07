"""Starts the process that listens on TCP.

The port can be reached by strangers, and libzmq accepts a connection before it knows whose it is. A process of its own
can run out of descriptors or memory without harm to the supervisor. See `__main__` for what it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from ..config.addresses import ListenAddress
from ..store.state_dir import Home
from ..system.helper_process import HelperProcess

__all__ = ["ListenerTold", "keep_listener"]

_COMMAND = (sys.executable, "-P", "-m", "neverblink.supervisor.sockets")


class ListenerTold(msgspec.Struct, frozen=True):
    """The settings on the process's command line; none of them is secret."""

    home: str
    listen: ListenAddress


def keep_listener(
    listen: ListenAddress, home: Home, tell: Callable[[str], None], command: tuple[str, ...] = _COMMAND
) -> HelperProcess:
    """Keep a process running that listens there; `tell` is called with lines for the log. To be closed."""
    told = msgspec.json.encode(ListenerTold(str(home.path), listen)).decode()
    return HelperProcess("TCP listener", (*command, told), home.path, home.logs / "listen.err", tell)
