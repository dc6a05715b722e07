"""Under systemd: the supervisor's notifications to its manager, and its unit."""

from __future__ import annotations

import asyncio
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neverblink.protocol import events
from neverblink.supervisor.cli.systemd import Unit, unit_of
from neverblink.supervisor.config.config import load
from neverblink.supervisor.system.sd_notify import SdNotify

WITHIN = 20.0


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str, **more: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.settimeout(WITHIN)
        self.environment = {"NOTIFY_SOCKET": address, **more}

    def receive(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")

    def silent(self) -> bool:
        """Whether there is nothing to hear now."""
        if not select.select([self.socket], [], [], 0)[0]:
            return True
        self.socket.recv(4096)
        return False


Manage = Callable[..., Manager]


@pytest.fixture
def manage() -> Iterator[Manage]:
    """Makes a service manager, at a path that is short enough or at an abstract address."""
    made: list[Manager] = []
    with tempfile.TemporaryDirectory() as short:

        def make(kind: str = "path", **more: str) -> Manager:
            abstract = f"@neverblink-test-{os.getpid()}-{time.monotonic_ns()}"
            made.append(Manager(f"{short}/notify" if kind == "path" else abstract, **more))
            return made[-1]

        yield make
        for manager in made:
            manager.socket.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_is_notified_of_each_state(manage: Manage, kind: str) -> None:
    async def scenario() -> None:
        manager = manage(kind)
        notify = SdNotify(manager.environment)
        leads = events.LeaderChanged(
            bot="fox", at=1, worker="w1", release="r1", epoch=3, cause="first", seq=7
        )
        notify.note(leads)
        assert manager.receive() == ["READY=1", "STATUS=w1 leads: release r1, epoch 3"]
        notify.note(leads)
        assert manager.receive() == ["STATUS=w1 leads: release r1, epoch 3"], "ready only once"
        notify.note(
            events.DeploymentStarted(
                bot="fox", at=1, deployment=4, release="r2", previous="r1", who="", why="a\nREADY=1"
            )
        )
        reloading, stamp, status = manager.receive()
        assert (reloading, status) == ("RELOADING=1", "STATUS=deployment 4: r2")
        assert 0 <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 - int(stamp.partition("=")[2]) < 60e6
        notify.note(
            events.DeploymentEnded(
                bot="fox", at=1, deployment=4, outcome="rolled_back", reason="x", leader="w1", release="r1"
            )
        )
        assert manager.receive() == [
            "READY=1",
            "STATUS=deployment 4 rolled back; w1 leads: release r1, epoch 3",
        ]
        notify.note(events.SupervisorStopping(bot="fox", at=1, reason="down by\nMAINPID=1"))
        assert manager.receive() == ["STOPPING=1", "STATUS=stopping: down by MAINPID=1"]
        notify.close()
        notify.note(leads)
        assert manager.silent(), "it did not ask for a watchdog either"

    asyncio.run(asyncio.wait_for(scenario(), WITHIN))


def test_a_supervisor_that_adopts_a_ticking_bot_is_ready_too(manage: Manage) -> None:
    async def scenario() -> None:
        manager = manage()
        notify = SdNotify(manager.environment)

        def adopted(leads: bool) -> events.WorkerAdopted:
            return events.WorkerAdopted(bot="fox", at=1, worker="w3", release="r1", pid=7, leads=leads)

        notify.note(adopted(leads=False))
        assert manager.silent()
        notify.note(adopted(leads=True))
        assert manager.receive() == ["READY=1", "STATUS=w3 leads: release r1"]
        notify.close()

    asyncio.run(asyncio.wait_for(scenario(), WITHIN))


def test_the_watchdog_is_pinged_by_the_loop_and_not_while_it_hangs(manage: Manage) -> None:
    async def scenario() -> None:
        manager = manage(WATCHDOG_USEC="30000")
        notify = SdNotify(manager.environment)
        for _ in range(3):
            assert await asyncio.to_thread(manager.receive) == ["WATCHDOG=1"]
        while not manager.silent():
            pass
        # The loop hangs from here on: this coroutine blocks it.
        time.sleep(0.1)  # noqa: ASYNC251
        assert manager.silent()
        assert await asyncio.to_thread(manager.receive) == ["WATCHDOG=1"], "and goes on when the loop does"
        notify.close()

    asyncio.run(asyncio.wait_for(scenario(), WITHIN))


@pytest.mark.parametrize(
    "environment",
    [
        {"WATCHDOG_USEC": "1"},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "soon"},
    ],
)
def test_a_missing_service_manager_is_ignored(environment: dict[str, str]) -> None:
    async def scenario() -> None:
        notify = SdNotify(environment)
        notify.note(events.SupervisorStopping(bot="fox", at=1, reason="down"))
        await asyncio.sleep(0)
        notify.close()

    asyncio.run(scenario())


def test_no_ping_is_sent_to_the_watchdog_of_another_process(manage: Manage) -> None:
    async def scenario() -> None:
        manager = manage(WATCHDOG_USEC="30000", WATCHDOG_PID="1")
        notify = SdNotify(manager.environment)
        assert manager.silent()
        notify.close()

    asyncio.run(scenario())


# --- the unit ---------------------------------------------------------------------------------------------------------

Printed = Callable[[bool], Unit]


@pytest.fixture
def printed(tmp_path: Path) -> Printed:
    project = tmp_path / '50% of $HOME; "it\'s"'
    project.mkdir()
    (project / "neverblink.toml").write_text(
        'name = "fox"\nbot = "bot:Fox"\n[handoff]\nboundary_within = "5m"\n'
    )

    def unit(user: bool) -> Unit:
        command = [shutil.which("true") or "/bin/true"]
        home = project / ".neverblink"
        return unit_of(load(project), home, command, account="root", user=user, search="/usr/bin:/bin")

    return unit


def settings(unit: Unit) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.text.splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
def test_systemd_accepts_the_printed_unit(printed: Printed, tmp_path: Path, user: bool) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here: it comes with systemd")
    unit = printed(user)
    file = tmp_path / unit.name
    file.write_text(unit.text)
    ran = subprocess.run(
        [analyze, "--user" if user else "--system", "verify", "--man=no", "--recursive-errors=no", file],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Ignore what it reports about units that are not ours.
    ours = [line for line in ran.stderr.splitlines() if unit.name in line]
    assert (ran.returncode, ours) == (0, []), ran.stderr


@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
def test_workers_survive_every_end_of_the_unit(printed: Printed, user: bool) -> None:
    unit = settings(printed(user))
    assert (unit["KillMode"], unit["KillSignal"], unit["OOMPolicy"]) == (
        ["process"],
        ["SIGKILL"],
        ["continue"],
    )
    assert "--leave-workers" in unit["ExecStop"][-1]
    assert (unit["Type"], unit["NotifyAccess"], unit["Restart"]) == (["notify"], ["main"], ["on-failure"])
    # Nothing that would be another world in the unit's next life.
    assert unit.get("PrivateTmp", ["no"]) == ["no"]
    assert not {"PrivateUsers", "PrivateIPC", "PrivateMounts", "RootDirectory", "DynamicUser"} & set(unit)
    # Longer than neverblink's own limits: 1m + 1m + 5m + 20s.
    assert int(unit["TimeoutStartSec"][0].removesuffix("s")) > 440
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) > 300


@pytest.mark.parametrize("state", ["running", "stopping", ""])
def test_a_shutdown_of_the_machine_stops_the_bot_and_a_restart_of_the_unit_does_not(
    printed: Printed, tmp_path: Path, state: str
) -> None:
    """Run the stop command as systemd does, with a systemctl that reports `state`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f"#!/bin/sh\necho {state}\n")
    (tools / "systemctl").chmod(0o755)
    first = settings(printed(False))["ExecStop"][0].removeprefix("-")
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(first)]
    program = words.index("sh") + 1
    assert words[program + 1 : program + 3] == ["down", "--home"]
    assert words[program + 3].endswith('50% of $HOME; "it\'s"/.neverblink')
    words[program] = shutil.which("echo") or "/bin/echo"
    ran = subprocess.run(
        words, env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert bool(ran.stdout) is (state == "stopping")


def test_a_unit_contains_instructions_to_install_it(printed: Printed) -> None:
    system, user = printed(False), printed(True)
    assert system.path == "/etc/systemd/system/neverblink-fox.service"
    assert user.path == "~/.config/systemd/user/neverblink-fox.service"
    for unit in (system, user):
        assert unit.commands
        assert all(f"#   {command}" in unit.text for command in unit.commands)
        explained = re.findall(r"^#.*\n(?:#.*\n)*(\w+)=", unit.text, re.MULTILINE)
        assert {"Type", "KillMode", "KillSignal", "OOMPolicy", "Restart", "WatchdogSec"} <= set(explained)
    assert any("enable-linger root" in command for command in user.commands)
