"""Simulation: each thing a bot's test may ask of it, and what it says when it can't."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from neverblink.worker import Event, InDoubt, NotLeading, Tick, Worker
from neverblink.worker.model.cells import StateError
from neverblink.worker.model.inbox_bound import EventError
from neverblink.worker.runtime.declaration import BotError
from neverblink.worker.testing import (
    CommandFailed,
    HandoverFailed,
    Killed,
    Simulation,
    SimulationError,
)

SECOND = 1_000_000_000
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
AT_NOON = int(NOON.timestamp()) * SECOND


class Book(msgspec.Struct):
    ticks: list[int] = []
    events: list[str] = []
    notes: list[str] = []


class Plain(Worker[Book]):
    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks.append(tick.seq)

    def on_event(self, event: Event) -> None:
        self.state.events.append(event.key)

    def on_command(self, name: str, args: dict[str, Any]) -> Any:
        match name:
            case "ticks":
                return len(self.state.ticks) * args.get("times", 1)
            case "fail":
                raise RuntimeError("the exchange is closed")
            case _:
                raise ValueError(f"unknown command {name!r}")

    def on_stop(self) -> None:
        self.state.notes.append("stopped")


class Other(Plain):
    pass


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_first_tick_is_at_the_given_time_and_nothing_has_run_before() -> None:
    with Simulation(Plain, at=NOON) as bot:
        assert bot.state.ticks == []
        bot.ticks()
        assert bot.now == AT_NOON
        assert bot.state.ticks == [AT_NOON // SECOND]


def test_a_time_off_the_grid_begins_at_the_next_tick_on_it() -> None:
    with Simulation(Plain, at=NOON.replace(microsecond=700_000)) as bot:
        bot.ticks()
        assert bot.now == AT_NOON + SECOND


def test_ticks_runs_exactly_that_many_ticks() -> None:
    with Simulation(Plain, at=NOON) as bot:
        bot.ticks(3)
        bot.ticks(2)
        first = AT_NOON // SECOND
        assert bot.state.ticks == list(range(first, first + 5))


def test_advance_lets_time_pass_to_the_nanosecond() -> None:
    with Simulation(Plain, at=NOON) as bot:
        before = bot.now
        bot.advance("1h30m")
        assert bot.now - before == 5400 * SECOND
        assert len(bot.state.ticks) == 5400


def test_spending_time_in_a_handler_makes_it_slow() -> None:
    class Slow(Plain):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            bot.spend("300ms")

    with Simulation(Slow, at=NOON) as bot:
        bot.ticks(2)
        tick = bot.frames[-1]
        assert (tick.kind, tick.timing.took) == ("tick", 300_000_000)


def test_spend_is_allowed_only_in_a_handler_of_the_leader() -> None:
    class Loads(Plain):
        def on_load(self, state: Book) -> None:
            bot.spend("1s")

    with Simulation(Plain) as bot:
        with pytest.raises(SimulationError, match="between two turns call advance"):
            bot.spend("1s")
        with pytest.raises(HandoverFailed, match="for the process that leads"):
            bot.hand_over(Loads)


def test_a_bot_that_is_always_late_runs_exactly_the_requested_ticks() -> None:
    class Late(Plain):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            bot.spend("2500ms")

    with Simulation(Late) as bot:
        bot.ticks(3)
        assert len(bot.state.ticks) == 3
        bot.advance("10s")
        bot.put("fill-1", {})
        assert bot.send("ticks") >= 7
        assert bot.state.events == ["fill-1"]
        bot.stop()


def test_frames_has_one_frame_for_each_turn() -> None:
    with Simulation(Plain, at=NOON) as bot:
        bot.ticks()
        bot.put("fill-1", {})
        bot.send("ticks")
        assert [frame.kind for frame in bot.frames] == ["lead", "tick", "event", "command"]
        assert [frame.number for frame in bot.frames] == [0, 1, 2, 3]


# --- the world outside ------------------------------------------------------------------------------------------------


def test_an_event_is_applied_at_once_between_two_ticks() -> None:
    with Simulation(Plain, at=NOON) as bot:
        before = bot.now
        bot.put("fill-1", {"size": 2})
        assert bot.state.events == ["fill-1"]
        assert bot.now == before


def test_the_same_key_is_applied_once() -> None:
    with Simulation(Plain, at=NOON) as bot:
        bot.put("fill-1", {"size": 2})
        bot.put("fill-1", {"size": 2})
        assert bot.state.events == ["fill-1"]


def test_an_event_that_cannot_be_encoded_is_refused_by_put() -> None:
    with Simulation(Plain) as bot, pytest.raises(EventError, match="fill-1"):
        bot.put("fill-1", object())


def test_a_typed_event_comes_as_its_type() -> None:
    class Fill(msgspec.Struct, frozen=True):
        size: int

    class Typed(Worker[Book]):
        event_type = Fill

        def on_event(self, event: Event) -> None:
            assert isinstance(event.data, Fill)
            self.state.events.append(f"{event.key}: {event.data.size}")

    with Simulation(Typed) as bot:
        bot.put("a", Fill(2))
        assert bot.state.events == ["a: 2"]


def test_a_command_is_answered() -> None:
    with Simulation(Plain) as bot:
        bot.ticks(3)
        assert bot.send("ticks") == 3
        assert bot.send("ticks", times=2) == 6


def test_a_command_that_raises_returns_its_error_and_the_bot_goes_on() -> None:
    with Simulation(Plain) as bot:
        with pytest.raises(CommandFailed, match="RuntimeError: the exchange is closed"):
            bot.send("fail")
        bot.ticks()
        assert len(bot.state.ticks) == 1


def test_an_answer_that_cannot_be_encoded_is_the_commands_error() -> None:
    class Odd(Plain):
        def on_command(self, name: str, args: dict[str, Any]) -> Any:
            return object()

    with Simulation(Odd) as bot, pytest.raises(CommandFailed, match="its result cannot be sent"):
        bot.send("anything")


def test_a_command_to_a_bot_without_commands_is_an_error() -> None:
    class Mute(Worker[Book]):
        pass

    with (
        Simulation(Mute) as bot,
        pytest.raises(CommandFailed, match="it declares none, and has no on_command"),
    ):
        bot.send("book")


def test_pause_and_resume_are_seen_by_the_bot() -> None:
    with Simulation(Plain) as bot:
        assert not bot.leader.paused
        bot.pause()
        assert bot.leader.paused
        bot.resume()
        assert not bot.leader.paused


# --- other code -------------------------------------------------------------------------------------------------------


def test_the_new_code_leads_and_the_old_follows_until_it_is_concluded() -> None:
    with Simulation(Plain) as bot:
        old = bot.leader
        bot.ticks(2)
        assert bot.hand_over(Other, ticks=0) == "newest"
        assert isinstance(bot.leader, Other)
        assert bot.follower is old
        assert not old.leading
        bot.ticks(3)
        assert len(old.state.ticks) == len(bot.state.ticks) == 5
        bot.conclude()
        with pytest.raises(SimulationError, match="there is no follower"):
            _ = bot.follower


def test_a_handoff_concludes_the_one_before() -> None:
    class Third(Plain):
        pass

    with Simulation(Plain) as bot:
        for code in (Other, Third, Plain):
            bot.ticks(2)
            bot.hand_over(code)
        bot.ticks(2)
        assert type(bot.leader) is Plain
        assert isinstance(bot.follower, Third)
        first = bot.state.ticks[0]
        assert bot.state.ticks == list(range(first, first + len(bot.state.ticks)))


def test_a_rollback_keeps_the_newest_state() -> None:
    with Simulation(Plain) as bot:
        old = bot.leader
        bot.ticks(2)
        bot.hand_over(Other, ticks=0)
        bot.ticks(3)
        bot.roll_back("too many orders")
        assert bot.leader is old
        assert bot.rolled_back == "too many orders"
        assert len(bot.state.ticks) == 5


def test_a_rollback_without_a_handoff_is_refused() -> None:
    with Simulation(Plain) as bot:
        with pytest.raises(SimulationError, match="nothing to roll back to"):
            bot.roll_back()
        bot.hand_over(Other)
        bot.conclude()
        with pytest.raises(SimulationError, match="nothing to roll back to"):
            bot.roll_back()


def test_after_a_crash_in_the_probation_the_old_code_goes_on() -> None:
    with Simulation(Plain) as bot:
        old = bot.leader
        bot.hand_over(Other, ticks=0)
        bot.ticks(2)
        bot.crash()
        assert bot.leader is old
        assert bot.rolled_back
        bot.ticks(2)
        assert len(bot.state.ticks) == 4


def test_a_crash_without_a_follower_is_refused() -> None:
    with Simulation(Plain) as bot, pytest.raises(SimulationError, match="there is no follower to take over"):
        bot.crash()


def test_a_kill_without_a_follower_leaves_no_process() -> None:
    class Killer(Plain):
        def on_event(self, event: Event) -> None:
            bot.kill()

    with Simulation(Killer) as bot:
        bot.put("now", {})
        with pytest.raises(SimulationError, match="no process leads: killed"):
            _ = bot.state
        with pytest.raises(SimulationError, match="no process leads"):
            bot.ticks()


def test_kill_is_not_caught_by_the_bots_own_except() -> None:
    class Careful(Plain):
        def on_event(self, event: Event) -> None:
            try:
                bot.kill()
            except Exception:
                self.state.notes.append("caught")

    assert not issubclass(Killed, Exception)
    with Simulation(Plain) as bot:
        bot.hand_over(Careful)
        bot.put("now", {})
        assert type(bot.leader) is Plain
        assert bot.state.notes == []


def test_kill_is_allowed_only_in_a_handler() -> None:
    with Simulation(Plain) as bot, pytest.raises(SimulationError, match="between two turns call crash"):
        bot.kill()


def test_effects_of_finally_blocks_after_a_kill_are_dropped() -> None:
    class Dying(Plain):
        def on_event(self, event: Event) -> None:
            try:
                bot.kill()
            finally:
                self.inbox.put("from the grave", {})
                self.state.notes.append("from the grave")

    with Simulation(Plain) as bot:
        bot.hand_over(Dying)
        bot.put("now", {})
        bot.ticks(2)
        assert bot.state.events == ["now"]
        assert bot.state.notes == []


def test_a_handler_may_put_but_not_let_time_pass() -> None:
    class Impatient(Plain):
        def on_event(self, event: Event) -> None:
            if event.key == "first":
                bot.put("second", {})
                assert self.state.events == []
                with pytest.raises(SimulationError, match="lets the simulation go on while the handler runs"):
                    bot.ticks()
            super().on_event(event)

    with Simulation(Impatient) as bot:
        bot.put("first", {})
        assert bot.state.events == ["first", "second"]
        bot.ticks()


def test_stop_runs_on_stop_and_then_no_process_leads() -> None:
    with Simulation(Plain) as bot:
        bot.ticks()
        last = bot.leader
        bot.stop()
        assert last.state.notes == ["stopped"]
        assert bot.frames[-1].kind == "stop"
        for ask in (lambda: bot.state, lambda: bot.ticks(), lambda: bot.send("x"), lambda: bot.stop()):
            with pytest.raises(SimulationError, match="no process leads: the bot was stopped"):
                ask()


def test_the_old_code_retires_before_the_bot_stops() -> None:
    class Leaver(Plain):
        def on_retire(self) -> None:
            retired.append(type(self).__name__)

    retired: list[str] = []
    with Simulation(Leaver) as bot:
        bot.hand_over(Plain)
        bot.stop()
    assert retired == ["Leaver"]


# --- handlers ---------------------------------------------------------------------------------------------------------


def test_without_a_follower_a_handlers_exception_raises_in_the_test() -> None:
    class Bad(Plain):
        def on_tick(self, tick: Tick[Book]) -> None:
            raise RuntimeError("no price")

    with Simulation(Bad) as bot, pytest.raises(RuntimeError, match="no price"):
        bot.ticks()


def test_an_ended_bot_refuses_calls_with_the_reason_of_its_end() -> None:
    class Bad(Plain):
        def on_event(self, event: Event) -> None:
            raise RuntimeError("no price")

    with Simulation(Bad) as bot:
        with pytest.raises(RuntimeError):
            bot.put("a", {})
        with pytest.raises(SimulationError, match="no process leads: on_event raised RuntimeError: no price"):
            bot.ticks()


def test_an_exception_before_the_bot_leads_raises_at_the_start_of_the_simulation() -> None:
    class Offline(Plain):
        async def on_start(self) -> None:
            raise ConnectionError("no route to the exchange")

    with pytest.raises(ConnectionError, match="no route"), Simulation(Offline):
        pass


def test_a_simulation_requires_a_with_statement() -> None:
    bot = Simulation(Plain)
    with pytest.raises(SimulationError, match="use it in a with"):
        bot.ticks()
    bot.close()


def test_handlers_may_be_async_and_share_one_loop() -> None:
    class Async(Worker[Book]):
        async def on_start(self) -> None:
            self.loop = asyncio.get_running_loop()

        async def on_event(self, event: Event) -> None:
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is self.loop
            self.state.events.append(event.key)

    with Simulation(Async) as bot:
        bot.put("a", {})
        assert bot.state.events == ["a"]


def test_the_bots_tasks_run_when_time_passes_and_end_with_the_bot() -> None:
    class Feed(Plain):
        async def on_start(self) -> None:
            self.feed: asyncio.Queue[str] = asyncio.Queue()
            self.task = asyncio.create_task(self.listen())

        async def listen(self) -> None:
            while True:
                key = await self.feed.get()
                self.inbox.put(key, {})

    with Simulation(Feed) as bot:
        feed = bot.leader
        assert isinstance(feed, Feed)
        feed.feed.put_nowait("fill-1")
        bot.ticks(1)
        assert bot.state.events == ["fill-1"]
    assert feed.task.cancelled()


def test_a_timeout_error_of_the_bot_is_passed_on() -> None:
    class Impatient(Worker[Book]):
        async def on_event(self, event: Event) -> None:
            raise TimeoutError("the exchange is slow")

    with Simulation(Impatient) as bot, pytest.raises(TimeoutError, match="the exchange is slow"):
        bot.put("a", {})


def test_a_bot_that_cannot_run_is_refused_when_the_simulation_is_made() -> None:
    class Stateless(Worker):  # pyright: ignore[reportMissingTypeArgument]
        pass

    with pytest.raises(BotError, match="does not say what its state is"):
        Simulation(Stateless)


def test_a_state_that_cannot_be_made_raises_at_the_start_of_the_simulation() -> None:
    class Needy(msgspec.Struct):
        market: str

    class Bad(Worker[Needy]):
        pass

    with pytest.raises(SimulationError, match="market"), Simulation(Bad):
        pass


# --- the state may change in a turn only ------------------------------------------------------------------------------


def test_a_change_between_two_turns_is_an_error_that_names_the_field() -> None:
    with Simulation(Plain) as bot:
        bot.ticks()
        bot.state.events.append("by hand")
        with pytest.raises(SimulationError, match="state field events was changed outside a turn"):
            bot.ticks()


def test_a_change_in_on_load_is_an_error_that_names_the_field() -> None:
    class Eager(Plain):
        def on_load(self, state: Book) -> None:
            state.notes.append("loaded")

    with Simulation(Plain) as bot:
        bot.ticks(2)
        with pytest.raises(HandoverFailed, match="state field notes was changed outside a turn"):
            bot.hand_over(Eager)
        bot.ticks(2)
        assert type(bot.leader) is Plain
        assert bot.state.notes == []
        assert len(bot.state.ticks) >= 4


@pytest.mark.parametrize(("how", "more"), [({}, 1), ({"ticks": 0}, 0), ({"ticks": 3}, 3)])
def test_the_old_code_ticks_between_the_copy_and_the_handoff(how: dict[str, Any], more: int) -> None:
    with Simulation(Plain) as bot:
        bot.ticks(2)
        bot.hand_over(Other, **how)
        assert [frame.kind for frame in bot.frames].count("tick") == 2 + more


def test_a_bot_that_ticks_once_a_day_is_handed_over_without_a_tick() -> None:
    class Daily(Plain):
        tick = "1d"

    with Simulation(Daily) as bot:
        bot.ticks(1)
        before = bot.now
        bot.hand_over(type("NewDaily", (Daily,), {}))
        assert bot.now - before < SECOND


def test_the_state_cannot_be_assigned() -> None:
    with Simulation(Plain) as bot, pytest.raises(StateError, match="changed in place"):
        bot.leader.state = Book()


def test_a_decision_outside_a_turn_is_refused() -> None:
    with Simulation(Plain) as bot, pytest.raises(NotLeading, match="between two turns"):
        bot.leader.decision("enter").__enter__()


def test_a_follower_cannot_decide_or_set_timers() -> None:
    with Simulation(Plain) as bot:
        bot.hand_over(Other)
        with pytest.raises(NotLeading):
            bot.follower.decision("enter").__enter__()
        with pytest.raises(StateError, match="outside a turn"):
            bot.follower.set_timer("exit", after="1s")


def test_the_error_of_a_bot_that_does_not_run_says_how_to_run_it() -> None:
    with pytest.raises(BotError, match="Plain is not running: start it with `neverblink up`"):
        _ = Plain().state


def test_on_lead_gets_no_decisions_in_doubt_if_none_was_open() -> None:
    class Looks(Plain):
        def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
            self.state.notes.append(f"{len(in_doubt)} in doubt")

    with Simulation(Plain) as bot:
        bot.hand_over(Looks)
        assert bot.state.notes == ["0 in doubt"]
