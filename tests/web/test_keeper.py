"""The supervisor's side: a web process that ends or hangs is followed by another, and none outlives its supervisor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from neverblink.supervisor.config.web_settings import WebSettings
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.web.web_process import WebProcess
from tests.whole.live import WITHIN, ends

SETTINGS = WebSettings("127.0.0.1", 1)

HANGS = "import os, time; os.write(1, b'.'); time.sleep(600)"
FAILS = "print('cannot: ' + 'x', file=__import__('sys').stderr); raise SystemExit(2)"
STAYS = "import os, sys\nos.write(1, b'.')\nsys.stdin.buffer.read()"
DEAF = "import os, time\nos.write(1, b'.')\ntime.sleep(600)"


async def until(condition: Callable[[], object]) -> None:
    """A process rings no bell when there is another one: it is looked at again and again."""
    for _ in range(round(WITHIN * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come to that")


def keeper(tmp: Path, source: str, told: list[str], silent_for: float = 600) -> WebProcess:
    home = Home.open(tmp / "home")
    return WebProcess(SETTINGS, home, "fox", "1", told.append, (sys.executable, "-c", source), silent_for)


def test_a_hanging_web_process_is_killed_and_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[str] = []
        here = keeper(tmp_path, HANGS, told, silent_for=0.5)
        first = here.pid
        await until(lambda: here.pid not in (0, first))
        assert any("killed by SIGKILL" in line for line in told)
        await here.close()
        ends(first)

    asyncio.run(test())


def test_a_failing_web_process_is_restarted_and_reported_once(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[str] = []
        here = keeper(tmp_path, FAILS, told)
        seen: set[int] = set()
        await until(lambda: seen.add(here.pid) or len(seen - {0}) >= 3)
        await here.close()
        said = [line for line in told if "ended" in line]
        assert len(said) == 1
        assert "exit 2: cannot: x" in said[0]

    asyncio.run(test())


def test_a_web_process_exits_on_request_or_is_killed(tmp_path: Path) -> None:
    async def test() -> None:
        for source in (STAYS, DEAF):
            here = keeper(tmp_path, source, [])
            pid = here.pid
            await here.close()
            ends(pid)
            assert here.pid == 0

    asyncio.run(test())
