"""The TCP listener's process, as the supervisor keeps it.

The port can be reached by strangers, and libzmq accepts whoever connects before it knows who that is. A process of its
own can run out of descriptors or memory without the supervisor's harm. See `__main__` for what it does.
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
    """What the process is told on its command line; nothing of it is a secret."""

    home: str
    listen: ListenAddress


def keep_listener(
    listen: ListenAddress, home: Home, tell: Callable[[str], None], command: tuple[str, ...] = _COMMAND
) -> HelperProcess:
    """Keep a process that listens there; `tell` is told what people should know. To be closed."""
    told = msgspec.json.encode(ListenerTold(str(home.path), listen)).decode()
    return HelperProcess("TCP listener", (*command, told), home.path, home.logs / "listen.err", tell)
