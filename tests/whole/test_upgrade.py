"""neverblink is upgraded beneath a live bot: what an earlier version made, this one goes on with."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from uv import find_uv_bin

from .bots import bot
from .live import Live
from .pushing import HANDED, Pushing

ROOT = Path(__file__).resolve().parents[2]
EARLIER = "7cbfbcf2be9ac10cd3f54c481bd646bb0a655bc3"
"""The last one that could be installed before the modules were moved into rooms and renamed."""


def install(environment: Path, tree: Path) -> None:
    """Install the neverblink in `tree` as a user does who upgrades."""
    uv = find_uv_bin()
    if not environment.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python"),
            *("--constraints", ROOT / "bin" / "constraints" / "live.txt"),
            *("--reinstall-package", "neverblink", f"{tree}[supervisor]"),
        ],
        check=True,
    )


def tree_of(commit: str, place: Path) -> Path:
    """The project as of a commit. Skips the test where the checkout lacks the commit."""
    found = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"this checkout lacks commit {commit[:7]}: it is a shallow one, or a copy")
    with tarfile.open(fileobj=BytesIO(found.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place


@pytest.mark.deep
def test_a_bot_a_home_and_a_hook_of_an_earlier_version_work_after_an_upgrade_and_no_tick_is_missed(
    live: Live,
) -> None:
    environment = live.tmp / "environment"
    install(environment, tree_of(EARLIER, live.tmp / "earlier"))
    live.program = (str(environment / "bin" / "neverblink"),)
    pushing = Pushing(live)
    code = live.code("v1", bot())
    supervisor = live.up(code)
    assert live.deploy(live.code("v2", bot() + "# 2\n"))["outcome"] == "done"
    leader = live.status()["pid"]

    install(environment, ROOT)
    # The hook of the earlier version, and the supervisor that still runs its code.
    pushing.commit(code, "pushed before the supervisor was replaced")
    pushed = pushing.push()
    assert pushed.code == 0, pushed
    assert HANDED.search(pushed.err), pushed.err

    leader = live.status()["pid"]
    replaced = live.up(code, "--replace")
    assert supervisor.ends().code == 0
    assert live.status()["pid"] == leader
    live.ticks_on()
    rolled_back = live.ask("rollback", wait=True)
    assert rolled_back["outcome"] == "done"
    pushing.change("pushed after it")
    pushed = pushing.push()
    assert pushed.code == 0, pushed
    assert HANDED.search(pushed.err), pushed.err
    listed = live.run("history", "--json")
    assert [deployment["id"] for deployment in listed.json["deployments"]] == [4, 3, 2, 1]
    assert live.ask("down")["stopped"]
    assert replaced.ends().code == 0
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)
