"""Commands in flight to the bot."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from neverblink.protocol.link import (
    Answered,
    Run,
)
from neverblink.supervisor.bot.command_relay import CommandRelay, NoAnswer

from ..fake_bot_context import FakeBotContext, RecordingWorkerPool

SECOND = 1_000_000_000


def test_a_command_is_sent_again_to_the_new_leader_until_it_is_answered() -> None:
    async def scenario() -> None:
        context = FakeBotContext()
        clock, state = context.clock, context.state
        pool = RecordingWorkerPool(context.registry)
        sent = pool.sent
        state.leader = "w1"
        relay = CommandRelay(state, cast("Any", pool), 10 * SECOND)
        running = asyncio.ensure_future(relay.run("size", {"pct": 2.5}))
        await asyncio.sleep(0)
        clock.advance(SECOND // 2)
        state.leader = ""
        clock.advance(SECOND // 2)
        state.leader = "w2"
        relay.resend()
        assert [worker for worker, _ in sent] == ["w1", "w1", "w2"]
        run = sent[0][1]
        assert isinstance(run, Run)
        assert {message.key for _, message in sent if isinstance(message, Run)} == {run.key}
        relay.answered(Answered("another key", 1, None))
        relay.answered(Answered(run.key, 7, "done"))
        relay.answered(Answered(run.key, 8, "told twice"))
        assert (await running).seq == 7
        clock.advance(20 * SECOND)
        assert clock.waiting == 0
        late = asyncio.ensure_future(relay.run("size", {}))
        await asyncio.sleep(0)
        clock.advance(10 * SECOND)
        with pytest.raises(NoAnswer, match="in 10s") as no_answer:
            await late
        assert no_answer.value.late

    asyncio.run(scenario())
