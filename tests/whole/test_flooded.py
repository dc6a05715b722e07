"""Many idle connections: the bot and its supervisor keep working, and clients with a key can connect."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from ..ports import HOST, free_port
from .bots import COUNTER
from .live import NEVERBLINK, WITHIN, Live


def up_within(live: Live, limit: int, code: Path) -> subprocess.CompletedProcess[str]:
    """Run `neverblink up` to its end under this limit of open descriptors."""
    return subprocess.run(
        ["sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", *NEVERBLINK, "up", "--project", str(code)],
        cwd=live.tmp,
        env=live.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN,
    )


@pytest.mark.parametrize("to_each_port", [80, pytest.param(500, marks=pytest.mark.deep)])
def test_idle_connections_do_not_keep_out_a_client_with_a_key(live: Live, to_each_port: int) -> None:
    code = live.code("v0", COUNTER)
    port = free_port()
    config = code / "neverblink.toml"
    config.write_text(f'{config.read_text()}\n[listen]\ntcp = "{HOST}:{port}"\n')
    up = live.up(code)
    # Before the first key, nothing listens, and one process watches for it.
    anna = live.tmp / "anna.key"
    live.run("keys", "generate", "anna", "--out", anna)
    up.prints(f"listening on tcp://{HOST}:{port} for anna")
    pid = live.status()["supervisor"]["pid"]
    with ExitStack() as held:
        for at in (port, port + 1):
            for _ in range(to_each_port):
                idle = held.enter_context(socket.socket())
                idle.connect((HOST, at))
        up.prints(f"too many connections to port {port}")
        asked = live.run("status", "--server", f"tcp://{HOST}:{port}", "--key", anna, "--json")
        assert (asked.code, asked.json["supervisor"]["pid"]) == (0, pid), asked.err
    live.ticks_on()
    listener = next(
        item for item in psutil.Process(pid).children() if "neverblink.supervisor.sockets" in item.cmdline()
    )
    # The bot does not depend on it.
    os.kill(listener.pid, signal.SIGKILL)
    up.prints("the TCP listener ended (killed by SIGKILL), and is started again")
    asked = live.run("status", "--server", f"tcp://{HOST}:{port}", "--key", anna, "--json")
    assert asked.code == 0, asked.err
    live.down()


@pytest.mark.deep
@pytest.mark.parametrize(("limit", "crowd"), [(1024, 900), (256, 240)])
def test_many_local_connections_neither_end_the_supervisor_nor_prevent_a_failover(
    live: Live, limit: int, crowd: int
) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    live.up(live.code("v0", COUNTER))
    pid, leader = live.status()["supervisor"]["pid"], live.book()["pid"]
    # The supervisor raised its soft limit to the hard one.
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == min(most, 1 << 20)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as held:
        for _ in range(crowd):
            idle = held.enter_context(socket.socket(socket.AF_UNIX))
            idle.setblocking(False)
            with suppress(OSError):
                idle.connect(str(live.tmp / "run" / "requests.sock"))
        os.kill(leader, signal.SIGKILL)
        live.ticks_on()
        assert live.book()["pid"] != leader
        assert live.deploy(live.code("v1", f"{COUNTER}# 1\n"))["outcome"] == "done"
    assert live.status()["supervisor"]["pid"] == pid
    live.down()


def test_listen_is_refused_when_the_descriptor_limit_is_too_low(live: Live) -> None:
    code = live.code("v0", COUNTER)
    with (code / "neverblink.toml").open("a") as file:
        file.write(f'[listen]\ntcp = "{HOST}:{free_port()}"\n')
    done = up_within(live, 256, code)
    assert done.returncode == 1
    assert "[listen] needs 512 file descriptors, and this process may open 256" in done.stderr


def test_up_is_refused_with_the_required_number_when_the_descriptor_limit_is_too_low(live: Live) -> None:
    code = live.code("v0", COUNTER)
    done = up_within(live, 64, code)
    assert done.returncode == 1
    assert "a supervisor needs 128 file descriptors, and this process may open 64" in done.stderr
