"""As PID 1 the supervisor reaps orphans, and takes no exit status from other parts."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

SOURCE = """
    import asyncio, os, subprocess
    from pathlib import Path
    from neverblink.supervisor.system.orphan_reaper import OrphanReaper


    def zombies():
        return [
            stat for path in Path("/proc").glob("[0-9]*/stat")
            if (stat := path.read_text().rpartition(")")[2].split())[0] == "Z"
        ]


    async def main():
        assert os.getpid() == 1
        reaper = OrphanReaper(every=0.1)
        # A child whose child outlives it, and ends.
        subprocess.run(["/bin/sh", "-c", "(sleep 0.2) & exit 3"], check=False)
        ours = await asyncio.create_subprocess_exec("/bin/sh", "-c", "sleep 0.1; exit 7")
        print(await ours.wait(), flush=True)
        await asyncio.sleep(0.3)
        while zombies():
            await asyncio.sleep(0.05)
        reaper.close()
        print("none left", flush=True)


    asyncio.run(asyncio.wait_for(main(), 30))
"""
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="makes a PID namespace, as only root can",
)
def test_as_pid_1_orphans_are_reaped_and_own_children_keep_their_exit_status() -> None:
    ended = subprocess.run(
        [*UNSHARE, sys.executable, "-c", dedent(SOURCE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.split("\n")[:2] == ["7", "none left"], ended.stderr
