"""`tick = None`: turns come from events, timers and commands, with heartbeats beneath."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neverblink.protocol.grid import GapKind
from neverblink.worker import Event, InDoubt, Tick, Timer, Window, Worker
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import HandoverFailed, Simulation, SimulationError
from neverblink.worker.worker import WorkerBot

SECOND = 1_000_000_000


class Book(msgspec.Struct):
    seen: list[str] = []
    timers: list[int] = []
    ticks: int = 0


class Bot(Worker[Book]):
    tick = None

    def on_event(self, event: Event) -> None:
        self.state.seen.append(event.key)
        if event.data == "arm":
            self.set_timer("later", after="5s")

    def on_timer(self, timer: Timer) -> None:
        self.state.timers.append(timer.late)

    def on_command(self, name: str, args: dict[str, Any]) -> int:
        return len(self.state.seen)


class NewCode(Bot):
    pass


class Ticking(Bot):
    tick = "100ms"

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks += 1


def kinds(bot: Simulation[Any]) -> list[str]:
    return ["heartbeat" if frame.timing.heartbeat else frame.kind for frame in bot.frames]


def test_no_handler_runs_until_something_comes_and_heartbeats_show_that_the_bot_could_run() -> None:
    with Simulation(Bot) as bot:
        bot.advance("10s")
        assert kinds(bot) == ["lead", *["heartbeat"] * 10]
        assert [frame.seq - bot.frames[1].seq for frame in bot.frames[1:]] == list(range(10))
        assert [name for _, name in bot.calls] == ["on_start", "on_load", "on_lead"]


def test_events_timers_and_commands_make_turns_at_once() -> None:
    with Simulation(Bot) as bot:
        bot.advance("10s")
        heartbeats = len(bot.frames)
        bot.put("fill", "arm")
        assert bot.state.seen == ["fill"]
        assert bot.send("count") == 1
        assert kinds(bot)[heartbeats:] == ["event", "command"]
        bot.advance("5s")
        assert bot.state.timers == [0]


def test_a_heartbeat_comes_as_often_as_the_bot_says() -> None:
    class Slow(Bot):
        heartbeat = "10s"

    with Simulation(Slow) as bot:
        bot.advance("60s")
        assert kinds(bot) == ["lead", *["heartbeat"] * 6]


def test_a_handoff_and_a_rollback_keep_state_events_and_timers() -> None:
    with Simulation(Bot) as bot:
        bot.put("a", "arm")
        assert bot.hand_over(NewCode) == "newest"
        bot.put("b", 1)
        bot.advance("10s")
        assert type(bot.leader) is NewCode
        assert bot.state.seen == ["a", "b"]
        assert bot.state.timers == [0]
        bot.put("c", "arm")
        bot.roll_back()
        assert type(bot.leader) is Bot
        bot.advance("10s")
        assert bot.state.seen == ["a", "b", "c"]
        assert bot.state.timers == [0, 0]
        assert gaps(bot) == []


def gaps(bot: Simulation[Any]) -> list[tuple[int, GapKind, str]]:
    return [(len(gap), gap.kind, gap.cause) for frame in bot.frames for gap in frame.timing.gaps]


def test_after_a_death_events_in_flight_and_overdue_timers_are_handled_once() -> None:
    with Simulation(Bot) as bot:
        bot.stand_by()
        bot.put("a", "arm")
        bot.advance("2s")
        bot.put("b", 1, to="follower")
        bot.crash()
        bot.advance("10s")
        assert bot.state.seen == ["a", "b"]
        assert len(bot.state.timers) == 1


def test_a_handler_that_takes_long_skips_heartbeats_and_is_named_as_their_cause() -> None:
    class Slow(Bot):
        def on_event(self, event: Event) -> None:
            simulation.spend("3500ms")

    with Simulation(Slow) as simulation:
        simulation.advance("2s")
        simulation.put("fill", 1)
        simulation.advance("2s")
        [(count, kind, cause)] = gaps(simulation)
        assert count == 3
        assert kind == "skipped"
        assert cause == "event fill took 3.5s"


def test_no_handoff_begins_in_a_protected_window() -> None:
    class Sniping(Bot):
        windows = (Window("1m", opens="0s", closes="30s"),)

    class NewSniping(Sniping):
        pass

    with Simulation(Sniping) as bot:
        bot.advance("10s")
        began = bot.now
        bot.hand_over(NewSniping)
        assert bot.now - began >= 19 * SECOND


def test_a_bot_gets_and_loses_its_ticks_by_a_deployment() -> None:
    with Simulation(Ticking) as bot:
        bot.ticks(10)
        bot.put("a", 1)
        bot.hand_over(Bot)
        ticks = bot.state.ticks
        bot.put("b", 1)
        bot.advance("10s")
        assert bot.state.ticks == ticks
        bot.hand_over(Ticking)
        bot.ticks(10)
        assert bot.state.ticks == ticks + 10
        assert bot.state.seen == ["a", "b"]
        assert gaps(bot) == []
        bot.roll_back()
        bot.advance("5s")
        assert gaps(bot) == []


def test_new_code_that_raises_in_its_first_turn_is_taken_back() -> None:
    class Bad(Bot):
        def on_event(self, event: Event) -> None:
            raise ZeroDivisionError

    with Simulation(Bot) as bot:
        bot.hand_over(Bad)
        bot.put("a", 1)
        bot.advance("3s")
        assert type(bot.leader) is Bot
        assert bot.state.seen == ["a"]
        assert "ZeroDivisionError" in bot.rolled_back


def test_a_handoff_waits_for_a_timer_that_is_due_in_a_moment() -> None:
    class Busy(Bot):
        def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
            self.set_timer("busy", every="1500us")

        def on_timer(self, timer: Timer) -> None:
            self.state.timers.append(timer.late)

    with Simulation(Busy) as bot:
        began = bot.now
        bot.hand_over(NewCode, ticks=0)
        # Without a pause of 2 ms it goes on after a second, as with ticks.
        assert SECOND < bot.now - began < 2 * SECOND


def test_time_passes_by_advance_and_not_by_ticks() -> None:
    with Simulation(Bot) as bot, pytest.raises(SimulationError, match="tick = None"):
        bot.ticks(1)


def test_state_that_changes_between_turns_is_found_at_the_next_heartbeat() -> None:
    with Simulation(Bot) as bot:
        bot.put("a", 1)
        bot.state.seen.append("behind its back")
        with pytest.raises(SimulationError, match="changed outside a turn"):
            bot.advance("2s")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"overrun": "catch-up"}, "a bot with tick = None has no ticks to catch up on: leave overrun out"),
        ({"heartbeat": "1ms"}, 'heartbeat = .1ms.: expected a duration from "10ms" to "1m"'),
        ({"heartbeat": "2m"}, 'expected a duration from "10ms" to "1m"'),
        ({"heartbeat": 1}, 'heartbeat = 1 is not a duration: write its unit, as in "1s"'),
        ({"tick": "1s", "heartbeat": "2s"}, "write tick = None, or leave heartbeat out"),
        ({"tick": ""}, 'tick = "" is not a duration'),
    ],
)
def test_declarations_that_do_not_fit_are_refused(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(BotError, match=problem):
        WorkerBot(type("Misfit", (Bot,), attributes))


def test_handlers_that_are_never_called_are_named() -> None:
    class Forgotten(Worker[Book]):
        tick = None

        def on_tick(self, tick: Tick[Book]) -> None: ...

    never, nothing = WorkerBot(Forgotten).warnings
    assert never.startswith("on_tick is never called, because tick = None")
    assert "nothing runs after on_lead" in nothing
    assert WorkerBot(Bot).warnings == ()


def test_new_code_that_cannot_be_rehearsed_is_refused() -> None:
    class Broken(Bot):
        def on_load(self, state: Book) -> None:
            raise ValueError("no")

    with Simulation(Bot) as bot:
        with pytest.raises(HandoverFailed):
            bot.hand_over(Broken)
        bot.put("a", 1)
        assert bot.state.seen == ["a"]
