"""Which workers of an earlier run are alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from neverblink.supervisor.store.history_rows import WorkerRow
from neverblink.supervisor.store.living_workers import survivors
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.system.process import started_at


def test_live_workers_are_known_workers_and_the_holder_of_the_lease(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    me = started_at(os.getpid()) or 0
    known = WorkerRow("fox", "w1", "r1", os.getpid(), me, "", 0, None, None, "")
    assert survivors(home, [known]) == [], "a process without a file of this home is another home's"
    with (home.logs / "w1.log").open("w"):
        assert [(survivor.worker, survivor.leads) for survivor in survivors(home, [known])] == [("w1", False)]
    program = (
        "from neverblink.worker.io.lease import Lease\nimport sys\n"
        f"lease = Lease({str(home.lease)!r})\nlease.take('w9')\nprint(flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdin is not None
        assert leader.stdout is not None
        leader.stdout.readline()
        assert [(survivor.worker, survivor.pid, survivor.leads) for survivor in survivors(home, [])] == [
            ("w9", leader.pid, True)
        ]
        home.lease.write_bytes(b"not a lease at all" + b" " * 600)
        assert [(survivor.worker, survivor.pid) for survivor in survivors(home, [])] == [("", leader.pid)]
        leader.stdin.close()
    assert survivors(home, []) == []
