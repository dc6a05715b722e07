"""The supervisor restarts a web process that ends or hangs, and none outlives the supervisor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from neverblink.supervisor.config.addresses import WebSettings
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.web.web_process import WebProcess, WebProcessSettings
from tests.whole.live import WITHIN

from ..processes import wait_for_end

HANGS = "import os, time; os.write(1, b'.'); time.sleep(600)"
FAILS = "print('cannot: ' + 'x', file=__import__('sys').stderr); raise SystemExit(2)"
STAYS = "import os, sys\nos.write(1, b'.')\nsys.stdin.buffer.read()"
DEAF = "import os, time\nos.write(1, b'.')\ntime.sleep(600)"


async def until(condition: Callable[[], object]) -> None:
    """Poll: there is no signal for a new process."""
    for _ in range(round(WITHIN * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition did not become true in time")


def web_process(tmp: Path, source: str, log: list[str], silent_for: float = 600) -> WebProcess:
    home = Home.open(tmp / "home")
    settings = WebProcessSettings(str(home.path), "fox", "1", WebSettings("127.0.0.1", 1))
    return WebProcess(settings, home, log.append, (sys.executable, "-c", source), silent_for)


def test_a_hanging_web_process_is_killed_and_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        log: list[str] = []
        process = web_process(tmp_path, HANGS, log, silent_for=0.5)
        first = process.pid
        await until(lambda: process.pid not in (0, first))
        assert any("killed by SIGKILL" in line for line in log)
        await process.close()
        wait_for_end(first)

    asyncio.run(test())


def test_a_failing_web_process_is_restarted_and_reported_once(tmp_path: Path) -> None:
    async def test() -> None:
        log: list[str] = []
        process = web_process(tmp_path, FAILS, log)
        seen: set[int] = set()
        await until(lambda: seen.add(process.pid) or len(seen - {0}) >= 3)
        await process.close()
        ended = [line for line in log if "ended" in line]
        assert len(ended) == 1
        assert "exit 2: cannot: x" in ended[0]

    asyncio.run(test())


def test_a_web_process_exits_on_request_or_is_killed(tmp_path: Path) -> None:
    async def test() -> None:
        for source in (STAYS, DEAF):
            process = web_process(tmp_path, source, [])
            pid = process.pid
            await process.close()
            wait_for_end(pid)
            assert process.pid == 0

    asyncio.run(test())
