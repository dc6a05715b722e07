"""Keeping a new worker off the leader's core."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from neverblink.supervisor.system import cpu_affinity
from neverblink.supervisor.system.cpu_affinity import CpuAffinity


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_affinity_is_undone_for_every_thread_that_the_bot_has_not_bound_itself() -> None:
    cores = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        kept = CpuAffinity(child.pid, os.getpid())
        assert kept.restricted
        assert len(os.sched_getaffinity(child.pid)) == len(cores) - 1
        kept.free()
        assert os.sched_getaffinity(child.pid) == cores
        again = CpuAffinity(child.pid, os.getpid())
        away = cores - os.sched_getaffinity(child.pid)
        os.sched_setaffinity(child.pid, away)
        again.free()
        assert os.sched_getaffinity(child.pid) == away
        assert not CpuAffinity(child.pid, 2**22 + 1).restricted
        child.stdin.close()
    assert cpu_affinity.last_core(os.getpid()) in cores
