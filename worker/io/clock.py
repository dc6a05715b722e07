"""Clocks, and an alarm that rings within a fraction of a millisecond.

asyncio waits with `epoll`, whose time-outs are whole milliseconds rounded up: `call_later` is most of a
millisecond late at the median. A Linux timer descriptor (`timerfd`) becomes readable at a moment given in
nanoseconds, so the same `epoll` wakes for it as for any socket, and the loop needs no thread and no spinning.
The alarm is armed with absolute CLOCK_MONOTONIC times: what happens between computing the time and arming
does not make it late, and a stepped wall clock does not move it (the engine finds that out when it wakes, and
re-arms from the grid).

`os.timerfd_create` exists from Python 3.13 on only; `ctypes` reaches the same three calls everywhere, so
there is one path and not two.
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
    """The kernel refused a timer; `errno` says why, 0 when it has none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class Clock(Protocol):
    """What the engine asks for the time; tests turn one by hand. In ns."""

    def wall(self) -> int:
        """The time that is believed, UTC since the epoch. May be stepped either way; see `protocol.clock`."""
        ...

    def mono(self) -> int:
        """CLOCK_MONOTONIC. Never goes back; comparable between the processes of a host."""
        ...

    def suspended(self) -> int:
        """How long the machine has been suspended since it was started: that long CLOCK_MONOTONIC stood still."""
        ...

    def follow(self, wall: int, mono: int) -> None:
        """The leader believed this time when CLOCK_MONOTONIC showed `mono`: go by it."""
        ...

    def accept(self) -> None:
        """Believe what the machine's wall clock shows now, however far it was stepped."""
        ...


class SystemClock:
    """The host's clocks; a step of the wall clock is believed only when it has lasted."""

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
    """A descriptor that becomes readable at a moment: register `fileno()` with the loop, `arm`, and `drain`
    on waking.

    Rings once an arming. Closed on exec, so no child of the bot inherits it. Raises `TimerFdError` where the
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
        """Ring at monotonic time `at` (ns), instead of any moment set before; at once when that is past.

        `lead` has no effect: only an `AlarmSelector` wakes early and waits.
        """
        # A zero would disarm.
        self._set(max(at, 1))

    def disarm(self) -> None:
        """Do not ring. A ring not yet drained is forgotten too."""
        self._set(0)

    def drain(self) -> int:
        """Forget the ring, so that the descriptor is quiet again. Returns how many there were (0 or 1)."""
        try:
            return int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Give the descriptor back. The loop must have let go of it before."""
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
    """struct itimerspec: an interval, left at zero (ring once), and the first expiry."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )
