"""Recognising a process."""

from __future__ import annotations

import os
import subprocess
import sys

from neverblink.supervisor.system.process import alive, started_at


def test_a_process_is_recognised_by_its_pid_and_start_time() -> None:
    me = started_at(os.getpid())
    assert me is not None
    assert alive(os.getpid(), me)
    assert not alive(os.getpid(), me + 1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    born = started_at(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert born is not None
    assert not alive(child.pid, born), "a zombie leads nothing"
    child.wait()
    assert started_at(child.pid) is None
