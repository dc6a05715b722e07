"""What a tick and a handoff cost, in numbers that no other process on the machine can change: calls and system calls.

The bounds are what there was when they were written and a quarter more, so that a version of Python may differ and a
new call in the path of each tick is seen. Who has to raise one says in the commit what for; what was gained lowers it.
Measured in time, beside the alternatives, it is `bin/bench`.
"""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.assignment import Assignment
from neverblink.protocol.link import Lead
from neverblink.worker import Table, Tick, Worker
from neverblink.worker.engine.engine import Engine
from neverblink.worker.engine.leading import Leading
from neverblink.worker.engine.turns import Turns
from neverblink.worker.io.lease import Lease
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.replication.publisher import MEMORY_FRAMES
from neverblink.worker.runtime.bootstrap import build_engine
from neverblink.worker.runtime.standalone import StandaloneRuntime
from neverblink.worker.testing import Simulation
from neverblink.worker.worker import WorkerBot

INTERVAL = 1_000_000
TICKS = 100


class Candle(msgspec.Struct, frozen=True):
    at: int
    price: float


class Book(msgspec.Struct):
    ticks: int = 0
    notes: list[str] = []
    candles: Table[int, Candle] = msgspec.field(default_factory=Table)


class Busy(Worker[Book]):
    tick = "1ms"
    rows = 1000
    touched = 0

    def on_lead(self, in_doubt: Any) -> None:
        state = self.state
        state.notes = [f"note {number:020d}" for number in range(80)]
        if not state.candles:
            state.candles.update((row, Candle(row, 1.5)) for row in range(self.rows))

    def on_tick(self, tick: Tick[Book]) -> None:
        state = self.state
        state.ticks += 1
        for row in range(self.touched):
            state.candles[row] = Candle(tick.seq, 1.5)


class _Clock:
    """It stands still, and like the system's it is not a Python function, which would be counted."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000_000
        self.wall: Callable[[], int] = partial(attrgetter("now"), self)
        self.mono = self.wall

    def suspended(self) -> int:
        return 0

    def follow(self, wall: int, mono: int) -> None: ...
    def accept(self) -> None: ...


class _OnDisk(StandaloneRuntime):
    """A real lease and a real journal, without other processes."""

    def __init__(self, tmp: Path) -> None:
        super().__init__()
        (tmp / "journal").mkdir(parents=True)
        self.hand = _Clock()
        self.clock = self.hand
        self.lease = Lease(tmp / "lease")
        self.journal = JournalDirectory(tmp / "journal", "process")
        self.closes = (self.journal.close, self.lease.close)

    def close(self) -> None:
        for close in self.closes:
            close()
        super().close()


class Leader:
    """A leader of `bot` that ticks as often as it is told. `verifies`: it reads back what it has written."""

    def __init__(self, tmp: Path, bot: type[Worker[Any]], *, verifies: bool = False) -> None:
        self._io = _OnDisk(tmp)
        # Never a heartbeat: what is counted is a tick.
        me = Assignment("b", "w1", "r", str(tmp), "", "", pulse=10**15)
        self._engine: Engine = build_engine(me, WorkerBot(bot), self._io, imported=0)
        if not verifies:
            self._engine.replica.verifier.next_at = sys.maxsize
        self._work()
        self._engine.ordered(Lead())
        self._work()
        self.ticks(3)

    def ticks(self, count: int) -> None:
        clock, engine = self._io.hand, self._engine
        for _ in range(count):
            clock.now += INTERVAL
            # As the driver does it.
            step = engine.next_step()
            assert step is not None
            engine.done(step, step.call())
            at = engine.rests_until()
            if not at:
                engine.idle()
                at = engine.rests_until()
            assert at > clock.now

    def _work(self) -> None:
        engine = self._engine
        while (step := engine.next_step()) is not None:
            engine.done(step, step.call())
        assert engine.left is None

    def close(self) -> None:
        self._io.close()


def counted(do: Callable[[], object]) -> Counter[str]:
    """How often `do` calls: `python` functions, and each system call that Python makes by a function of that name."""
    found: Counter[str] = Counter()
    system = {
        os.write: "write",
        os.pwrite: "pwrite",
        os.fstat: "fstat",
        os.fsync: "fsync",
        fcntl.fcntl: "fcntl",
    }

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            found["python"] += 1
        elif event == "c_call" and argument in system:
            found[system[argument]] += 1

    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(None)
    return found


def a_tick(tmp: Path, touched: int, rows: int = 1000) -> Counter[str]:
    leader = Leader(tmp, type("Bot", (Busy,), {"touched": touched, "rows": rows}))
    found = counted(lambda: leader.ticks(TICKS))
    leader.close()
    return found


def test_a_tick_makes_one_write_and_one_lease_query(tmp_path: Path) -> None:
    found = a_tick(tmp_path, 10)
    # The frame into the journal, and whether the lease is held.
    assert found["write"] == TICKS
    assert found["fcntl"] == TICKS
    assert not {"fsync", "pwrite", "fstat"} & set(found)


def test_a_tick_calls_few_functions(tmp_path: Path) -> None:
    assert a_tick(tmp_path, 0)["python"] / TICKS <= 28


@pytest.mark.parametrize("touched", [0, 100])
def test_reading_back_what_was_written_is_no_part_of_most_ticks(tmp_path: Path, touched: int) -> None:
    counts: list[int] = []
    for verifies in (False, True):
        bot = type("Bot", (Busy,), {"touched": touched})
        leader = Leader(tmp_path / str(verifies), bot, verifies=verifies)
        # Until all was read back once.
        leader.ticks(1000)
        counts.append(counted(partial(leader.ticks, 10 * TICKS))["python"])
        leader.close()
    assert (counts[1] - counts[0]) / (10 * TICKS) <= 1 + touched / 20


@pytest.mark.parametrize("touched", [10, 100])
def test_a_changed_key_costs_one_encoding_call(tmp_path: Path, touched: int) -> None:
    none, some = a_tick(tmp_path / "none", 0), a_tick(tmp_path / "some", touched)
    assert (some["python"] - none["python"]) / TICKS <= touched + 4


def test_the_cost_of_a_tick_does_not_depend_on_the_size_of_the_table(tmp_path: Path) -> None:
    small, large = a_tick(tmp_path / "small", 10, rows=100), a_tick(tmp_path / "large", 10, rows=20_000)
    assert small["write"] == large["write"]
    # The interpreter has its own affairs now and then, but not at each tick.
    assert abs(small["python"] - large["python"]) < TICKS / 4


def test_ticks_use_no_more_memory_once_the_frame_buffer_is_full(tmp_path: Path) -> None:
    leader = Leader(tmp_path, type("Bot", (Busy,), {"touched": 1}), verifies=True)
    leader.ticks(MEMORY_FRAMES + 100)
    before = _blocks()
    leader.ticks(10 * TICKS)
    left = _blocks() - before
    leader.close()
    assert left / (10 * TICKS) < 0.5


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def a_blackout(rows: int) -> int:
    """Functions called from the old leader's last frame to the new one able to tick."""
    calls, open_ = 0, False
    begin, end = Turns.close_epoch.__code__, Leading.take_over.__code__

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls, open_
        if event == "call":
            open_ = open_ or frame.f_code is begin
            calls += open_
        elif event == "return" and frame.f_code is end:
            open_ = False

    bot = type("Bot", (Busy,), {"rows": rows, "touched": 10})
    with Simulation(bot) as simulation:
        simulation.ticks(3)
        sys.setprofile(note)
        try:
            simulation.hand_over(type("Bot", (bot,), {}))
        finally:
            sys.setprofile(None)
    assert calls
    return calls


def test_the_cost_of_a_handoff_does_not_depend_on_the_size_of_the_state() -> None:
    small, large = a_blackout(100), a_blackout(20_000)
    assert abs(small - large) <= 5
    assert small <= 210
