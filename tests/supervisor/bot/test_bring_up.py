"""The first worker of a bot is brought up: what counts as a start that failed, and what as a leader's death."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from neverblink.protocol.link import Ready, SupervisorMessage
from neverblink.supervisor.bot.bring_up import BringUp, StartFailed
from neverblink.supervisor.config.config import Config
from neverblink.supervisor.release.releases import Release
from neverblink.supervisor.workers.registry import Ended, Member

from ..fake_bot_context import FakeBotContext, RecordingWorkerPool, report

CONFIG = Config(Path("/p/neverblink.toml"), "fox", "bot:B", "python3")


def bring_up(*says: Any, ends: bool) -> None:
    """Start a worker that has sent all of these messages and ended before the next check."""
    context = FakeBotContext()

    class WorkersThatReport(RecordingWorkerPool):
        def start(self, worker: str, *_: object, **__: object) -> Member:
            member = super().start(worker)
            for message in says:
                member.take(message, context.clock.now)
            if ends:
                member.ended = Ended(1, "exit 1", context.clock.now)
            return member

    pool = cast("Any", WorkersThatReport(context.registry))
    asyncio.run(BringUp(context.state, pool).bring_up(cast("Release", None), CONFIG))


def test_a_start_succeeds_when_its_worker_leads() -> None:
    bring_up(Ready(0, 0), report("leading"), ends=False)


def test_a_worker_that_leads_and_dies_at_once_counts_as_a_death_only() -> None:
    """Else a bot that dies again and again is given up after half as many deaths as are promised."""
    bring_up(Ready(0, 0), report("leading"), ends=True)


def test_a_start_fails_when_its_worker_dies_before_it_leads() -> None:
    with pytest.raises(StartFailed, match="exit 1"):
        bring_up(Ready(0, 0), ends=True)


def test_a_start_ends_when_its_worker_takes_the_lease_while_the_bot_is_being_stopped() -> None:
    """A leader ignores a dismissal: who waited for its end would wait for ever."""
    context = FakeBotContext()

    class WorkersThatReport(RecordingWorkerPool):
        def start(self, worker: str, *_: object, **__: object) -> Member:
            member = super().start(worker)
            member.take(Ready(0, 0), context.clock.now)
            return member

        def send(self, worker: str, message: SupervisorMessage) -> bool:
            context.state.stopping = "down"
            return super().send(worker, message)

        def dismiss(self, worker: str, why: str) -> None:
            super().dismiss(worker, why)
            member = context.registry.get(worker)
            assert member is not None

            def led() -> None:
                member.take(report("leading"), context.clock.now)
                context.state.changes.stir()

            asyncio.get_running_loop().call_soon(led)

    pool = WorkersThatReport(context.registry)
    starter = BringUp(context.state, cast("Any", pool))

    async def up() -> bool:
        async with asyncio.timeout(5):
            return await starter.bring_up(cast("Release", None), CONFIG)

    assert asyncio.run(up())
    assert ("dismiss", "w1", "down") in pool.did
