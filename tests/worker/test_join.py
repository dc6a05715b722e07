"""join: a plain loop in the same seat. Its errors, and what comes with its ticks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.worker import Window, join
from neverblink.worker.join import JoinError, Joining, bootstrap
from neverblink.worker.model.cells import StateError, StateTypeError
from neverblink.worker.runtime.bootstrap import alone
from neverblink.worker.runtime.declaration import BotError

from .standalone_process import StandaloneProcess


class Book(msgspec.Struct):
    count: int = 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tick": "soon"}, 'tick = "soon" is not a duration'),
        ({"tick": 1}, 'tick = 1 is not a duration: write its unit, as in "1s"'),
        ({"remember_for": 3600}, "remember_for = 3600 is not a duration"),
        ({"tick": "1us"}, 'at least "100us"'),
        ({"windows": Window("5m", opens="0s", closes="1s")}, "expected a list of Window"),
        ({"overrun": "wait"}, 'expected "skip" or "catch-up"'),
        ({"tick": None, "overrun": "catch-up"}, "no ticks to catch up on"),
        ({"heartbeat": "5s"}, "only a bot without ticks has heartbeats"),
    ],
)
def test_arguments_are_checked_as_a_workers_attributes_are(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(BotError, match=problem):
        join(Book, **arguments)


def test_a_type_that_cannot_be_a_state_is_refused() -> None:
    class Frozen(msgspec.Struct, frozen=True):
        pass

    with pytest.raises(StateTypeError, match="frozen"):
        join(Frozen)


def test_a_second_join_in_a_process_is_refused() -> None:
    token = bootstrap.set(Joining(alone("loop")))
    try:
        join(Book)
        with pytest.raises(JoinError, match="a second time: one process is one worker"):
            join(Book)
    finally:
        bootstrap.reset(token)


def test_timers_and_decisions_are_refused_before_the_loop() -> None:
    loop = join(Book)
    with pytest.raises(StateError, match="outside a turn"):
        loop.set_timer("exit", after="1s")
    assert loop.in_doubt == ()
    assert not loop.paused
    assert not loop.stopped


HEAD = """
import asyncio
import msgspec
from neverblink.worker import NotLeading, join


class Book(msgspec.Struct):
    count: int = 0
    seen: list[str] = []
"""


def ran(place: Path, body: str) -> tuple[int, str, str]:
    with StandaloneProcess(place, HEAD + body) as bot:
        ended = bot.end()
    return ended.status, ended.output, ended.errors


def test_events_and_timers_come_with_the_tick_and_each_once(tmp_path: Path) -> None:
    status, output, errors = ran(
        tmp_path,
        """
loop = join(Book, tick="5ms")
loop.inbox.put("fill-1", {"size": 2})
loop.inbox.put("fill-1", {"size": 2})
for tick in loop:
    book = tick.state
    book.count += 1
    book.seen += [f"{event.key} {event.data['size']}" for event in tick.events]
    book.seen += [timer.name for timer in tick.timers]
    if book.count == 1:
        loop.set_timer("exit", after="1ms")
    if book.count == 6:
        print(book.seen, loop.state is book, flush=True)
        break
""",
    )
    assert (status, output) == (0, "['fill-1 2', 'exit'] True\n"), errors


@pytest.mark.parametrize("kind", ["for", "async for"])
def test_a_loop_without_ticks_runs_when_something_comes(tmp_path: Path, kind: str) -> None:
    # An hour between heartbeats would be refused, and ten seconds are longer than the test.
    status, output, errors = ran(
        tmp_path,
        f"""
import threading


async def main():
    loop = join(Book, tick=None, heartbeat="10s")
    {kind} turn in loop:
        book = turn.state
        book.count += 1
        book.seen += [f"{{event.key}} {{turn.first}}" for event in turn.events]
        book.seen += [f"{{timer.name}} {{turn.first}}" for timer in turn.timers]
        if turn.first:
            book.seen.append(f"first {{len(turn.events)}} {{loop.in_doubt}}")
            threading.Timer(0.1, loop.inbox.put, ("fill", 1)).start()
        if turn.events:
            loop.set_timer("exit", after="10ms")
        if turn.timers:
            print(book.count, book.seen, flush=True)
            break

asyncio.run(main())
""",
    )
    assert (status, output) == (0, "3 ['first 0 ()', 'fill False', 'exit False']\n"), errors


def test_ticks_are_on_the_grid_and_none_runs_twice(tmp_path: Path) -> None:
    status, output, errors = ran(
        tmp_path,
        """
async def main():
    seqs = []
    async for tick in join(Book, tick="5ms", overrun="catch-up"):
        assert tick.due == tick.seq * 5_000_000
        seqs.append(tick.seq)
        if len(seqs) == 20:
            break
    print(seqs == list(range(seqs[0], seqs[0] + 20)), flush=True)

asyncio.run(main())
""",
    )
    assert (status, output) == (0, "True\n"), errors


def test_a_decision_outside_the_loops_body_is_refused(tmp_path: Path) -> None:
    status, output, errors = ran(
        tmp_path,
        """
loop = join(Book, tick="5ms")
try:
    loop.decision("enter").__enter__()
except NotLeading:
    print("not before the loop", flush=True)
for tick in loop:
    with loop.decision("enter", market="BTC") as d:
        print(d.id == f"1-{tick.seq}-0", flush=True)
    break
""",
    )
    assert (status, output) == (0, "not before the loop\nTrue\n"), errors


def test_an_exception_of_the_loops_body_reaches_the_caller(tmp_path: Path) -> None:
    status, _, errors = ran(
        tmp_path,
        """
for tick in join(Book, tick="5ms"):
    raise RuntimeError("no price")
""",
    )
    assert status == 1
    assert errors.count("RuntimeError: no price") == 1


def test_a_state_that_cannot_be_encoded_ends_the_loop_and_names_the_field(tmp_path: Path) -> None:
    status, _, errors = ran(
        tmp_path,
        """
for tick in join(Book, tick="5ms"):
    tick.state.seen.append(object())
""",
    )
    assert status == 1
    assert "state field seen[0]: <object object" in errors
    assert "(object) cannot be encoded: keep what rebuilds it" in errors
    assert "(written in bot.py:" in errors


def test_a_loop_reads_back_what_it_has_written(tmp_path: Path) -> None:
    status, _, errors = ran(
        tmp_path,
        """
for tick in join(Book, tick="20ms"):
    tick.state.count += 1
    tick.state.seen = None
    if tick.state.count > 15:
        break
""",
    )
    assert status == 0, errors
    assert "neverblink: state field seen: expected list" in errors
    assert errors.count("state field seen") == 1
