"""Where a client finds a supervisor: in a home on this machine, or behind a TCP address with a key.

In a home the kernel tells whether there is a supervisor. Over TCP, the way in which the handshake fails tells the
mend.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import zmq
from zmq.utils.monitor import parse_monitor_message

from ...protocol.commands import REQUEST_SOCKET
from ...protocol.errors import NeverblinkError
from ..sockets.client_keys import AccessError, ClientKey
from ..store.living_workers import alive_in, named
from ..store.orphans import HomeOrphaned, orphans
from ..store.state_dir import Home
from ..system.permissions import user_name
from ..system.process import is_stopped

__all__ = ["Endpoint", "InHome", "OnServer", "Unreachable"]

_SERVER = re.compile(r"(?:tcp://)?(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_LET_IN = zmq.EVENT_HANDSHAKE_SUCCEEDED
_CONNECTED = zmq.EVENT_CONNECTED
_ENOUGH = 2


class Unreachable(NeverblinkError):
    """No answer from `where`; `pid` is the supervisor's when there is one all the same, else 0."""

    def __init__(self, where: str, problem: str, pid: int = 0) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.pid = pid


class Endpoint(Protocol):
    """Where a supervisor is."""

    def supervisor(self) -> int:
        """The supervisor's pid, 0 when it cannot be known; raise `Unreachable` when there is none."""
        ...

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Connect to the socket of this name: see `protocol.commands`."""
        ...

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        """The error for no answer in so many seconds, or no connection."""
        ...

    def close(self) -> None: ...


class InHome:
    """A home on this machine."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._where = f"home {home.path}"
        self._sockets = home.sockets()

    def supervisor(self) -> int:
        path = self._home.path
        owner = self._home.owner()
        if owner is not None:
            return owner.pid
        if path.exists() and not os.access(path, os.X_OK):
            them = user_name(path.stat().st_uid)
            raise Unreachable(self._where, f"it belongs to {them}, and is closed to others: ask as {them}")
        problem = "no supervisor runs here" if path.is_dir() else "there is no such home"
        found = alive_in(self._home)
        if found:
            raise Unreachable(
                self._where,
                f"{problem}, and the bot is alive without one: {named(found)}. `neverblink up` comes back to it, and "
                "the bot goes on as it runs",
            )
        if lost := orphans(self._home):
            raise Unreachable(self._where, HomeOrphaned(self._home, lost).problem)
        raise Unreachable(self._where, f"{problem}: start it with `neverblink up`, or name another --home")

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        socket.connect(self._sockets.endpoint(name))

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        if is_stopped(pid):
            problem = f"is stopped (by Ctrl-Z?), and the bot goes on without it: `kill -CONT {pid}` wakes it"
        elif not connected:
            problem = (
                f"can't be connected to in {within:g}s, by its sockets in {self._home.run}: it makes them again when "
                "they were removed, so try again; the bot goes on"
            )
        else:
            problem = (
                f"has not answered in {within:g}s, and the bot goes on without it. Should it hang, `kill -KILL {pid}` "
                "ends it alone, where a plain `kill` would stop the bot, and `neverblink up` comes back to the bot"
            )
        return Unreachable(self._where, f"the supervisor (pid {pid}) {problem}", pid)

    def close(self) -> None:
        self._sockets.close()


class OnServer:
    """A server that listens on TCP, spoken to with the key in `file`. Raises `AccessError`."""

    def __init__(self, server: str, file: Path) -> None:
        found = _SERVER.fullmatch(server)
        if found is None or not 0 < int(found["port"]) < 65535:
            raise AccessError(f"server {server!r}: expected tcp://HOST:PORT, as in tcp://bots.example:7777")
        self._host, self._port = found["host"], int(found["port"])
        self._where = f"tcp://{self._host}:{self._port}"
        self._key = ClientKey.read(file)
        self._file = file
        self._watched: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._connected = False
        self._failures = 0

    def supervisor(self) -> int:
        refused = False
        while self._monitor is not None and self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            refused = refused or bool(event & _REFUSED)
            self._connected = self._connected or bool(event & _CONNECTED)
            self._failures = 0 if event & _LET_IN else self._failures + bool(event & _CUT_OFF)
        if refused:
            raise Unreachable(
                self._where,
                f"key {self._key.name!r} is not let in: have it added there with "
                f"`neverblink keys add {self._key.name} {self._key.public.hex()}`",
            )
        if self._failures >= _ENOUGH:
            raise Unreachable(
                self._where,
                f"what listens there is not the server that {self._file} is for: `neverblink keys` there shows its key",
            )
        return 0

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        port = self._port if name == REQUEST_SOCKET else self._port + 1
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._key.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._key.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret)
        socket.setsockopt(zmq.IPV6, int(self._host.startswith("[")))
        if name == REQUEST_SOCKET:
            self._forget()
            self._watched = socket
            self._monitor = socket.get_monitor_socket(_REFUSED | _CUT_OFF | _LET_IN | _CONNECTED)
        socket.connect(f"tcp://{self._host}:{port}")

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        if not self._connected:
            problem = f"no answer within {within:g}s: nothing listens there, or a firewall is in between"
            return Unreachable(self._where, problem)
        return Unreachable(self._where, f"the supervisor has not answered in {within:g}s: look at it there")

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._watched is not None and not self._watched.closed:
            with suppress(zmq.ZMQError):
                self._watched.disable_monitor()
        if self._monitor is not None:
            self._monitor.close(0)
        self._watched = self._monitor = None
        self._connected = False
        self._failures = 0
