"""How much processor time a process has used: the kernel's count, in ns, of all its threads."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["cpu_of", "memory_of"]


def cpu_of(pid: int) -> int:
    """Processor time of process `pid` so far, ns. Raises OSError when it is gone."""
    # The number of a process's clock is computed from its pid (CPUCLOCK_SCHED, see clock_getcpuclockid(3)).
    return time.clock_gettime_ns((~pid << 3) | 2)


def memory_of(pid: int) -> float:
    """Memory of process `pid`, MB: its own pages, and its share of shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, text = line.partition(":")
        if name == "Pss":
            return int(text.split()[0]) * 1024 / 1e6
    raise OSError(f"/proc/{pid}/smaps_rollup has no Pss (page size {os.sysconf('SC_PAGE_SIZE')})")
