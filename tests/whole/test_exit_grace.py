"""A worker whose process does not exit by itself: the bot continues at once, and the process ends in bounded time."""

from __future__ import annotations

import time

import pytest

from neverblink.protocol.link import EXIT_GRACE

from ..matrix import cases
from .bots import bot, loop, waits
from .live import Live, one_line

BOUND = EXIT_GRACE / 1e9 + 1
"""Seconds within which a worker's process has ended after its last message, by itself or killed."""

THREAD = """
    async def on_start(self):
        import threading
        threading.Thread(target=time.sleep, args=(3600,)).start()

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
        if os.path.exists("FAIL"):
            os.unlink("FAIL")
            raise RuntimeError("boom")

    def on_stop(self):
        say("stopped")
    """
TASK = """
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass


    async def main():
        loop = join(Book, tick="10ms")
        task = asyncio.create_task(stubborn())
        async for tick in loop:
            tick.state.ticks += 1
            say(f"tick {tick.seq}")
            for command in tick.commands:
                tick.answers[command.key] = {"pid": os.getpid(), "ticks": tick.state.ticks}
            if os.path.exists("FAIL"):
                os.unlink("FAIL")
                raise RuntimeError("boom")
    """


@pytest.mark.parametrize("shape", cases(["class", "async for"], "class"))
def test_a_failed_leader_is_succeeded_before_its_process_exits(live: Live, shape: str) -> None:
    fail = live.tmp / "fail"
    source = bot(THREAD) if shape == "class" else loop(TASK)
    code = source.replace("FAIL", str(fail))
    live.up(live.code("v0", code, target="Bot" if shape == "class" else "main"))
    fail.touch()
    exited = live.event(type="worker-exited", worker="w1")
    leads = live.event(type="leader", worker="w2")
    assert leads["at"] < exited["at"]
    # The first reason is kept, and the outage begins at the failure.
    assert exited["reason"].endswith("raised RuntimeError: boom")
    began = live.event(type="outage")["outage"]
    assert began["cause"] == exited["reason"]
    assert exited["at"] - began["since"] >= EXIT_GRACE / 2
    assert exited["at"] - began["since"] < EXIT_GRACE + 3_000_000_000
    live.ticks_on()
    before = time.monotonic()
    live.down()
    assert time.monotonic() - before < BOUND + 5
    assert live.audit()["doubled"] == 0


def test_a_worker_that_cannot_exit_is_killed_and_keeps_its_first_failure_reason(live: Live) -> None:
    # The exit hook of a thread that holds the interpreter's lock: nothing in the process runs any more.
    holds = bot(
        """
        def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {tick.seq}")
            if os.path.exists("FAIL"):
                os.unlink("FAIL")
                import atexit, ctypes
                atexit.register(ctypes.PyDLL(None).sleep, 3600)
                raise RuntimeError("boom")
        """
    )
    fail = live.tmp / "fail"
    live.up(live.code("v0", holds.replace("FAIL", str(fail))))
    fail.touch()
    exited = live.event(type="worker-exited", worker="w1")
    assert exited["code"] == -9
    assert exited["reason"] == "on_tick raised RuntimeError: boom"
    live.down()


def test_down_reports_that_on_stop_still_runs_and_for_how_long(live: Live) -> None:
    gate = live.tmp / "gate"
    live.up(live.code("v0", waits("on_stop", gate)))
    short = live.run("down", "--within", "1s")
    assert short.code == 7
    assert "down has not ended within 1s. The supervisor is alive and goes on with it" in one_line(short)
    assert "kill -INT" in short.err
    down = live.start("down")
    down.prints("s: the bot's on_stop is still running")
    gate.touch()
    ended = down.ends()
    assert ended.code == 0, ended
    assert "waiting for 5s: the bot's on_stop is still running" in ended.out
