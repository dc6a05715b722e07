"""An asyncio program as a bot, in a simulation: its `main` and its own object."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from neverblink.worker.adapters.asyncio_program import ProgramError, run, uncut
from neverblink.worker.testing import Simulation


def test_the_object_goes_along_and_main_never_runs_twice_at_once() -> None:
    running: list[str] = []
    old: dict[str, int] = {}
    new: dict[str, int] = {}

    async def main() -> None:
        running.append("main")
        assert len(running) == 1
        try:
            while True:
                for book in (old, new):
                    book["n"] = book.get("n", 0) + 1
                await asyncio.sleep(0)
        finally:
            running.pop()
            # What it does last is not lost.
            old["closed"] = 1

    Old, New = run(main, state=old), run(main, state=new)
    with Simulation(Old) as bot:
        bot.ticks(3)
        assert old["n"] > 0
        new.clear()
        bot.hand_over(New)
        bot.ticks(1)
        assert new["closed"] == 1
        assert new["n"] >= old["n"]
        bot.roll_back()
        bot.ticks(1)
        assert old["n"] >= new["n"] > 0
        assert running == ["main"]
        bot.stop()
    assert running == []


def test_a_block_that_is_uncut_ends_before_the_handoff() -> None:
    done: list[str] = []

    async def main() -> None:
        while True:
            with uncut():
                done.append("sent")
                for _ in range(5):
                    await asyncio.sleep(0)
                done.append("noted")
            await asyncio.sleep(0)

    with Simulation(run(main)) as bot:
        bot.ticks(2)
        bot.hand_over(run(main))
        bot.ticks(2)
        assert done.count("sent") - done.count("noted") in (0, 1)
        assert all(done[at : at + 2] == ["sent", "noted"] for at in range(0, len(done) - 1, 2))


def test_a_main_that_ends_rolls_the_deployment_back() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    async def dying() -> None:
        await asyncio.sleep(0)
        raise ValueError("no feed")

    with Simulation(run(main)) as bot:
        bot.ticks(1)
        with pytest.raises(Exception, match="task dying raised ValueError: no feed"):
            bot.hand_over(run(dying))


def test_a_dataclass_is_filled_in_place() -> None:
    @dataclass
    class Book:
        count: int = 0

    old, new = Book(), Book()

    async def count() -> None:
        old.count += 1
        await asyncio.Event().wait()

    async def wait() -> None:
        await asyncio.Event().wait()

    with Simulation(run(count, state=old)) as bot:
        bot.ticks(2)
        bot.hand_over(run(wait, state=new))
        bot.ticks(1)
    assert new.count == 1


@pytest.mark.parametrize(
    ("main", "state", "named"),
    [(lambda: None, None, "expected the coroutine function itself"), (asyncio.sleep, 5, "filled in place")],
)
def test_what_cannot_run_is_refused(main: Any, state: Any, named: str) -> None:
    with pytest.raises(ProgramError, match=named):
        run(main, state=state)
