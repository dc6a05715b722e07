"""The bot's listening sockets: bound by the supervisor, inherited by each worker.

The supervisor and every worker hold the same socket open, so a connection is not refused while any of them lives, and
waits in the backlog until a worker accepts it. A new supervisor gets the sockets back from the living workers: each
sends them (SCM_RIGHTS) when it introduces itself, before its report. A second socket is never bound to the address.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from ...protocol.errors import NeverblinkError
from ...protocol.listening import (
    MOST_SOCKETS,
    Accept,
    InheritedSocket,
    ListeningError,
    SocketAddress,
    SocketAddressError,
    decode_lent,
)
from ...protocol.status import SocketSeen
from ..config.socket_settings import SocketSettings

__all__ = ["ListenError", "ListeningSockets", "listen"]

_LARGEST = 65536
_MENDS = {
    errno.EACCES: "this user may not listen there: a port below 1024 needs a privilege, and a path a directory that "
    "this user may write",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.ENOENT: "its directory is not there: create it",
    errno.ENOTDIR: "its directory is not there: create it",
    errno.EAFNOSUPPORT: "this machine has no such kind of address",
}


class ListenError(NeverblinkError):
    """The socket `name` cannot listen on its address."""

    def __init__(self, settings: SocketSettings, problem: str) -> None:
        super().__init__(f"socket {settings.name} can't listen on {settings.address}: {problem}")
        self.name = settings.name


class _Held(msgspec.Struct):
    name: str
    accept: Accept
    socket: socket.socket
    file: tuple[int, int] | None
    """Device and inode of a unix socket's file."""


class ListeningSockets:
    """The listening sockets of one bot. Calls `say` when one is bound, taken over or closed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._held: dict[str, _Held] = {}
        """By `SocketSettings.key`."""
        self._lent: socket.socket | None = None
        self._users: dict[str, set[str]] = {}
        """The keys of the sockets that each worker has."""

    def provide(self, worker: str, wanted: Sequence[SocketSettings]) -> tuple[InheritedSocket, ...]:
        """The sockets `wanted` for a new worker; those that are not held yet are bound. Raises `ListenError`."""
        self.receive()
        self._users[worker] = {settings.key for settings in wanted}
        return tuple(self._provide(settings) for settings in wanted)

    def ended(self, worker: str, *, led: bool) -> None:
        """A worker has ended. While the bot is `led`, close the sockets that no other worker has.

        Without a leader the next worker will need them, and connections wait for it.
        """
        self._users.pop(worker, None)
        if led:
            self._keep({key for keys in self._users.values() for key in keys})

    @property
    def seen(self) -> tuple[SocketSeen, ...]:
        """The sockets that are held, with their real ports."""
        return tuple(
            SocketSeen(held.name, _address_of(held.socket), held.accept) for held in self._held.values()
        )

    def close(self, *, remove: bool) -> None:
        """Close all sockets. `remove` the files of unix sockets, unless workers live on and accept connections."""
        self._stop_receiving()
        for held in self._held.values():
            if remove:
                _remove_file(held)
            held.socket.close()
        self._held.clear()

    # --- from the workers that are alive ----------------------------------------------------------------------------

    def open(self, path: str) -> None:
        """From now on take the sockets that living workers send to the socket at `path`."""
        lent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lent.setblocking(False)
            Path(path).unlink(missing_ok=True)
            lent.bind(path)
        except OSError as problem:
            lent.close()
            self._say(f"listening sockets can't be taken over from living workers: {problem.strerror}")
            return
        self._lent = lent
        asyncio.get_running_loop().add_reader(lent.fileno(), self.receive)

    def receive(self) -> None:
        """Take what has arrived."""
        while self._lent is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._lent, _LARGEST, MOST_SOCKETS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:
                self._say(f"the listening sockets of a worker could not be received: {problem.strerror}")
                return
            received = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            for taken in received:
                taken.set_inheritable(False)
            with suppress(ListeningError):
                lent = decode_lent(data)
                for inherited, taken in zip(lent.sockets, received, strict=False):
                    self._take(lent.worker, inherited, taken)
            kept = {id(held.socket) for held in self._held.values()}
            for taken in received:
                if id(taken) not in kept:
                    taken.close()

    def _take(self, worker: str, inherited: InheritedSocket, taken: socket.socket) -> None:
        try:
            configured = SocketAddress.parse(inherited.configured, "/")
        except SocketAddressError:
            return
        key = SocketSettings(inherited.name, configured).key
        self._users.setdefault(worker, set()).add(key)
        if key not in self._held and _listens(taken):
            self._held[key] = _Held(inherited.name, inherited.accept, taken, _file_of(taken))
            self._say(
                f"socket {inherited.name} listens on {inherited.address}, and worker {worker} has kept it open"
            )

    def _stop_receiving(self) -> None:
        if self._lent is not None:
            asyncio.get_running_loop().remove_reader(self._lent.fileno())
            self._lent.close()
            self._lent = None

    def _keep(self, kept: set[str]) -> None:
        for key in [key for key in self._held if key not in kept]:
            held = self._held.pop(key)
            self._say(f"the socket on {_address_of(held.socket)} is closed: no worker uses it any more")
            _remove_file(held)
            held.socket.close()

    # --- binding ----------------------------------------------------------------------------------------------------

    def _provide(self, settings: SocketSettings) -> InheritedSocket:
        held = self._held.get(settings.key)
        if held is not None and not _is_in_place(held):
            # Without its file no client can connect to it.
            self._held.pop(settings.key).socket.close()
            held = None
        if held is None:
            bound = listen(settings)
            held = self._held[settings.key] = _Held(settings.name, settings.accept, bound, _file_of(bound))
            self._say(f"socket {settings.name} listens on {_address_of(held.socket)}")
        held.name, held.accept = settings.name, settings.accept
        if not _listens(held.socket):
            # The bot has called shutdown() on it, which ends it in every process.
            held.socket.listen(settings.backlog)
        if held.file is not None:
            with suppress(OSError):
                os.chmod(settings.address.path, settings.mode)
        return InheritedSocket(
            settings.name,
            _address_of(held.socket),
            held.socket.fileno(),
            settings.accept,
            settings.backlog,
            str(settings.address),
        )


def listen(settings: SocketSettings) -> socket.socket:
    """A new socket that listens on the address. Raises `ListenError`."""
    address = settings.address
    family = socket.AF_UNIX if address.is_unix else socket.AF_INET6 if address.is_v6 else socket.AF_INET
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as problem:
        raise ListenError(settings, _MENDS.get(problem.errno or 0, str(problem.strerror))) from None
    try:
        bound.setblocking(False)
        if address.is_unix:
            _bind_unix(bound, settings)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.is_v6:
                # As asyncio does: "[::]" and "0.0.0.0" are two addresses.
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address.host, address.port))
        bound.listen(settings.backlog)
    except OSError as problem:
        bound.close()
        if problem.errno == errno.EADDRINUSE:
            raise ListenError(settings, _in_use(address)) from None
        raise ListenError(settings, _MENDS.get(problem.errno or 0, str(problem.strerror))) from None
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_unix(bound: socket.socket, settings: SocketSettings) -> None:
    path = settings.address.path
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(settings, "there is a file of that name, which is not a socket: remove it")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                # Its process has ended: a unix socket's file stays.
                os.unlink(path)
            except BlockingIOError:
                pass
    before = os.umask(0o177)
    try:
        bound.bind(path)
    finally:
        os.umask(before)
    # No client can connect before it listens.
    os.chmod(path, settings.mode)


def _in_use(address: SocketAddress) -> str:
    """Who has the address, as far as this user can see it."""
    holders: dict[int, str] = {}
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("unix" if address.is_unix else "tcp"):
            if connection.pid and _is_at(connection, address):
                with suppress(psutil.Error):
                    holders[connection.pid] = psutil.Process(connection.pid).name()
    if holders:
        named = ", ".join(f"pid {pid} ({name})" for pid, name in sorted(holders.items()))
        return f"the address is in use by {named}: end it, or choose another address"
    where = f"`ss -xlp src {address.path}`" if address.is_unix else f"`ss -tlnp sport = :{address.port}`"
    return f"the address is in use by a process that this user can't see: {where} as root names it"


def _is_at(connection: object, address: SocketAddress) -> bool:
    local = getattr(connection, "laddr", None)
    if address.is_unix:
        return local == address.path
    return bool(
        getattr(connection, "status", "") == psutil.CONN_LISTEN
        and local
        and local.port == address.port
        and (local.ip in (address.host, "0.0.0.0", "::") or address.host in ("0.0.0.0", "::"))
    )


def _address_of(bound: socket.socket) -> str:
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return str(SocketAddress(path=name))
    return str(SocketAddress(name[0], name[1]))


def _listens(bound: socket.socket) -> bool:
    return bool(bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _file_of(bound: socket.socket) -> tuple[int, int] | None:
    if bound.family != socket.AF_UNIX:
        return None
    try:
        file = os.lstat(bound.getsockname())
    except OSError:
        return None
    return (file.st_dev, file.st_ino)


def _is_in_place(held: _Held) -> bool:
    return held.socket.family != socket.AF_UNIX or (
        held.file is not None and _file_of(held.socket) == held.file
    )


def _remove_file(held: _Held) -> None:
    if held.file is not None and _is_in_place(held):
        with suppress(OSError):
            os.unlink(held.socket.getsockname())
