"""A handoff, simulated: what the old code had is what the new one goes on with, each thing once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from neverblink.protocol.frame import Led
from neverblink.worker import (
    Event,
    InDoubt,
    Table,
    Tick,
    Timer,
    Window,
    Worker,
    migration,
)
from neverblink.worker.testing import HandoverFailed, Simulation, SimulationError

SECOND = 1_000_000_000


class Book(msgspec.Struct):
    ticks: list[int] = []
    events: list[str] = []
    timers: list[tuple[str, int, int]] = []
    doubts: list[InDoubt] = []
    orders: list[str] = []


class Bot(Worker[Book]):
    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        self.state.doubts += in_doubt

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ticks.append(tick.seq)

    def on_event(self, event: Event) -> None:
        self.state.events.append(event.key)

    def on_timer(self, timer: Timer) -> None:
        self.state.timers.append((timer.name, timer.due, timer.late))


class New(Bot):
    pass


class Newer(Bot):
    pass


def without_holes(ticks: list[int]) -> bool:
    return ticks == list(range(ticks[0], ticks[0] + len(ticks)))


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["leader", "follower", "all"])
def test_an_event_is_applied_once_whichever_process_got_it_in_the_probation(to: Any) -> None:
    with Simulation(Bot) as bot:
        bot.hand_over(New)
        bot.put("fill-1", {}, to=to)
        bot.ticks(2)
        assert bot.state.events == ["fill-1"]
        assert bot.follower.state.events == ["fill-1"]
        bot.conclude()
        bot.put("fill-1", {})
        assert bot.state.events == ["fill-1"]


def test_events_that_arrive_during_the_last_turn_are_applied_by_the_successor() -> None:
    class Busy(Bot):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            if len(self.state.ticks) == 3:
                bot.put("fill-1", {}, to="leader")
                bot.put("fill-2", {}, to="follower")
                bot.put("fill-3", {})

    with Simulation(Bot) as bot:
        bot.hand_over(Busy)
        bot.ticks(3)
        bot.roll_back()
        bot.ticks(2)
        assert sorted(bot.state.events) == ["fill-1", "fill-2", "fill-3"]


def test_an_event_that_only_the_new_process_got_before_it_led_is_applied() -> None:
    """It listens from `on_start` on, and there is no follower that the test could name by then."""

    class Listening(New):
        def on_start(self) -> None:
            self.inbox.put("fill-1", {})

        def on_load(self, state: Book) -> None:
            self.inbox.put("fill-2", {})

    with Simulation(Bot) as bot:
        bot.ticks(1)
        bot.put("fill-1", {})
        bot.hand_over(Listening)
        bot.ticks(1)
        assert bot.state.events == ["fill-1", "fill-2"]


def test_an_event_put_into_the_old_process_by_on_yield_is_applied_by_the_new() -> None:
    class Yielding(Bot):
        def on_yield(self) -> None:
            self.inbox.put("last words", {})

    with Simulation(Yielding) as bot:
        bot.hand_over(New)
        bot.ticks(1)
        assert bot.state.events == ["last words"]


# --- timers -----------------------------------------------------------------------------------------------------------


def test_a_timer_armed_by_the_old_code_fires_once_and_on_time_in_the_new() -> None:
    class Arms(Bot):
        def on_event(self, event: Event) -> None:
            self.set_timer("exit BTC", after="2500ms")

    with Simulation(Arms) as bot:
        bot.ticks(1)
        due = bot.now + 2_500_000_000
        bot.put("fill-1", {})
        bot.hand_over(New, ticks=0)
        bot.ticks(2)
        assert bot.state.timers == []
        bot.ticks(5)
        assert bot.state.timers == [("exit BTC", due, 0)]
        bot.roll_back()
        bot.ticks(5)
        assert bot.state.timers == [("exit BTC", due, 0)]


def test_a_periodic_timer_keeps_its_schedule_across_handoffs() -> None:
    class Arms(Bot):
        def on_event(self, event: Event) -> None:
            self.set_timer("beat", every="700ms")

    with Simulation(Arms) as bot:
        bot.ticks(1)
        bot.put("go", {})
        began = bot.now
        for code in (New, Newer, New):
            bot.advance("2s")
            bot.hand_over(code)
        bot.advance("2s")
        dues = [due for _, due, _ in bot.state.timers]
        assert dues == [began + n * 700_000_000 for n in range(1, len(dues) + 1)]
        assert len(dues) >= 11


def test_a_timer_that_was_cancelled_stays_cancelled() -> None:
    class Arms(Bot):
        def on_event(self, event: Event) -> None:
            if event.key == "arm":
                self.set_timer("exit", after="2s")
            else:
                self.state.events.append(str(self.cancel_timer("exit")))

    with Simulation(Arms) as bot:
        bot.put("arm", {})
        bot.put("disarm", {})
        bot.put("disarm again", {})
        bot.hand_over(New)
        bot.ticks(5)
        assert bot.state.events == ["True", "False"]
        assert bot.state.timers == []


# --- decisions --------------------------------------------------------------------------------------------------------


def test_a_decision_cut_by_a_kill_reaches_the_successor_in_doubt_and_only_once() -> None:
    class Killed(Bot):
        def on_event(self, event: Event) -> None:
            with self.decision("enter", market="BTC", size=2) as d:
                self.state.orders.append(d.id)
                bot.kill()

    with Simulation(Bot) as bot:
        bot.hand_over(Killed)
        bot.ticks(2)
        at = bot.now
        bot.put("go", {})
        assert type(bot.leader) is Bot
        seq = bot.state.ticks[-1]
        assert bot.state.doubts == [InDoubt(f"2-{seq}-0", "enter", {"market": "BTC", "size": 2}, at)]
        assert bot.state.orders == []
        bot.hand_over(New)
        bot.ticks(1)
        assert len(bot.state.doubts) == 1


def test_the_event_whose_turn_was_killed_is_applied_by_the_successor() -> None:
    class Killed(Bot):
        def on_event(self, event: Event) -> None:
            self.state.events.append("half of it")
            bot.kill()

    with Simulation(Bot) as bot:
        bot.hand_over(Killed)
        bot.put("go", {})
        bot.ticks(1)
        assert bot.state.events == ["go"]


def test_the_tick_whose_turn_was_killed_is_run_by_the_successor() -> None:
    class Dies(Bot):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            bot.kill()

    with Simulation(Bot) as bot:
        bot.ticks(3)
        bot.hand_over(Dies, ticks=0)
        bot.ticks(2)
        assert type(bot.leader) is Bot
        assert without_holes(bot.state.ticks)
        assert len(bot.state.ticks) == 5


def test_a_decision_whose_outcome_died_with_its_turn_is_in_doubt() -> None:
    class Killed(Bot):
        def on_event(self, event: Event) -> None:
            with self.decision("enter") as d:
                self.state.orders.append(d.id)
            # It is closed, and that is in the journal; what came of it is in no state yet.
            bot.kill()

    with Simulation(Bot) as bot:
        bot.hand_over(Killed)
        bot.ticks(2)
        bot.put("go", {})
        assert type(bot.leader) is Bot
        assert [decision.id for decision in bot.state.doubts] == [f"2-{bot.state.ticks[-1]}-0"]
        assert bot.state.orders == []
        bot.hand_over(New)
        bot.ticks(1)
        assert len(bot.state.doubts) == 1


def test_a_decision_whose_turn_has_ended_is_not_in_doubt() -> None:
    class Killed(Bot):
        def on_event(self, event: Event) -> None:
            if event.key == "die":
                bot.kill()
                return
            with suppress(RuntimeError), self.decision("enter"):
                raise RuntimeError("rejected")

    with Simulation(Bot) as bot:
        bot.hand_over(Killed)
        bot.put("go", {})
        bot.put("die", {})
        assert type(bot.leader) is Bot
        assert bot.state.doubts == []


def test_a_decision_that_raised_and_ended_its_worker_is_in_doubt() -> None:
    class Raises(Bot):
        def on_event(self, event: Event) -> None:
            with self.decision("enter"):
                raise RuntimeError("no answer")

    with Simulation(Bot) as bot:
        bot.hand_over(Raises)
        bot.put("go", {})
        assert type(bot.leader) is Bot
        assert bot.rolled_back == "on_event raised RuntimeError: no answer"
        # The process that knew what happened is gone, with all its turn had learnt.
        assert [decision.name for decision in bot.state.doubts] == ["enter"]


def test_ids_of_decisions_are_never_reused() -> None:
    class Decides(Bot):
        def on_tick(self, tick: Tick[Book]) -> None:
            for _ in range(2):
                with self.decision("enter") as d:
                    self.state.orders.append(d.id)

    class Also(Decides):
        pass

    with Simulation(Decides) as bot:
        bot.ticks(2)
        bot.hand_over(Also, ticks=0)
        bot.ticks(2)
        bot.roll_back()
        bot.ticks(2)
        assert len(bot.state.orders) == len(set(bot.state.orders)) == 12


# --- three generations, and back --------------------------------------------------------------------------------------


def test_three_generations_miss_no_tick_and_run_none_twice() -> None:
    with Simulation(Bot) as bot:
        for code in (New, Newer, Bot):
            bot.ticks(3)
            bot.hand_over(code)
        bot.ticks(3)
        assert without_holes(bot.state.ticks)
        assert [frame.seq for frame in bot.frames if frame.kind == "tick"] == bot.state.ticks
        assert not any(frame.timing.gaps for frame in bot.frames)
        led = [frame.about for frame in bot.frames if isinstance(frame.about, Led)]
        assert [about.cause for about in led] == ["first", "handoff", "handoff", "handoff"]
        assert [frame.epoch for frame in bot.frames if frame.kind == "lead"] == [1, 2, 3, 4]


def test_a_pause_survives_the_handoff_and_the_rollback() -> None:
    with Simulation(Bot) as bot:
        bot.pause()
        bot.hand_over(New)
        assert bot.leader.paused
        assert bot.follower.paused
        bot.resume()
        assert not bot.follower.paused
        bot.pause()
        bot.roll_back()
        assert bot.leader.paused


def test_a_command_is_answered_by_the_leader() -> None:
    class Answers(Bot):
        def on_command(self, name: str, args: dict[str, Any]) -> str:
            return type(self).__name__

    class Also(Answers):
        pass

    with Simulation(Answers) as bot:
        assert bot.send("who") == "Answers"
        bot.hand_over(Also)
        assert bot.send("who") == "Also"


def test_a_handoff_waits_for_the_end_of_a_protected_window() -> None:
    class Windowed(Bot):
        windows = [Window("1m", opens="10s", closes="20s", name="snipe")]

    class Next(Windowed):
        pass

    with Simulation(Windowed) as bot:
        bot.ticks(13)
        assert bot.now % (60 * SECOND) == 12 * SECOND
        bot.hand_over(Next)
        assert bot.now % (60 * SECOND) == 20 * SECOND
        assert without_holes(bot.state.ticks)


def test_an_unprotected_window_delays_no_handoff() -> None:
    class Windowed(Bot):
        windows = [Window("1m", opens="10s", closes="20s", name="quiet", protected=False)]

    class Next(Windowed):
        pass

    with Simulation(Windowed) as bot:
        bot.ticks(13)
        bot.hand_over(Next)
        assert bot.now % (60 * SECOND) < 14 * SECOND


def test_a_bot_that_is_always_in_a_protected_window_is_never_handed_over() -> None:
    class Always(Bot):
        windows = [
            Window("1m", opens="0s", closes="40s", name="first"),
            Window("1m", opens="-30s", closes="1s", name="second"),
        ]

    with Simulation(Always) as bot:
        with pytest.raises(HandoverFailed, match=r"no boundary in time: window (first|second)"):
            bot.hand_over(New)
        bot.ticks(1)
        assert type(bot.leader) is Always


# --- a state that changes its shape -----------------------------------------------------------------------------------


class Fill(msgspec.Struct, frozen=True):
    price: float


class CentFill(msgspec.Struct, frozen=True):
    cents: int


class Sizes(msgspec.Struct):
    sizes: dict[str, float] = {}
    fills: Table[str, Fill] = msgspec.field(default_factory=Table)


class Lots(msgspec.Struct):
    lots: dict[str, int] = {}
    fills: Table[str, CentFill] = msgspec.field(default_factory=Table)


class InSizes(Worker[Sizes]):
    def on_event(self, event: Event) -> None:
        self.state.sizes[event.key] = event.data
        self.state.fills[event.key] = Fill(event.data * 10)


class InLots(Worker[Lots]):
    schema = 2

    def on_event(self, event: Event) -> None:
        self.state.lots[event.key] = round(event.data * 100)
        self.state.fills[event.key] = CentFill(round(event.data * 1000))

    @staticmethod
    @migration(1, 2)
    def sizes_became_lots(root: dict[str, Any]) -> dict[str, Any]:
        root["lots"] = {market: round(size * 100) for market, size in root.pop("sizes").items()}
        return root

    @staticmethod
    @migration(1, 2, table="fills")
    def fill_in_cents(row: dict[str, Any]) -> dict[str, Any]:
        return {"cents": round(row["price"] * 100)}


class BothWays(InLots):
    @staticmethod
    @migration(2, 1)
    def lots_become_sizes(root: dict[str, Any]) -> dict[str, Any]:
        root["sizes"] = {market: lots / 100 for market, lots in root.pop("lots").items()}
        return root

    @staticmethod
    @migration(2, 1, table="fills")
    def fill_in_units(row: dict[str, Any]) -> dict[str, Any]:
        return {"price": row["cents"] / 100}


def test_the_state_is_migrated_and_the_old_code_follows_by_the_down_migration() -> None:
    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        assert bot.hand_over(BothWays) == "newest"
        leader: Any = bot.leader
        assert leader.state == Lots({"BTC": 150}, Table({"BTC": CentFill(1500)}))
        bot.put("ETH", 0.5)
        assert leader.state.lots == {"BTC": 150, "ETH": 50}
        assert bot.follower.state.sizes == {"BTC": 1.5, "ETH": 0.5}
        bot.roll_back()
        assert bot.state.sizes == {"BTC": 1.5, "ETH": 0.5}
        assert bot.state.fills == {"BTC": Fill(15.0), "ETH": Fill(5.0)}
        bot.put("SOL", 2.0)
        assert bot.state.sizes["SOL"] == 2.0


def test_without_a_down_migration_a_rollback_returns_to_the_state_of_the_handoff_as_announced() -> None:
    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        rollback = bot.hand_over(InLots)
        assert rollback != "newest"
        assert "no migration leads from schema 2 to 1" in rollback
        bot.put("ETH", 0.5)
        bot.ticks(2)
        bot.roll_back()
        assert bot.state.sizes == {"BTC": 1.5}
        bot.ticks(2)
        bot.put("ETH", 0.5)
        assert bot.state.sizes == {"BTC": 1.5}, "it was applied, and its effect is lost"
        bot.hand_over(InLots)
        leader: Any = bot.leader
        assert leader.state.lots == {"BTC": 150}


def test_a_second_deploy_of_the_new_schema_after_a_rollback_migrates_again() -> None:
    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        bot.hand_over(BothWays)
        bot.put("ETH", 0.5)
        bot.roll_back()
        bot.put("SOL", 2.0)
        bot.hand_over(BothWays)
        leader: Any = bot.leader
        assert leader.state.lots == {"BTC": 150, "ETH": 50, "SOL": 200}


def test_a_field_with_a_default_needs_no_migration_and_the_old_code_follows() -> None:
    class Wider(msgspec.Struct):
        sizes: dict[str, float] = {}
        fills: Table[str, Fill] = msgspec.field(default_factory=Table)
        high: float = 1.0

    class Wide(Worker[Wider]):
        def on_event(self, event: Event) -> None:
            self.state.sizes[event.key] = event.data
            self.state.high = event.data

    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        assert bot.hand_over(Wide) == "newest"
        bot.put("ETH", 9.0)
        bot.roll_back()
        assert bot.state.sizes == {"BTC": 1.5, "ETH": 9.0}


class Renamed(msgspec.Struct):
    amounts: dict[str, float] = {}
    fills: Table[str, Fill] = msgspec.field(default_factory=Table)


class Renames(Worker[Renamed]):
    pass


def test_a_handover_that_would_lose_a_value_is_refused_unless_drop_names_its_field() -> None:
    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        for drop in ([], ["amounts"]):
            with pytest.raises(HandoverFailed, match="the new code would drop sizes = ") as failed:
                bot.hand_over(Renames, drop=drop)
        assert "--drop sizes" in failed.value.message
        bot.ticks(1)
        assert type(bot.leader) is InSizes
        assert bot.state.sizes == {"BTC": 1.5}
        bot.hand_over(Renames, drop=["sizes"])
        leader: Any = bot.leader
        assert leader.state.amounts == {}
        bot.roll_back()
        assert bot.state.sizes == {"BTC": 1.5}
        with pytest.raises(SimulationError, match="expected a list of fields"):
            bot.hand_over(Renames, drop="sizes")


def test_a_handover_that_drops_only_a_default_needs_no_drop() -> None:
    with Simulation(InSizes) as bot:
        bot.ticks(1)
        bot.hand_over(Renames)
        assert type(bot.leader) is Renames


def test_a_state_that_the_new_code_cannot_read_fails_with_the_fields_name() -> None:
    class Narrow(msgspec.Struct):
        sizes: dict[str, int] = {}

    class Reads(Worker[Narrow]):
        pass

    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        with pytest.raises(HandoverFailed, match="sizes") as failed:
            bot.hand_over(Reads)
        assert "@migration(1, 2)" in failed.value.message
        bot.ticks(1)
        assert type(bot.leader) is InSizes


def test_a_migration_that_raises_fails_the_handoff_with_its_name() -> None:
    class Breaks(Worker[Lots]):
        schema = 2

        @staticmethod
        @migration(1, 2)
        def halves(root: dict[str, Any]) -> dict[str, Any]:
            raise KeyError("quantity")

    with (
        Simulation(InSizes) as bot,
        pytest.raises(HandoverFailed, match=r"halves \(1 -> 2\): raised KeyError: 'quantity'"),
    ):
        bot.hand_over(Breaks)


def test_a_state_that_becomes_unreadable_in_the_probation_keeps_the_last_readable_one() -> None:
    """The rehearsal could not know: what the old code cannot read was written after it."""

    class Loose(msgspec.Struct):
        sizes: dict[str, float | str] = {}

    class Writes(Worker[Loose]):
        def on_event(self, event: Event) -> None:
            self.state.sizes[event.key] = event.data

    with Simulation(InSizes) as bot:
        bot.put("BTC", 1.5)
        assert bot.hand_over(Writes, drop=["fills"]) == "newest"
        bot.put("ETH", 2.5)
        bot.put("SOL", "a lot")
        bot.put("XRP", 3.5)
        bot.ticks(1)
        bot.roll_back()
        assert bot.state.sizes == {"BTC": 1.5, "ETH": 2.5}
        bot.ticks(1)


@pytest.mark.parametrize("value", [object(), 2**80, {1, object()}])
def test_a_state_that_cannot_be_encoded_ends_the_new_code_and_names_the_field(value: Any) -> None:
    class Any_(msgspec.Struct):
        ticks: list[int] = []
        note: Any = None

    class Old(Worker[Any_]):
        def on_tick(self, tick: Tick[Any_]) -> None:
            self.state.ticks.append(tick.seq)

    class Bad(Old):
        def on_event(self, event: Event) -> None:
            self.state.note = value

    with Simulation(Old) as bot:
        bot.hand_over(Bad)
        bot.ticks(1)
        bot.put("go", {})
        assert "state field note" in bot.rolled_back
        bot.ticks(1)
        assert type(bot.leader) is Old
        assert bot.state.note is None
        assert without_holes(bot.state.ticks)
