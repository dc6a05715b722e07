"""Telling the service manager how the supervisor does: as much of systemd's notifications as a supervisor needs.

A service manager that wants to know names a unix datagram socket in NOTIFY_SOCKET; without one, all of this is silent.
`READY=1` goes out when a worker leads, so "started" means that the bot ticks. While a deployment runs the service is
`RELOADING=1`, and whatever happens is its `STATUS=`. All of it is made from the events that everybody gets.

The watchdog's `WATCHDOG=1` comes from the supervisor's own loop, and from nowhere else: a loop that hangs does not
ping. Nothing here ever waits or raises: a manager that has no room for a message gets it a moment later.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Mapping

from ...protocol import events

__all__ = ["VARIABLES", "SdNotify"]

VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})
"""The variables that are meant for this process alone: a worker must not speak for its supervisor."""

_PINGS = 3
"""In the time that the watchdog allows for one."""
_LONGEST_STATUS = 500
_MOST_UNSENT = 100
_AGAIN = 0.05
_PATIENCE = 600_000_000_000
"""What the manager is asked for beyond the next start, ns."""


class SdNotify:
    """Speaks to the manager that `environment` names, from `loop`. To be closed."""

    def __init__(self, environment: Mapping[str, str], loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._loop = loop or asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._again: asyncio.TimerHandle | None = None
        self._ready = False
        self._leads = ""
        if self._address is None:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._every = _watchdog(environment) / _PINGS
        if self._every > 0:
            self._ping_now()

    def note(self, event: events.Event) -> None:
        """Tell what has happened, if it is the manager's business."""
        match event:
            case events.StartPlanned():
                # The manager waits for a worker that leads, and a bot whose start fails for now is not given up.
                patience = (max(0, event.next - event.at) + _PATIENCE) // 1000
                self._say(f"EXTEND_TIMEOUT_USEC={patience}", f"STATUS=no worker leads: {event.reason}")
            case events.LeaderChanged(worker=""):
                self._say(f"STATUS=no worker leads: {event.cause}")
            case events.LeaderChanged():
                self._leads = f"{event.worker} leads: release {event.release}, epoch {event.epoch}"
                self._say_ready()
            case events.WorkerAdopted(leads=True):
                # It has led all the time, so nothing changes, but this supervisor is ready.
                self._leads = f"{event.worker} leads: release {event.release}"
                self._say_ready()
            case events.DeploymentStarted():
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                what = f"STATUS=deployment {event.deployment}: {event.release}"
                self._say("RELOADING=1", f"MONOTONIC_USEC={now}", what)
            case events.PhaseChanged():
                self._say(f"STATUS=deployment {event.deployment}: {event.phase}; {self._leads}")
            case events.DeploymentEnded():
                ended = f"deployment {event.deployment} {event.outcome.replace('_', ' ')}"
                self._say("READY=1", f"STATUS={ended}; {self._leads}")
            case events.SupervisorStopping():
                self._say("STOPPING=1", f"STATUS=stopping: {event.reason}")
            case _:
                pass

    def _say_ready(self) -> None:
        ready = [] if self._ready else ["READY=1"]
        self._ready = True
        self._say(*ready, f"STATUS={self._leads}")

    def close(self) -> None:
        """Say nothing more."""
        for timer in (self._ping, self._again):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ping_now(self) -> None:
        if not self._unsent:
            self._say("WATCHDOG=1")
        self._ping = self._loop.call_later(self._every, self._ping_now)

    def _say(self, *assignments: str) -> None:
        if self._socket is not None and self._address is not None:
            # A line is an assignment: nothing that was said elsewhere may begin one.
            lines = [" ".join(text.split())[:_LONGEST_STATUS] for text in assignments]
            self._unsent.append("\n".join(lines).encode(errors="replace"))
            self._send()

    def _send(self) -> None:
        while self._unsent and self._socket is not None and self._address is not None:
            try:
                self._socket.sendto(self._unsent[0], self._address)
            except BlockingIOError:
                if self._again is not None:
                    self._again.cancel()
                self._again = self._loop.call_later(_AGAIN, self._send)
                return
            except OSError:
                pass
            self._unsent.popleft()


def _address(value: str) -> str | None:
    """Where the manager listens: a path, or with `@` an abstract name; None for what we can't speak to."""
    if value.startswith("/"):
        return value
    if value.startswith("@"):
        return "\0" + value[1:]
    return None


def _watchdog(environment: Mapping[str, str]) -> float:
    """How long the manager waits for a ping, seconds; 0 when it waits for none of ours."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    value = environment.get("WATCHDOG_USEC", "")
    return int(value) / 1e6 if value.isdecimal() else 0
