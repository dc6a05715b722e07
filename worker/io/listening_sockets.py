"""The listening sockets of a worker: `self.sockets["api"]`.

The supervisor binds them (`[sockets]` in the configuration), and this process inherits them, in systemd's convention:
descriptors from 3 on, and `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` in the environment.

Only the leader accepts connections, whatever the bot's code does. While this process does not lead, the descriptors
refer to a placeholder: a listening socket of the same kind that no client can connect to. A server that was started on
it waits. When this process comes to lead, the real socket takes the placeholder's place under all descriptors (see
`socket_switch`), and right before it drops the lease the placeholder returns.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from ...protocol.errors import NeverblinkError
from ...protocol.listening import FIRST_DESCRIPTOR, InheritedSocket, LentSockets, encode_lent
from .output import report

__all__ = ["LoopbackSockets", "SocketError", "WorkerSockets", "inherit", "loopback"]


class SocketError(NeverblinkError, KeyError):
    """The bot has no socket of that name."""

    def __str__(self) -> str:
        return self.message


class _Slot:
    """One socket: the real one, and what the bot was given."""

    def __init__(self, inherited: InheritedSocket, real: socket.socket, idle: socket.socket | None) -> None:
        self.inherited = inherited
        self.real = real
        self.idle = idle
        """The placeholder, None when this process always accepts connections."""
        self.shown: socket.socket | None = None


class WorkerSockets(Mapping[str, socket.socket]):
    """The listening sockets of this process, by name. All are non-blocking, as asyncio needs them.

    A socket that was closed, for example by a server that has ended, is opened again with the next access.
    """

    def __init__(
        self, sockets: Sequence[tuple[InheritedSocket, socket.socket]] = (), *, leads: bool = False
    ) -> None:
        self._slots = {
            inherited.name: _Slot(
                inherited, real, None if leads or inherited.accept == "all" else _placeholder(real.family)
            )
            for inherited, real in sockets
        }
        self._leads = leads
        self.spare: Callable[[], AbstractContextManager[None]] = nullcontext
        """Gives the switch the descriptors that it needs when the bot has used up all others."""

    def __getitem__(self, name: str) -> socket.socket:
        slot = self._slots.get(name)
        if slot is None:
            named = f"it has {', '.join(self._slots)}" if self._slots else "it has none"
            raise SocketError(
                f'there is no socket "{name}" in [sockets] of the configuration that this process was started with: '
                f"{named}"
            )
        if slot.shown is None or slot.shown.fileno() < 0:
            slot.shown = self._current(slot).dup()
            slot.shown.setblocking(False)
        return slot.shown

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def address(self, name: str) -> str:
        """Where the socket listens, in every process, with its real port: "127.0.0.1:8085". Raises `SocketError`."""
        slot = self._slots.get(name)
        return slot.inherited.address if slot is not None else str(self[name])

    def accept(self) -> None:
        """This process leads: connections reach it from now on."""
        if not self._leads:
            self._leads = True
            self._switch()

    def stop_accepting(self) -> None:
        """This process is about to stop leading: no connection reaches it from now on."""
        if self._leads:
            self._leads = False
            self._switch()

    def arrange(self, environment: MutableMapping[str, str]) -> bool:
        """Put the sockets where systemd's convention has them, and say so in the environment.

        Call it at the beginning of a process. Returns False, and leaves the environment without them, if a descriptor
        is in use that they need.
        """
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            environment.pop(name, None)
        slots = list(self._slots.values())
        wanted = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(slots))
        if any(map(_is_open, wanted)):
            return False
        for descriptor, slot in zip(wanted, slots, strict=True):
            # Not inherited by programs that the bot starts, as sd_listen_fds() does it.
            os.dup2(self._current(slot).fileno(), descriptor, inheritable=False)
        if slots:
            environment["LISTEN_FDS"] = str(len(slots))
            environment["LISTEN_PID"] = str(os.getpid())
            environment["LISTEN_FDNAMES"] = ":".join(self._slots)
        return True

    def lend(self, worker: str, path: str) -> None:
        """Send the sockets to the supervisor that listens at `path`, which may be a new one."""
        if not self._slots:
            return
        lent = LentSockets(worker, tuple(slot.inherited for slot in self._slots.values()))
        with self.spare(), suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.connect(path)
            socket.send_fds(out, [encode_lent(lent)], [slot.real.fileno() for slot in self._slots.values()])

    def close(self) -> None:
        for slot in self._slots.values():
            for held in (slot.real, slot.idle, slot.shown):
                if held is not None:
                    held.close()
        self._slots.clear()

    def _current(self, slot: _Slot) -> socket.socket:
        return slot.real if slot.idle is None or self._leads else slot.idle

    def _switch(self) -> None:
        for slot in self._slots.values():
            if slot.idle is None:
                continue
            from .socket_switch import exchange

            here, there = (slot.idle, slot.real) if self._leads else (slot.real, slot.idle)
            try:
                # All processes share these: a server may have changed them.
                slot.real.setblocking(False)
                slot.real.listen(slot.inherited.backlog)
                with self.spare():
                    exchange(here, there, frozenset({here.fileno(), there.fileno()}))
            except OSError as problem:
                what = (
                    "is not accepted from yet"
                    if self._leads
                    else "may be accepted from until this process ends"
                )
                report(f"ERROR: neverblink: socket {slot.inherited.name} {what}: {problem}")


class LoopbackSockets(WorkerSockets):
    """For a check and a simulation: whatever the name, a socket of its own on the loopback interface."""

    def __getitem__(self, name: str) -> socket.socket:
        if name not in self._slots:
            real = loopback()
            address = f"127.0.0.1:{real.getsockname()[1]}"
            self._slots[name] = _Slot(InheritedSocket(name, address), real, None)
        return super().__getitem__(name)

    def address(self, name: str) -> str:
        self[name]
        return super().address(name)


def inherit(sockets: Sequence[InheritedSocket], environment: MutableMapping[str, str]) -> WorkerSockets:
    """The sockets that the supervisor has started this process with. Call it before anything is opened."""
    first_free = FIRST_DESCRIPTOR + len(sockets)
    found: list[tuple[InheritedSocket, socket.socket]] = []
    for inherited in sockets:
        # Out of the way: another socket belongs there.
        moved = fcntl.fcntl(inherited.descriptor, fcntl.F_DUPFD_CLOEXEC, first_free)
        os.close(inherited.descriptor)
        real = socket.socket(fileno=moved)
        real.setblocking(False)
        found.append((inherited, real))
    return _arranged(found, first_free, environment)


def loopback() -> socket.socket:
    """A new socket that listens on a free port of the loopback interface."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    listening.setblocking(False)
    return listening


def _arranged(
    found: list[tuple[InheritedSocket, socket.socket]], first_free: int, environment: MutableMapping[str, str]
) -> WorkerSockets:
    # A placeholder takes the lowest free number: keep those of the convention free for it.
    blocked: list[int] = []
    while (descriptor := os.open("/", os.O_PATH | os.O_CLOEXEC)) < first_free:
        blocked.append(descriptor)
    os.close(descriptor)
    sockets = WorkerSockets(found)
    for descriptor in blocked:
        os.close(descriptor)
    if not sockets.arrange(environment):
        report(
            "WARNING: neverblink: LISTEN_FDS is not set, because a descriptor from 3 on is in use: use self.sockets"
        )
    return sockets


def _placeholder(family: int) -> socket.socket:
    """A listening socket that no client can connect to."""
    # Only here: a bot without sockets does not need ctypes.
    from .socket_switch import drop_all

    idle = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_UNIX:
        with tempfile.TemporaryDirectory(prefix="neverblink-") as place:
            idle.bind(f"{place}/idle")
            # Without its file it has no address.
            os.unlink(f"{place}/idle")
    else:
        drop_all(idle)
        idle.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    idle.listen(1)
    idle.setblocking(False)
    return idle


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError as problem:
        return problem.errno != errno.EBADF
    return True
