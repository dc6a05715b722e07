"""What the kernel says of a process in one line, /proc/PID/stat. No I/O here: the caller has read it."""

from __future__ import annotations

__all__ = ["field_of"]


def field_of(stat: bytes, number: int) -> bytes:
    """One of its fields, by its number in proc_pid_stat(5), from 3 on.

    The second field is the program's name, which may itself hold blanks and brackets. Raises ValueError or IndexError
    for any other line.
    """
    return stat[stat.rindex(b")") + 1 :].split()[number - 3]
