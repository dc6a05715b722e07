"""Rounds: called for or when their time has come, and none that was called for is lost."""

from __future__ import annotations

import asyncio

from neverblink.supervisor.system.poll_loop import PollLoop

LONG = 3600.0


def test_a_call_ends_the_wait() -> None:
    async def run() -> None:
        poll_loop = PollLoop()
        waiting = asyncio.create_task(poll_loop.wait(LONG))
        await asyncio.sleep(0)
        assert not waiting.done()
        poll_loop.call()
        await waiting
        assert poll_loop.begin()
        assert not poll_loop.begin()

    asyncio.run(run())


def test_a_call_during_a_round_starts_another_round() -> None:
    async def run() -> None:
        poll_loop = PollLoop()
        poll_loop.call()
        assert poll_loop.begin()
        poll_loop.call()
        await poll_loop.wait(LONG)
        assert poll_loop.begin()

    asyncio.run(run())


def test_a_round_also_starts_without_a_call() -> None:
    async def run() -> None:
        poll_loop = PollLoop()
        await poll_loop.wait(0.01)
        assert not poll_loop.begin()

    asyncio.run(run())


def test_long_waits_are_woken_together_and_on_time() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        woken: list[float] = []

        async def wait(within: float) -> None:
            began = loop.time()
            await PollLoop().wait(within)
            woken.append(loop.time() // 0.5)
            assert loop.time() - began >= within - 0.5

        # Both of them pass the same multiple of half a second, and neither the next.
        now = loop.time() % 0.5
        await asyncio.gather(wait(1.0 - now), wait(1.4 - now))
        assert woken[0] == woken[1]

    asyncio.run(run())


def test_a_cancelled_wait_is_not_woken() -> None:
    async def run() -> None:
        poll_loop = PollLoop()
        waiting = asyncio.create_task(poll_loop.wait(LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        poll_loop.call()
        await poll_loop.wait(LONG)

    asyncio.run(run())
