"""Waiting until something is true."""

from __future__ import annotations

import asyncio

from neverblink.supervisor.system.timers import Conditions

from ..fake_bot_context import ManualClock

SECOND = 1_000_000_000


def test_a_condition_is_checked_again_after_a_change_and_at_the_time_out() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        waiting = Conditions(clock)
        so: list[int] = []
        patient = asyncio.ensure_future(waiting.until(lambda: so))
        hasty = asyncio.ensure_future(waiting.until(lambda: len(so) > 1, SECOND))
        assert await waiting.until(lambda: True)
        await asyncio.sleep(0)
        waiting.stir()
        await asyncio.sleep(0)
        assert not patient.done()
        so.append(1)
        waiting.stir()
        assert await patient
        clock.advance(SECOND)
        assert await hasty is False
        assert clock.waiting == 0

    asyncio.run(scenario())
