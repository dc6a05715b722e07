"""Tasks that run as long as a process leads, and `on_yielding`: what the shipped engine does, on a simulated clock."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from neverblink.worker import Tick, Window, Worker
from neverblink.worker.model.task_declaration import TaskError
from neverblink.worker.testing import HandoverFailed, Simulation


class Book(msgspec.Struct):
    ticks: int = 0
    names: list[str] = []


class Bot(Worker[Book]):
    """Logs what happens, in the order in which it does."""

    log: list[str]

    def on_start(self) -> None:
        self.log = []
        self.while_leading(self.reader)

    async def reader(self) -> None:
        self.log.append("reader begins")
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("reader ends")

    def on_lead(self, in_doubt: Any) -> None:
        self.log.append("on_lead")

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks += 1
        self.log.append("on_tick")

    def on_yielding(self) -> None:
        self.log.append("on_yielding")

    def on_yield(self) -> None:
        self.log.append("on_yield")

    def on_retire(self) -> None:
        self.log.append("on_retire")

    def on_stop(self) -> None:
        self.log.append("on_stop")


class NewBot(Bot):
    pass


def order(bot: Any) -> list[str]:
    """The log without repetitions."""
    return [now for now, before in zip(bot.log, ["", *bot.log], strict=False) if now != before]


def state_of(bot: Simulation[Any], name: str = "reader") -> str:
    return next(task.state for task in bot.tasks if task.name == name)


def test_a_task_starts_after_on_lead_and_ends_before_on_stop() -> None:
    with Simulation(Bot) as bot:
        worker: Any = bot.leader
        bot.ticks(2)
        bot.stop()
    assert order(worker) == ["on_lead", "reader begins", "on_tick", "reader ends", "on_stop"]


def test_a_task_has_ended_before_on_yielding_and_no_tick_follows() -> None:
    with Simulation(Bot) as bot:
        old: Any = bot.leader
        bot.ticks(2)
        bot.hand_over(NewBot)
        new: Any = bot.leader
        bot.ticks(1)
        bot.conclude()
    assert order(old)[-5:] == ["on_tick", "reader ends", "on_yielding", "on_yield", "on_retire"]
    assert order(new)[:3] == ["on_lead", "reader begins", "on_tick"]


def test_no_two_processes_run_the_task_at_the_same_time() -> None:
    running: list[str] = []

    class Counted(Bot):
        async def reader(self) -> None:
            running.append("one")
            assert len(running) == 1
            try:
                await asyncio.Event().wait()
            finally:
                running.pop()

    class NewCounted(Counted):
        pass

    with Simulation(Counted) as bot:
        bot.ticks(2)
        bot.hand_over(NewCounted)
        bot.ticks(2)
        bot.roll_back()
        bot.ticks(2)
        assert running == ["one"]
        assert state_of(bot) == "running"


def test_a_task_starts_again_after_a_rollback_and_a_crash() -> None:
    with Simulation(Bot) as bot:
        old: Any = bot.leader
        bot.ticks(1)
        bot.hand_over(NewBot)
        bot.ticks(1)
        bot.roll_back()
        bot.ticks(1)
        assert old.log.count("reader begins") == 2
        bot.hand_over(NewBot)
        bot.ticks(1)
        bot.crash()
        bot.ticks(1)
        assert old.log.count("reader begins") == 3
        assert state_of(bot) == "running"


def test_a_follower_declares_a_task_and_does_not_run_it() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.ticks(2)
        follower: Any = bot.follower
        assert follower.log == []
        bot.crash()
        bot.ticks(1)
        assert order(bot.leader)[:2] == ["on_lead", "reader begins"]


@pytest.mark.parametrize("how", ["raises", "returns", "system-exit", "base-exception", "cancels itself"])
def test_a_task_that_ends_by_itself_is_reported_and_starts_again(how: str) -> None:
    class Strange(BaseException):
        pass

    class Dying(Bot):
        async def reader(self) -> None:
            self.log.append("reader begins")
            match how:
                case "raises":
                    raise ValueError("no feed")
                case "system-exit":
                    raise SystemExit(3)
                case "base-exception":
                    raise Strange
                case "cancels itself":
                    raise asyncio.CancelledError
                case _:
                    pass

    with Simulation(Dying) as bot:
        bot.ticks(1)
        [task] = bot.tasks
        assert task.state == "restarting"
        assert task.raised == (how != "returns")
        assert {"raises": "raised ValueError: no feed", "returns": "returned"}.get(
            how, task.error
        ) == task.error
        assert task.failed
        leader: Any = bot.leader
        bot.advance("10s")
        begun = leader.log.count("reader begins")
        assert 3 <= begun <= 6
        assert bot.tasks[0].restarts == begun - 1
        bot.advance("10m")
        # The pauses grow to a minute.
        assert leader.log.count("reader begins") <= begun + 12


def test_a_task_that_ends_is_not_a_reason_for_a_rollback_unless_it_is_declared_as_one() -> None:
    class Dying(Bot):
        async def reader(self) -> None:
            raise ValueError("no feed")

    class Unhealthy(Dying):
        def on_start(self) -> None:
            self.log = []
            self.while_leading(self.reader, on_end="unhealthy")

    with Simulation(Bot) as bot:
        bot.ticks(1)
        bot.hand_over(Dying)
        bot.ticks(5)
        assert not bot.rolled_back
        bot.conclude()
        with pytest.raises(HandoverFailed, match="no feed"):
            bot.hand_over(Unhealthy)
        bot.ticks(5)
        assert bot.rolled_back == "task reader raised ValueError: no feed"
        assert type(bot.leader) is Dying


def test_an_unhealthy_task_outside_a_probation_is_reported_and_not_started_again() -> None:
    class Unhealthy(Bot):
        begun = 0

        def on_start(self) -> None:
            self.log = []
            self.while_leading(self.reader, on_end="unhealthy")

        async def reader(self) -> None:
            type(self).begun += 1
            raise ValueError("no feed")

    with Simulation(Unhealthy) as bot:
        bot.advance("10m")
        assert state_of(bot) == "unhealthy"
        assert Unhealthy.begun == 1
        assert bot.state.ticks > 500


def test_a_task_that_swallows_its_cancellation_aborts_the_handoff_by_its_name_and_runs_on() -> None:
    class Stubborn(Bot):
        released = False
        yield_within = "500ms"

        async def reader(self) -> None:
            while not self.released:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.log.append("swallowed")

    with Simulation(Stubborn) as bot:
        leader: Any = bot.leader
        bot.ticks(2)
        with pytest.raises(HandoverFailed, match="task reader, which did not end within 500ms"):
            bot.hand_over(NewBot)
        assert bot.leader is leader
        assert "on_yielding" not in leader.log
        bot.ticks(3)
        leader.released = True
        bot.hand_over(NewBot)
        assert type(bot.leader) is NewBot


def test_a_rollback_from_code_whose_task_does_not_end_kills_that_process() -> None:
    class Stubborn(Bot):
        async def reader(self) -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.log.append("swallowed")

    with Simulation(Bot) as bot:
        bot.ticks(1)
        bot.hand_over(Stubborn)
        bot.ticks(1)
        bot.roll_back("wrong prices")
        assert type(bot.leader) is Bot
        assert bot.rolled_back == "wrong prices"
        bot.ticks(2)


def test_the_bot_ticks_on_while_a_task_ends_slowly() -> None:
    class Slow(Bot):
        tick = "10ms"
        rounds = 0

        async def reader(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                while self.state.ticks < 20:  # noqa: ASYNC110 - time is simulated
                    await asyncio.sleep(0)

    with Simulation(Slow) as bot:
        old: Any = bot.leader
        bot.ticks(2)
        bot.hand_over(NewBot)
        assert old.log.count("on_tick") >= 20
        assert not bot.frames[-1].timing.gaps


def test_a_cancelled_handoff_after_on_yielding_runs_on_lead_again_in_the_same_process() -> None:
    class Dying(NewBot):
        pass

    class Old(Bot):
        simulation: Any = None

        def on_yielding(self) -> None:
            super().on_yielding()
            bot = type(self).simulation
            if bot is not None:
                type(self).simulation = None
                new = bot._processes["w2"]
                bot._end(new, "killed")

    with Simulation(Old) as bot:
        leader: Any = bot.leader
        bot.ticks(2)
        Old.simulation = bot
        with pytest.raises(HandoverFailed):
            bot.hand_over(Dying)
        bot.ticks(2)
        assert bot.leader is leader
        assert bot.leader.led_before
        assert order(leader)[-5:] == ["reader ends", "on_yielding", "on_lead", "reader begins", "on_tick"]
        bot.hand_over(NewBot)
        assert type(bot.leader) is NewBot


def test_an_on_yielding_that_raises_does_not_stop_the_handoff() -> None:
    class Raising(Bot):
        def on_yielding(self) -> None:
            raise ConnectionError("gone already")

    with Simulation(Raising) as bot:
        bot.ticks(1)
        bot.hand_over(NewBot)
        assert type(bot.leader) is NewBot


def test_tasks_do_not_end_shortly_before_a_window_that_protects_the_bot() -> None:
    class Sniper(Bot):
        tick = "100ms"
        windows = (Window("10s", opens="-2s", closes="-1s", name="snipe"),)
        yield_within = "3s"

    class NewSniper(Sniper):
        pass

    with Simulation(Sniper) as bot:
        bot.advance("6s")
        leader: Any = bot.leader
        bot.hand_over(NewSniper)
        assert bot.now % 10_000_000_000 >= 9_000_000_000
        assert leader.log.count("reader begins") == 1


def test_two_tasks_with_one_name_are_refused_with_a_way_out() -> None:
    class Twice(Bot):
        def on_start(self) -> None:
            self.log = []
            self.while_leading(self.reader)
            with pytest.raises(TaskError, match='name="reader-2"'):
                self.while_leading(self.reader)
            self.while_leading(self.reader, name="second")

    with Simulation(Twice) as bot:
        bot.ticks(1)
        assert [task.name for task in bot.tasks] == ["reader", "second"]


@pytest.mark.parametrize("where", ["on_tick", "on_yielding", "on_retire", "on_stop", "a follower's task"])
def test_while_leading_elsewhere_is_refused_with_the_right_place(where: str) -> None:
    refused: list[str] = []

    class Elsewhere(Bot):
        def declare(self, here: str) -> None:
            if here == where:
                with pytest.raises(TaskError, match="on_start, on_load and on_lead"):
                    self.while_leading(self.reader, name="late")
                refused.append(here)

        async def on_start(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            self.log = []
            self.own = asyncio.create_task(self.watch())

        async def watch(self) -> None:
            while True:
                await asyncio.sleep(0)
                if self._session is not None and not self.leading and self._live.replica.state is not None:
                    self.declare("a follower's task")

        def on_tick(self, tick: Tick[Book]) -> None:
            self.declare("on_tick")

        def on_yielding(self) -> None:
            self.declare("on_yielding")

        def on_retire(self) -> None:
            self.declare("on_retire")

        def on_stop(self) -> None:
            self.declare("on_stop")

    class NewElsewhere(Elsewhere):
        pass

    with Simulation(Elsewhere) as bot:
        bot.ticks(1)
        bot.hand_over(NewElsewhere)
        bot.ticks(1)
        bot.conclude()
        bot.stop()
    assert refused


def test_a_task_declared_in_on_load_is_replaced_when_on_load_declares_another_one() -> None:
    class Loading(Bot):
        def on_start(self) -> None:
            self.log = []

        def on_load(self, state: Book) -> None:
            for name in state.names:
                self.while_leading(self.watch, name, name=name)

        async def watch(self, name: str) -> None:
            self.log.append(f"{name} begins")
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append(f"{name} ends")

        def on_event(self, event: Any) -> None:
            self.state.names = event.data

    with Simulation(Loading) as bot:
        bot.put("one", ["BTC", "ETH"])
        bot.hand_over(type("NewLoading", (Loading,), {}))
        bot.ticks(1)
        assert [task.name for task in bot.tasks] == ["BTC", "ETH"]
        bot.put("two", ["ETH"])
        bot.hand_over(type("NewerLoading", (Loading,), {}), ticks=2)
        bot.ticks(1)
        assert [task.name for task in bot.tasks] == ["ETH"]


def _plain() -> None: ...


async def _with_argument(symbol: str) -> None: ...


async def _stream() -> AsyncIterator[int]:
    yield 1


def _each() -> Iterator[int]:
    yield 1


async def _reader() -> None: ...


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (_reader, "pass the function itself"),
        (lambda: _stream, "generator"),
        (lambda: _stream(), "pass the function itself"),
        (lambda: _each, "generator"),
        (lambda: 5, "expected a coroutine function"),
        (lambda: lambda: None, "give it a name"),
        (lambda: _plain, "first argument is a threading.Event"),
        (lambda: _with_argument, "cannot be called"),
    ],
)
def test_what_cannot_run_is_refused_with_the_mend(wrong: Any, named: str) -> None:
    class Wrong(Bot):
        def on_start(self) -> None:
            self.log = []
            with pytest.raises(TaskError, match=named):
                self.while_leading(wrong())

    with Simulation(Wrong) as bot:
        bot.ticks(1)
        assert bot.tasks == ()


def test_on_end_takes_one_of_two_words() -> None:
    class Wrong(Bot):
        def on_start(self) -> None:
            self.log = []
            with pytest.raises(TaskError, match='"restart" or "unhealthy"'):
                self.while_leading(self.reader, on_end="die")  # pyright: ignore[reportArgumentType]

    with Simulation(Wrong) as bot:
        bot.ticks(1)


def test_partials_bound_methods_and_callable_objects_run() -> None:
    ran: list[str] = []

    class Reader:
        async def __call__(self, name: str) -> None:
            ran.append(name)
            await asyncio.Event().wait()

    async def read(name: str) -> None:
        ran.append(name)
        await asyncio.Event().wait()

    class Many(Bot):
        def on_start(self) -> None:
            self.log = []
            self.while_leading(functools.partial(read, "partial"))
            self.while_leading(Reader(), "object")
            self.while_leading(self.bound, "bound")
            self.while_leading(threading.Event.wait, name="a thread")

        async def bound(self, name: str) -> None:
            await read(name)

    with Simulation(Many) as bot:
        bot.ticks(1)
        assert sorted(ran) == ["bound", "object", "partial"]
        assert [(task.name, task.kind, task.state) for task in bot.tasks] == [
            ("read", "task", "running"),
            ("Reader", "task", "running"),
            ("bound", "task", "running"),
            ("a thread", "thread", "not run"),
        ]


def test_a_thread_is_listed_and_not_run_in_a_simulation() -> None:
    class Threaded(Bot):
        def on_start(self) -> None:
            self.log = []
            self.while_leading(self.send)

        def send(self, stop: threading.Event) -> None:
            raise AssertionError("it runs")

    class NewThreaded(Threaded):
        pass

    with Simulation(Threaded) as bot:
        bot.ticks(2)
        assert state_of(bot, "send") == "not run"
        bot.hand_over(NewThreaded)
        bot.ticks(1)
        assert state_of(bot, "send") == "not run"
