"""A supervisor that a service manager runs: what it says of itself, in the whole of a bot's life."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from .bots import COUNTER
from .live import WITHIN, Live


def test_the_supervisor_notifies_its_service_manager_of_start_deployment_and_stop(live: Live) -> None:
    name = f"neverblink-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(WITHIN)
        live.environment |= {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "200000"}

        def hears(word: str) -> list[str]:
            """The next message that has this line, and not one that only says that it is alive."""
            until = time.monotonic() + WITHIN
            while word not in (lines := manager.recv(4096).decode().split("\n")):
                # The pings go on, whatever happens.
                assert time.monotonic() < until, f"the manager was not told {word}, but {lines}"
            return lines

        up = live.start("up", "--project", live.code("v0", COUNTER))
        hears("WATCHDOG=1")
        ready = hears("READY=1")
        assert ready[1].startswith("STATUS=w1 leads: release ")
        up.prints("up: Ctrl-C stops the bot")
        live.listen()
        # Only the supervisor may notify the service manager.
        leader = live.book()["pid"]
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{leader}/environ").read_bytes()
        assert b"WATCHDOG" not in Path(f"/proc/{leader}/environ").read_bytes()
        deployment = live.begin(live.code("v1", COUNTER))
        assert hears("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
        live.ended(deployment)
        assert hears("READY=1")[1].startswith(f"STATUS=deployment {deployment} done; w2 leads: release ")
        hears("WATCHDOG=1")
        assert live.ask("down")["stopped"]
        hears("STOPPING=1")
        assert up.ends().code == 0
