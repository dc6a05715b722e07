"""One feed and its processes. They are real, and stand in for a feed that is still importing or cannot be imported."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neverblink.protocol.feed_wire import FeedReport
from neverblink.supervisor.config.config import Config
from neverblink.supervisor.config.feed_settings import FeedSettings
from neverblink.supervisor.feeds.feed_runner import FeedRunner
from neverblink.supervisor.feeds.launcher import FeedFailed, FeedLauncher, FeedPlan
from neverblink.supervisor.release.releases import Release
from neverblink.supervisor.system.event_bus import EventBus
from neverblink.supervisor.system.process import Process


class StartedProcesses(FeedLauncher):
    """Starts processes that import for ever. A test ends them, or answers for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[tuple[Process, asyncio.Future[str]]] = []

    def log_of(self, feed: str) -> Path:
        return self.directory / feed

    def start(self, plan: FeedPlan, on_exit: Callable[[int], None]) -> tuple[Process, asyncio.Future[str]]:
        loop = asyncio.get_running_loop()
        process = Process(subprocess.Popen(["sleep", "60"]), on_exit, loop)
        self.started.append((process, loop.create_future()))
        return self.started[-1]

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.started) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def ended(process: Process) -> None:
    process.signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        while process.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def runner_with(launcher: StartedProcesses) -> FeedRunner:
    bus = EventBus("fox", time.time_ns, lambda _: None)
    path = str(launcher.directory / "socket")
    return FeedRunner(
        "trades", b"k", lambda: path, launcher, bus, lambda _feed, _pid, _started: None, lambda: None
    )


def plan_in(directory: Path) -> FeedPlan:
    return FeedPlan(
        FeedSettings("trades", "feeds:trades"),
        Release("r1", directory, 0, "", "", 0, 0),
        Config(directory / "neverblink.toml", "fox", "bot:B", "python3"),
    )


def test_a_feed_whose_old_and_new_process_both_end_in_a_restart_is_started_again(tmp_path: Path) -> None:
    async def restart() -> None:
        launcher = StartedProcesses(tmp_path)
        runner = runner_with(launcher)
        runner.plan = plan = plan_in(tmp_path)
        runner.start()
        restarting = asyncio.create_task(runner.restart(plan))
        await launcher.reach(2)
        (old, _), (new, answer) = launcher.started
        await ended(old)
        runner.start()
        assert len(launcher.started) == 2, "the new process takes its place"
        answer.set_result("no module")
        with pytest.raises(FeedFailed) as failed:
            await restarting
        assert "goes on" not in failed.value.message
        await launcher.reach(3)
        assert runner.running
        await ended(new)
        assert runner.pid == launcher.started[2][0].pid
        await runner.end()

    asyncio.run(restart())


def test_a_new_process_that_ends_before_it_is_the_feed_is_started_again(tmp_path: Path) -> None:
    async def restart() -> None:
        launcher = StartedProcesses(tmp_path)
        runner = runner_with(launcher)
        runner.plan = plan = plan_in(tmp_path)
        runner.start()
        restarting = asyncio.create_task(runner.restart(plan))
        await launcher.reach(2)
        new, answer = launcher.started[1]
        await ended(new)
        answer.set_result("ready")
        # The old process ends on SIGTERM.
        await launcher.reach(3)
        assert runner.running
        restarting.cancel()
        await runner.end()

    asyncio.run(restart())


def test_a_stale_feed_whose_process_starts_again_is_stale_until_it_publishes(tmp_path: Path) -> None:
    async def look() -> None:
        runner = runner_with(StartedProcesses(tmp_path))
        runner.plan = plan_in(tmp_path)
        runner.start()
        now = time.time_ns()
        runner.report = FeedReport("trades", 1, "r1", 1, 5, now - 10**10, now - 10**10)
        runner.look(10**9)
        assert runner.stale
        for report in (None, FeedReport("trades", 1, "r1", 2, 0, 0, time.time_ns())):
            runner.report = report
            runner.look(10**9)
            assert runner.stale, "it has published nothing"
        runner.report = FeedReport("trades", 1, "r1", 2, 1, time.time_ns(), time.time_ns())
        runner.look(10**9)
        assert not runner.stale
        await runner.end()

    asyncio.run(look())
