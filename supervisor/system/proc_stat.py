"""What a process is doing at this moment, by the kernel's word.

A process that says nothing may be stopped, wait for a disk, compute, or be blocked for ever: /proc tells these apart,
and no message could.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ...protocol.presence import field_of

__all__ = ["ProcessActivity", "doing"]

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ProcessActivity(msgspec.Struct, frozen=True):
    """`state` is the letter of /proc/PID/stat (R runs, S sleeps, D waits for a disk, T is stopped, Z is dead).

    `cpu` is the time all its threads have computed, ns. `tracer` is the pid of a debugger that is attached, 0 without.
    """

    state: str
    cpu: int = 0
    tracer: int = 0


def doing(pid: int) -> ProcessActivity | None:
    """What process `pid` is doing, None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        status = Path(f"/proc/{pid}/status").read_bytes()
        tracer = status.partition(b"\nTracerPid:")[2].split()[0]
        ticks = int(field_of(stat, 14)) + int(field_of(stat, 15))
        return ProcessActivity(field_of(stat, 3).decode(), ticks * _TICK, int(tracer))
    except (OSError, ValueError, IndexError):
        return None
