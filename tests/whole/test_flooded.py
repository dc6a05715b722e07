"""Strangers who only connect to the TCP port: the bot and its supervisor go on, and so do those who have a key."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

import psutil

from ..ports import HOST, free_port
from .bots import COUNTER
from .live import Live


def test_a_thousand_idle_connections_keep_nobody_with_a_key_out(live: Live) -> None:
    code = live.code("v0", COUNTER)
    port = free_port()
    config = code / "neverblink.toml"
    config.write_text(f'{config.read_text()}\n[listen]\ntcp = "{HOST}:{port}"\n')
    up = live.up(code)
    # Before the first key: nothing listens, and one process is there to look for it.
    anna = live.tmp / "anna.key"
    live.run("keys", "generate", "anna", "--out", anna)
    up.prints(f"listening on tcp://{HOST}:{port} for anna")
    pid = live.status()["supervisor"]["pid"]
    with ExitStack() as held:
        for at in (port, port + 1):
            for _ in range(500):
                idle = held.enter_context(socket.socket())
                idle.connect((HOST, at))
        up.prints(f"too many connections to port {port}")
        asked = live.run("status", "--server", f"tcp://{HOST}:{port}", "--key", anna, "--json")
        assert (asked.code, asked.json["supervisor"]["pid"]) == (0, pid), asked.err
    live.ticks_on()
    listener = next(
        one for one in psutil.Process(pid).children() if "neverblink.supervisor.sockets" in one.cmdline()
    )
    # It is not what the bot depends on.
    os.kill(listener.pid, signal.SIGKILL)
    up.prints("the TCP listener ended (killed by SIGKILL), and is started again")
    asked = live.run("status", "--server", f"tcp://{HOST}:{port}", "--key", anna, "--json")
    assert asked.code == 0, asked.err
    live.down()
