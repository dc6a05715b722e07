"""New code that raises, whichever handler it does so in: a worker leads afterwards, and the reason is reported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neverblink.worker import Event, InDoubt, Tick, Timer, Worker
from neverblink.worker.testing import HandoverFailed, Simulation


class Book(msgspec.Struct):
    ticks: list[int] = []
    events: list[str] = []
    timers: list[str] = []


class Old(Worker[Book]):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks.append(tick.seq)
        if len(self.state.ticks) == 2:
            self.set_timer("late", after="2500ms")

    def on_event(self, event: Event) -> None:
        self.state.events.append(event.key)

    def on_timer(self, timer: Timer) -> None:
        self.state.timers.append(timer.name)


class Trouble(Exception):
    pass


def whole(bot: Simulation[Any]) -> bool:
    """Whether no tick was missed or doubled, in the state and in the frames."""
    ticks = bot.state.ticks
    ran = [frame.seq for frame in bot.frames if frame.kind == "tick"]
    return ticks == ran == list(range(ticks[0], ticks[0] + len(ticks)))


class InStart(Old):
    async def on_start(self) -> None:
        raise Trouble("no route")


class InLoad(Old):
    def on_load(self, state: Book) -> None:
        raise Trouble("no route")


@pytest.mark.parametrize(("code", "handler"), [(InStart, "on_start"), (InLoad, "on_load")])
def test_an_exception_before_it_leads_fails_the_handoff_and_the_leader_is_not_affected(
    code: type[Old], handler: str
) -> None:
    lines: list[str] = []

    class Leader(Old):
        def on_yield(self) -> None:
            lines.append("yielded")

    with Simulation(Leader) as bot:
        bot.ticks(3)
        with pytest.raises(HandoverFailed, match=f"{handler} raised Trouble: no route"):
            bot.hand_over(code)
        bot.ticks(3)
        assert type(bot.leader) is Leader
        assert lines == []
        assert whole(bot)


def test_after_an_exception_in_on_lead_the_old_code_takes_the_bot_back() -> None:
    class InLead(Old):
        def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
            self.state.events.append("led")
            raise Trouble("no route")

    with Simulation(Old) as bot:
        bot.ticks(3)
        with pytest.raises(HandoverFailed, match="on_lead raised Trouble: no route"):
            bot.hand_over(InLead)
        bot.ticks(3)
        assert type(bot.leader) is Old
        assert bot.state.events == []
        assert whole(bot)


def test_after_an_exception_in_on_tick_the_old_code_runs_that_tick() -> None:
    class InTick(Old):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            if len(self.state.ticks) == 6:
                raise Trouble("no price")

    with Simulation(Old) as bot:
        bot.ticks(3)
        bot.hand_over(InTick, ticks=0)
        bot.ticks(5)
        assert type(bot.leader) is Old
        assert bot.rolled_back == "on_tick raised Trouble: no price"
        assert len(bot.state.ticks) == 8
        assert whole(bot)


def test_after_an_exception_in_on_event_the_old_code_applies_that_event() -> None:
    class InEvent(Old):
        def on_event(self, event: Event) -> None:
            super().on_event(event)
            raise Trouble("odd fill")

    with Simulation(Old) as bot:
        bot.hand_over(InEvent)
        bot.put("fill-1", {})
        assert type(bot.leader) is Old
        assert bot.rolled_back == "on_event raised Trouble: odd fill"
        assert bot.state.events == ["fill-1"]


def test_after_an_exception_in_on_timer_the_old_code_fires_that_timer() -> None:
    class InTimer(Old):
        def on_timer(self, timer: Timer) -> None:
            super().on_timer(timer)
            raise Trouble("odd timer")

    with Simulation(Old) as bot:
        bot.ticks(2)
        bot.hand_over(InTimer)
        bot.ticks(5)
        assert type(bot.leader) is Old
        assert bot.rolled_back == "on_timer raised Trouble: odd timer"
        assert bot.state.timers == ["late"]
        assert whole(bot)


def test_after_an_exception_in_on_yield_a_rollback_is_still_possible() -> None:
    class InYield(Old):
        def on_yield(self) -> None:
            raise Trouble("no route")

    with Simulation(InYield) as bot:
        bot.ticks(3)
        bot.hand_over(Old)
        bot.ticks(3)
        bot.roll_back()
        bot.ticks(3)
        assert type(bot.leader) is InYield
        assert whole(bot)


def test_after_an_exception_in_on_retire_the_bot_goes_on() -> None:
    class InRetire(Old):
        def on_retire(self) -> None:
            raise Trouble("no route")

    with Simulation(InRetire) as bot:
        bot.ticks(3)
        bot.hand_over(Old)
        bot.conclude()
        bot.ticks(3)
        assert type(bot.leader) is Old
        assert whole(bot)


def test_an_exception_in_on_stop_is_reported() -> None:
    class InStop(Old):
        def on_stop(self) -> None:
            raise Trouble("not flat")

    with Simulation(InStop) as bot:
        bot.ticks(1)
        with pytest.raises(Trouble, match="not flat"):
            bot.stop()


def test_an_exception_in_on_command_goes_only_to_the_operator() -> None:
    class InCommand(Old):
        def on_command(self, name: str, args: dict[str, Any]) -> Any:
            raise Trouble("no such market")

    with Simulation(Old) as bot:
        bot.hand_over(InCommand)
        with pytest.raises(Exception, match="Trouble: no such market"):
            bot.send("flatten")
        assert type(bot.leader) is InCommand
        assert bot.rolled_back == ""


def test_sys_exit_in_a_handler_is_a_failure() -> None:
    class Leaves(Old):
        def on_tick(self, tick: Tick[Book]) -> None:
            raise SystemExit(3)

    with Simulation(Old) as bot:
        bot.ticks(1)
        bot.hand_over(Leaves)
        bot.ticks(2)
        assert type(bot.leader) is Old
        assert "SystemExit: 3" in bot.rolled_back
        assert whole(bot)


def test_a_leader_that_hangs_in_its_probation_is_rolled_back() -> None:
    class Hangs(Old):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            bot.spend("10s")

    with Simulation(Old) as bot:
        bot.ticks(3)
        bot.hand_over(Hangs)
        bot.ticks(3)
        assert type(bot.leader) is Old
        assert "no tick for" in bot.rolled_back


def test_new_code_that_fails_repeatedly_never_stops_the_bot() -> None:
    class InTick(Old):
        def on_tick(self, tick: Tick[Book]) -> None:
            raise Trouble("no price")

    with Simulation(Old) as bot:
        bot.ticks(1)
        for _ in range(3):
            with pytest.raises(HandoverFailed):
                bot.hand_over(InLoad)
            bot.hand_over(InTick)
            bot.ticks(2)
            assert bot.rolled_back
        assert type(bot.leader) is Old
        assert whole(bot)


def test_a_change_by_a_followers_task_is_found_before_it_can_lead() -> None:
    class Meddles(Old):
        def on_yield(self) -> None:
            self.state.events.append("meddled")

    with Simulation(Meddles) as bot:
        bot.ticks(1)
        bot.hand_over(Old)
        bot.ticks(1)
        bot.roll_back()
        bot.ticks(2)
        assert bot.state.events == []
