"""A leader with a real journal on a real disk, in this process: its clock is turned by hand, its ticks are real ones.

The engine is the shipped one, driven as an event loop would. Time passes whenever it looks at the clock, so that what
is done between two ticks is cut off by the next one, as it is in life.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from neverblink.protocol.assignment import Assignment
from neverblink.protocol.frame import Schema
from neverblink.protocol.journal import JournalError
from neverblink.protocol.link import Lead, Recovered, Report, Stop, WorkerMessage
from neverblink.worker import Table, Worker
from neverblink.worker.engine.engine import Engine
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.journal.interfaces import Journal
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.migration import Migrations
from neverblink.worker.model.replica import Replica
from neverblink.worker.runtime.bootstrap import build_engine
from neverblink.worker.simulation.world import SimulatedClock, SimulatedRuntime, SimulatedWorld
from neverblink.worker.worker import WorkerBot

__all__ = ["Book", "JournalingLeader", "Keeps", "bare", "recovered", "same"]

START = 1_795_533_244_000_000_000


class Row(msgspec.Struct, frozen=True):
    n: int
    text: str = "x" * 40


class Book(msgspec.Struct):
    count: int = 0
    notes: dict[str, int] = {}
    rows: Table[str, Row] = msgspec.field(default_factory=Table)


class Keeps(Worker[Book]):
    """Each tick touches a row or two; now and then one is taken away, and comes back at the end."""

    tick = "10ms"
    rows = 400

    def on_lead(self, in_doubt: Any) -> None:
        if not self.state.rows:
            for n in range(self.rows):
                self.state.rows[f"r{n}"] = Row(n)

    def on_tick(self, tick: Any) -> None:
        state = self.state
        state.count += 1
        n = state.count
        state.rows[f"r{n * 7 % self.rows}"] = Row(n)
        if n % 5 == 0:
            del state.rows[f"r{n * 7 % self.rows}"]
        if n % 9 == 0:
            with self.decision("enter", n=n) as decision:
                state.notes = {decision.id: n}


class _BusyClock(SimulatedClock):
    """Looking at it takes time."""

    def __init__(self, wall: int, costs: int) -> None:
        super().__init__(wall)
        self._costs = costs

    def mono(self) -> int:
        self.go_on(self._costs)
        return super().mono()


class JournalingLeader:
    """A worker that leads `bot`, and writes to `directory`."""

    def __init__(
        self,
        directory: Path,
        bot: type[Worker[Any]] = Keeps,
        *,
        durability: str = "process",
        segment: int = 4096,
        keep: int = 1 << 30,
        keep_for: int = 10**18,
        at: int = START,
        costs: int = 40_000,
        worker: str = "w1",
        journal: Journal | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.clock = _BusyClock(at, costs)
        self.world = SimulatedWorld(self.clock)
        # The lease knows of the workers before.
        self.world.epoch = int(worker[1:]) - 1
        runtime = SimulatedRuntime(self.world, worker)
        runtime.journal = self.journal = journal or JournalDirectory(directory, durability)
        me = Assignment(
            bot="filed",
            worker=worker,
            release="v1",
            run="",
            lease="",
            journal=str(directory),
            journal_segment=segment,
            journal_keep=keep,
            journal_keep_for=keep_for,
        )
        made = WorkerBot(bot)
        self.engine: Engine = build_engine(me, made, runtime, imported=0)
        self.worker = made.worker
        runtime.engine = self.engine
        self._go_on()
        self.engine.ordered(Lead())
        self._go_on()
        assert self.engine.left is None, self.engine.left

    @property
    def replica(self) -> Replica:
        return self.engine.replica

    def ticks(self, count: int = 1) -> JournalingLeader:
        """Let so many ticks run."""
        for _ in range(count):
            before = self.replica.seq
            while self.replica.seq == before:
                assert self.engine.left is None, self.engine.left
                self.clock.go_on(max(0, self.engine.wake_at() - self.clock.mono()))
                self._go_on()
        return self

    def stop(self) -> None:
        """Stop the bot in order."""
        self.engine.ordered(Stop())
        while self.engine.left is None:
            self.clock.go_on(1_000_000)
            self._go_on()
        self.journal.close()

    def sent(self) -> list[WorkerMessage]:
        """What it told the supervisor so far."""
        return [message for _, message in self.world.reported]

    def reports(self) -> list[Report]:
        return [message for message in self.sent() if isinstance(message, Report)]

    def recoveries(self) -> list[Recovered]:
        return [message for message in self.sent() if isinstance(message, Recovered)]

    def _go_on(self) -> None:
        engine = self.engine
        while (step := engine.next_step()) is not None:
            try:
                value = step.call()
            except Exception as problem:
                engine.raised(step, problem)
                raise
            engine.done(step, value)
            # Between two steps there is a moment, if not more.
            engine.idle()


def bare(state: Any = Book) -> Replica:
    """What a worker has that has followed nothing."""
    cells = Cells(state, 1)
    return Replica(
        cells, Schema(1, cells.schema.fingerprint), Migrations(), Inbox(lambda: 1, lambda: None, 100, 10**9)
    )


def recovered(directory: Path, aside: Path) -> Iterator[JournalDirectory]:
    """The journal as it is now, in a copy."""
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(directory, aside)
    journal = JournalDirectory(aside, "process")
    try:
        yield journal
    finally:
        try:
            journal.close()
        except JournalError as problem:
            raise AssertionError(problem.message) from None


def same(one: Replica, other: Replica) -> bool:
    """Whether two replicas are one and the same bot, the order of a table's rows included."""
    return (
        one.state == other.state
        and list(one.state.rows.items()) == list(other.state.rows.items())
        and (one.number, one.digest, one.seq, one.due) == (other.number, other.digest, other.seq, other.due)
        and one.timers.all() == other.timers.all()
        and one.inbox.memory() == other.inbox.memory()
        and one.paused == other.paused
        and {each.id: each for each in one.snapshot().open}
        == {each.id: each for each in other.snapshot().open}
    )
