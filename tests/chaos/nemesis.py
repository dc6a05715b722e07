"""The fault injector: does real harm to real processes, and undoes what can be undone.

A fault of one process needs no privileges beyond being its owner, and it affects root like any other user: a limit on
the size of files (RLIMIT_FSIZE of the process) stops files from growing, a connection is shut down through a duplicate
of its descriptor (`pidfd_getfd`), a socket is unplugged by renaming it. A full file system has to be mounted
(`machine.Disk`).
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from neverblink.protocol.journal import RecordKind, pack_record

from ..files import entries_below
from ..whole.live import Live
from . import nemesis_home as home
from .machine import Clock, Disk
from .market import holder
from .plan import Fault

__all__ = ["SPOILT", "FaultTarget", "Nemesis"]

_PIDFD_GETFD = 438
_RECORD = pack_record(RecordKind.FRAME, b"never written whole")
SPOILT = bytes((*_RECORD[:-1], _RECORD[-1] ^ 0x10))
"""One of its bits has flipped. A killed process does not leave that: it must be reported as damage."""
_TORN = (_RECORD[:1], _RECORD[:7], _RECORD[:13], _RECORD[:21], b"\0" * 64, SPOILT)
"""What a leader killed while writing leaves: half a record, blocks without their bytes, a flipped bit."""


class FaultTarget:
    """The process that a fault hits; `worker` is "" for a supervisor."""

    def __init__(self, pid: int, worker: str) -> None:
        self.pid = pid
        self.worker = worker


class Nemesis:
    """Injects faults into the home of `live`, as the seed decides. `hang_up()` makes the exchange drop its connections.

    Without a `disk` no file system can be full, and without a `clock` no clock can be stepped.
    """

    def __init__(
        self, live: Live, hang_up: Callable[[], object], seed: int, disk: Disk | None, clock: Clock | None
    ) -> None:
        self.spoilt: set[tuple[int, int]] = set()
        """Where a bit was flipped: segment and byte."""
        self.torn: set[str] = set()
        """Releases of which a file was torn."""
        self.ended: set[int] = set()
        """Processes that were ended here, or stopped so that a watchdog may end them."""
        self._live = live
        self._home = live.home
        self._hang_up = hang_up
        self._chance = random.Random(seed)
        self._disk = disk
        self._clock = clock

    def strike(self, fault: Fault, victim: FaultTarget | None) -> Callable[[], object] | None:
        """Inject the fault; return a function that undoes it, or None when there was no target."""
        if fault.target == "exchange":
            self._hang_up()
            return _nothing
        if fault.target in ("home", "all"):
            return self._do_to_all(fault, victim)
        if victim is None or not _alive(victim.pid):
            return None
        if fault.kind in ("kill", "torn", "stop", "delay"):
            self.ended.add(victim.pid)
        try:
            return self._do(fault, victim)
        except ProcessLookupError:
            return None

    def _do_to_all(self, fault: Fault, leader: FaultTarget | None) -> Callable[[], object] | None:
        match fault.kind:
            case "full" if self._disk is not None:
                return self._disk.fill(fault.how)
            case "clock" if self._clock is not None:
                return self._clock.step(home.STEPS_BY[fault.how])
            case "sockets":
                return _nothing if home.remove_sockets(self._home / "run") else None
            case "logs-gone":
                home.remove_logs(self._home / "logs")
                return _nothing
            case "power-cut":
                self._cut_power(fault.how, leader)
                return _nothing
            case _:
                return None

    def _cut_power(self, torn: str, leader: FaultTarget | None) -> None:
        processes = self._live.processes()
        self.ended.update(process.pid for process in processes)
        release = _release_of(leader.pid, self._home) if leader is not None else None
        home.cut_power(processes)
        if torn == "journal":
            self._leave_half_a_record()
        elif torn == "release" and release is not None and home.tear_release(release, self._chance):
            self.torn.add(release.name)

    def _do(self, fault: Fault, victim: FaultTarget) -> Callable[[], object] | None:
        match fault.kind:
            case "kill":
                os.kill(victim.pid, signal.SIGKILL)
                return _nothing
            case "stop":
                os.kill(victim.pid, signal.SIGSTOP)
                return lambda: _send(victim.pid, signal.SIGCONT)
            case "delay":
                return _delay(victim.pid)
            case "torn":
                return self._tear(victim.pid)
            case "file-limit":
                return self._limit_files(victim)
            case "descriptors" if not victim.worker:
                # The supervisor does not leak by itself. Clients that connect take its descriptors.
                return home.crowd(victim.pid, self._live.tmp / "run")
            case "descriptors":
                leads = holder(self._home / "lease") == victim.pid
                hidden = self._home / "run" / f"{victim.worker}.hidden.sock"
                return home.bare_of_descriptors(victim.pid, hidden if leads else None)
            case "hang-up":
                return _nothing if _shut_down(victim.pid, str(self._home / "run")) else None
            case "unplug":
                return self._unplug(victim.worker or "supervisor")
            case _:
                return None

    def _tear(self, pid: int) -> Callable[[], object]:
        """Kill the leader, and leave part of a record at the end of its journal."""
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + 5
        while _state(pid) not in "TZX" and time.monotonic() < until:
            time.sleep(0.0005)
        # Only a leader leaves half a record, and no other process writes before this one is dead.
        if holder(self._home / "lease") == pid:
            self._leave_half_a_record()
        os.kill(pid, signal.SIGKILL)
        return _nothing

    def _leave_half_a_record(self) -> None:
        segment = max((self._home / "journal").glob("*.journal"), default=None)
        if segment is None:
            return
        rest = self._chance.choice(_TORN)
        if rest is SPOILT:
            self.spoilt.add((int(segment.stem), segment.stat().st_size))
        with segment.open("ab") as file:
            file.write(rest)

    def _limit_files(self, victim: FaultTarget) -> Callable[[], object]:
        """Let no file of the process grow beyond the journal's present size."""
        sizes = [status.st_size for path, status in entries_below(self._home / "journal") if path.suffix]
        before = resource.prlimit(victim.pid, resource.RLIMIT_FSIZE)
        limit = max(sizes, default=0) if victim.worker else 0
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (limit, before[1]))

        def free() -> None:
            with suppress(OSError):
                resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, before)

        return free

    def _unplug(self, name: str) -> Callable[[], object] | None:
        here = self._home / "run" / f"{name}.sock"
        away = here.with_suffix(".unplugged")
        try:
            here.rename(away)
        except OSError:
            return None

        def plug() -> None:
            # A process that started meanwhile has its own socket there.
            with suppress(OSError):
                os.link(away, here)
            away.unlink(missing_ok=True)

        return plug


def _release_of(pid: int, home: Path) -> Path | None:
    """The directory of the release that a worker runs."""
    with suppress(OSError):
        found = Path(os.readlink(f"/proc/{pid}/cwd"))
        if found.is_relative_to(home.resolve()):
            return found
    return None


def _nothing() -> None:
    """There is nothing to undo."""


def _delay(pid: int) -> Callable[[], object]:
    """Let the process run only half of the time, in slices of some milliseconds."""
    over = threading.Event()

    def slow_down() -> None:
        while not over.wait(0.015) and _send(pid, signal.SIGSTOP):
            over.wait(0.025)
            _send(pid, signal.SIGCONT)
        _send(pid, signal.SIGCONT)

    thread = threading.Thread(target=slow_down)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join()

    return stop


def _shut_down(pid: int, directory: str) -> int:
    """Shut down every connection of the process that goes through a socket in `directory`; return how many."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    shut = 0
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
                descriptor = libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
                if descriptor < 0:
                    continue
                with socket.socket(fileno=descriptor) as ours:
                    if ours.family == socket.AF_UNIX and _goes_through(ours, directory):
                        ours.shutdown(socket.SHUT_RDWR)
                        shut += 1
    finally:
        os.close(pidfd)
    return shut


def _goes_through(connection: socket.socket, directory: str) -> bool:
    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    ends = [connection.getsockname(), connection.getpeername()]
    return any(isinstance(end, str) and end.endswith(".sock") and _within(end, directory) for end in ends)


def _within(path: str, directory: str) -> bool:
    # A home with a long path is reached through /proc/self/fd/N: then only the name can be compared.
    return path.startswith((directory, "/proc/self/fd/")) or os.path.realpath(path).startswith(directory)


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat[stat.rindex(")") + 2]


def _alive(pid: int) -> bool:
    return _state(pid) not in "ZX"
