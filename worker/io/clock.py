"""Clocks, and an alarm that fires within a fraction of a millisecond.

asyncio waits with `epoll`, whose time-outs are whole milliseconds, rounded up: `call_later` is most of a millisecond
late at the median. A Linux timer descriptor (`timerfd`) becomes readable at a time given in nanoseconds, and the same
`epoll` wakes for it as for any socket, so the loop needs no thread and no spinning. The alarm is armed with absolute
CLOCK_MONOTONIC times: time that passes between computing and arming does not make it late, and a stepped wall clock
does not move it (the engine notices the step when it wakes, and arms it again from the grid).

`os.timerfd_create` exists only from Python 3.13 on; `ctypes` reaches the same calls on every version, so there is only
one path.
"""

from __future__ import annotations

import ctypes
import os
import time
from types import TracebackType
from typing import Protocol

from ...protocol.clock import ClockDiscipline
from ...protocol.duration import SECOND
from ...protocol.errors import NeverblinkError

__all__ = ["Clock", "SystemClock", "TimerFd", "TimerFdError"]

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class TimerFdError(NeverblinkError):
    """A timer descriptor cannot be made or armed; `errno` is the kernel's reason, 0 when there is none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class Clock(Protocol):
    """The clock that the engine reads, in ns. Tests have one that they advance by hand."""

    def wall(self) -> int:
        """The accepted wall-clock time, UTC since the epoch. It may step either way; see `protocol.clock`."""
        ...

    def mono(self) -> int:
        """CLOCK_MONOTONIC: never goes back, and is the same in all processes of a host."""
        ...

    def suspended(self) -> int:
        """How long the machine has been suspended since boot: CLOCK_MONOTONIC stands still in that time."""
        ...

    def follow(self, wall: int, mono: int) -> None:
        """Adopt the leader's time: it was `wall` when CLOCK_MONOTONIC was `mono`."""
        ...

    def accept(self) -> None:
        """Accept the machine's present wall clock, however far it was stepped."""
        ...


class SystemClock:
    """The host's clocks. A step of the wall clock is accepted only after it has lasted."""

    __slots__ = ("_discipline",)

    mono = staticmethod(time.monotonic_ns)

    def __init__(self) -> None:
        self._discipline = ClockDiscipline(time.time_ns(), _boot())

    def wall(self) -> int:
        return self._discipline.believe(time.time_ns(), _boot())

    def suspended(self) -> int:
        return _boot() - time.monotonic_ns()

    def follow(self, wall: int, mono: int) -> None:
        self._discipline.follow(wall - mono - self.suspended())

    def accept(self) -> None:
        self._discipline.accept(time.time_ns(), _boot())


def _boot() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class TimerFd:
    """A descriptor that becomes readable at a given time: register `fileno()` with the loop, `arm` it, and `drain` it
    on waking.

    It fires once for each `arm`. Closed on exec, so no child of the bot inherits it. Raises `TimerFdError` when the
    kernel has no timer descriptors, or the process has no descriptor left.
    """

    __slots__ = ("_fd", "_settime", "_spec")

    def __init__(self) -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            create, settime = libc.timerfd_create, libc.timerfd_settime
        except (OSError, AttributeError):
            raise TimerFdError(
                "no timerfd in this system's C library: neverblink's workers need Linux"
            ) from None
        settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Spec), ctypes.c_void_p)
        self._settime = settime
        self._spec = _Spec()
        self._fd: int = create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise TimerFdError(f"timerfd_create: {os.strerror(code)}", code)

    def fileno(self) -> int:
        return self._fd

    def arm(self, at: int, lead: int = 0) -> None:
        """Fire at monotonic time `at` (ns), instead of any time set before; at once when that is past.

        `lead` has no effect: only an `AlarmSelector` wakes early and waits.
        """
        # A zero would disarm.
        self._set(max(at, 1))

    def disarm(self) -> None:
        """Do not fire. An expiry not yet drained is cleared too."""
        self._set(0)

    def drain(self) -> int:
        """Clear the expiry, so that the descriptor is not readable. Returns how many there were (0 or 1)."""
        try:
            return int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close the descriptor. Remove it from the loop first."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> TimerFd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set(self, at: int) -> None:
        spec = self._spec
        spec.seconds, spec.nanoseconds = divmod(at, SECOND)
        if self._settime(self._fd, _TFD_TIMER_ABSTIME, spec, None):
            code = ctypes.get_errno()
            raise TimerFdError(f"timerfd_settime: {os.strerror(code)}", code)


class _Spec(ctypes.Structure):
    """struct itimerspec: an interval, left at zero (fire once), and the first expiry."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )
