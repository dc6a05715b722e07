"""Time, simulated: overruns, stepped clocks, windows, and releases that tick on another grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import msgspec
import pytest

from neverblink.protocol.grid import ClockStep, Gap
from neverblink.worker import Event, Tick, Timer, Window, Worker
from neverblink.worker.testing import Simulation

SECOND = 1_000_000_000
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = int(NOON.timestamp())


class Book(msgspec.Struct):
    dues: list[int] = []
    lates: list[int] = []
    gaps: list[Gap] = []
    order: list[str] = []
    slow: int = 1
    """The number of the tick that takes long."""


class Bot(Worker[Book]):
    takes: ClassVar[str] = "3500ms"

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.dues.append(tick.due)
        self.state.lates.append(tick.late)
        self.state.gaps += tick.gaps
        self.state.order.append("tick")
        if len(self.state.dues) == self.state.slow:
            clock().spend(self.takes)

    def on_event(self, event: Event) -> None:
        self.state.order.append(event.key)

    def on_timer(self, timer: Timer) -> None:
        self.state.order.append(f"{timer.name} {timer.late}")


_simulations: list[Simulation[Book]] = []


def clock() -> Simulation[Book]:
    return _simulations[-1]


def simulated(bot: type[Worker[Book]], at: datetime = NOON) -> Simulation[Book]:
    _simulations[:] = [Simulation(bot, at=at)]
    return clock()


def seconds(bot: Simulation[Book]) -> list[float]:
    """When its ticks were due, from noon."""
    return [due / SECOND - FIRST for due in bot.state.dues]


@pytest.mark.parametrize("tick", ["100us", "10ms", "100ms", "125ms", "1s"])
def test_the_first_tick_is_at_the_time_that_the_test_gives(tick: str) -> None:
    bot = type("Timed", (Bot,), {"tick": tick, "takes": "0s"})
    with simulated(bot) as simulation:
        simulation.ticks(2)
        assert simulation.state.dues[0] == FIRST * SECOND
        assert simulation.state.lates == [0, 0]


# --- overruns ---------------------------------------------------------------------------------------------------------


def test_an_overrun_skips_the_ticks_due_meanwhile_with_its_cause() -> None:
    with simulated(Bot) as bot:
        bot.ticks(3)
        assert seconds(bot) == [0, 3, 4]
        assert bot.state.lates == [0, SECOND // 2, 0]
        assert bot.state.gaps == [Gap(FIRST + 1, FIRST + 2, "skipped", f"tick {FIRST} took 3.5s")]


def test_with_catch_up_every_tick_is_run_though_late() -> None:
    class CatchesUp(Bot):
        overrun = "catch-up"

    with simulated(CatchesUp) as bot:
        bot.ticks(5)
        assert seconds(bot) == [0, 1, 2, 3, 4]
        assert bot.state.lates == [0, 2_500_000_000, 1_500_000_000, 500_000_000, 0]
        assert bot.state.gaps == []


def test_ticks_that_are_caught_up_do_not_starve_events() -> None:
    class CatchesUp(Bot):
        overrun = "catch-up"

    with simulated(CatchesUp) as bot:
        bot.ticks(1)
        bot.put("fill-1", {})
        bot.ticks(3)
        assert bot.state.order[:3] == ["tick", "fill-1", "tick"]


def test_an_overrun_of_less_than_a_slot_skips_nothing() -> None:
    class Slow(Bot):
        takes = "1500ms"

    with simulated(Slow) as bot:
        bot.ticks(3)
        assert seconds(bot) == [0, 1, 2]
        assert bot.state.lates == [0, SECOND // 2, 0]


def test_a_timer_due_during_a_slow_turn_has_its_lateness() -> None:
    class Arms(Bot):
        def on_event(self, event: Event) -> None:
            self.set_timer("exit", after="2s")

    with simulated(Arms) as bot:
        bot.put("arm", {})
        bot.ticks(2)
        assert bot.state.order[:2] == ["tick", f"exit {2 * SECOND}"]


def test_a_bot_that_is_always_late_can_be_handed_over() -> None:
    """There is never time between two of its turns, and the copy for the new worker takes a little of theirs."""

    class AlwaysLate(Bot):
        def on_tick(self, tick: Tick[Book]) -> None:
            super().on_tick(tick)
            clock().spend("1200ms")

    with simulated(AlwaysLate) as bot:
        bot.ticks(3)
        bot.hand_over(Bot)
        bot.ticks(2)
        assert bot.state.lates[-1] == 0


# --- a clock that is stepped ------------------------------------------------------------------------------------------


class Quick(Bot):
    takes = "0s"


def test_a_step_forward_leaves_a_gap_that_names_the_clock() -> None:
    with simulated(Quick) as bot:
        bot.ticks(2)
        bot.step_clock("10s")
        bot.ticks(2)
        assert seconds(bot) == [0, 1, 11, 12]
        assert bot.state.gaps == [Gap(FIRST + 2, FIRST + 10, "missed", "clock stepped +10s")]
        steps = [frame.timing.step for frame in bot.frames if frame.timing.step is not None]
        assert steps == [ClockStep(steps[0].at, 10 * SECOND)]


def test_catch_up_does_not_run_ticks_that_a_clock_step_skipped() -> None:
    class CatchesUp(Quick):
        overrun = "catch-up"

    with simulated(CatchesUp) as bot:
        bot.ticks(2)
        bot.step_clock("1h")
        bot.ticks(2)
        assert len(bot.state.dues) == 4
        assert sum(map(len, bot.state.gaps)) == 3599


def test_after_a_step_back_no_tick_runs_twice_and_the_next_is_on_the_grid() -> None:
    with simulated(Quick) as bot:
        bot.ticks(5)
        bot.step_clock("-900ms")
        bot.advance("1800ms")
        assert seconds(bot) == [0, 1, 2, 3, 4]
        bot.ticks(2)
        assert seconds(bot) == [0, 1, 2, 3, 4, 5, 6]
        assert bot.state.gaps == []


@pytest.mark.parametrize("by", ["-3s", "-1h"])
def test_after_a_large_step_back_the_indices_go_on_at_once_and_none_is_used_twice(by: str) -> None:
    with simulated(Quick) as bot:
        bot.ticks(5)
        bot.step_clock(by)
        bot.advance("5s")
        assert len(bot.state.dues) >= 9
        ticks = [frame for frame in bot.frames if frame.kind == "tick"]
        assert [frame.seq for frame in ticks] == [FIRST + number for number in range(len(ticks))]
        # They lie where they did on the wall clock, and each says how far its index is ahead of that.
        assert all(frame.timing.due == (frame.seq - frame.timing.ahead) * SECOND for frame in ticks)
        assert [frame.timing.step is not None for frame in ticks] == [
            number == 5 for number in range(len(ticks))
        ]
        assert bot.state.gaps == []


def test_a_grid_that_was_moved_stays_so_for_the_next_worker_and_through_a_snapshot() -> None:
    class New(Quick):
        pass

    with simulated(Quick) as bot:
        bot.ticks(3)
        bot.step_clock("-1h")
        bot.ticks(3)
        bot.hand_over(New)
        bot.ticks(3)
        assert type(bot.leader) is New
        ticks = [frame for frame in bot.frames if frame.kind == "tick"]
        assert [frame.seq for frame in ticks] == [FIRST + number for number in range(len(ticks))]
        assert bot.state.gaps == []


def test_ticks_during_a_suspension_are_missed_with_that_cause() -> None:
    with simulated(Quick) as bot:
        bot.ticks(2)
        bot.clock.suspend(3600 * SECOND)
        bot.ticks(2)
        assert bot.state.gaps == [Gap(FIRST + 2, FIRST + 3600, "missed", "the machine was suspended for 1h")]


@pytest.mark.parametrize("by", ["5s", "-5s"])
def test_a_clock_step_in_the_probation_does_not_roll_back(by: str) -> None:
    class New(Quick):
        pass

    with simulated(Quick) as bot:
        bot.ticks(2)
        bot.hand_over(New)
        bot.ticks(1)
        bot.step_clock(by)
        bot.advance("15s")
        assert type(bot.leader) is New
        assert bot.rolled_back == ""
        seqs = [frame.seq for frame in bot.frames if frame.kind == "tick"]
        assert len(seqs) == len(set(seqs))


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_tick_knows_the_windows_that_are_open_when_it_is_due() -> None:
    class Windowed(Worker[Book]):
        windows = [
            Window("1m", opens="-20s", closes="-5s", name="snipe"),
            Window("30s", opens="0s", closes="11s", name="calm", protected=False),
        ]

        def on_tick(self, tick: Tick[Book]) -> None:
            self.state.order.append(" ".join(tick.windows))
            assert (tick.window("snipe") is None) == ("snipe" not in tick.windows)

    with simulated(Windowed) as bot:
        bot.ticks(60)
        expected = ["calm"] * 11 + [""] * 19 + ["calm"] * 10 + ["snipe calm"] + ["snipe"] * 14 + [""] * 5
        assert bot.state.order == expected


def test_a_window_with_a_zone_opens_by_that_zones_local_time() -> None:
    class Opening(Worker[Book]):
        tick = "30m"
        windows = [Window("1d", opens="9h30m", closes="16h", zone="America/New_York", name="open")]

        def on_tick(self, tick: Tick[Book]) -> None:
            if tick.window("open"):
                self.state.dues.append(tick.due)

    winter, summer = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 7, 6, tzinfo=UTC)
    for day, opens in ((winter, 14.5), (summer, 13.5)):
        # From an hour before the summer's opening: each simulated second takes its time.
        with simulated(Opening, day + timedelta(hours=13)) as bot:
            bot.ticks(17)
            midnight = int(day.timestamp()) * SECOND
            assert [(due - midnight) / SECOND / 3600 for due in bot.state.dues] == [
                opens + half / 2 for half in range(13)
            ]


# --- another grid -----------------------------------------------------------------------------------------------------


def test_a_handoff_to_half_the_interval_and_back_keeps_the_position_in_time() -> None:
    class Half(Quick):
        tick = "500ms"

    class Back(Quick):
        pass

    with simulated(Quick) as bot:
        bot.ticks(3)
        bot.hand_over(Half, ticks=0)
        bot.ticks(4)
        assert seconds(bot) == [0, 1, 2, 2.5, 3, 3.5, 4]
        bot.hand_over(Back, ticks=0)
        bot.ticks(2)
        assert seconds(bot) == [0, 1, 2, 2.5, 3, 3.5, 4, 5, 6]
        assert bot.state.gaps == []


def test_a_rollback_to_a_longer_interval_runs_no_tick_twice() -> None:
    class Half(Quick):
        tick = "500ms"

    with simulated(Quick) as bot:
        bot.ticks(3)
        bot.hand_over(Half, ticks=0)
        bot.ticks(4)
        bot.roll_back()
        bot.ticks(2)
        assert seconds(bot) == [0, 1, 2, 2.5, 3, 3.5, 4, 5, 6]
        assert bot.state.gaps == []


def test_an_interval_that_does_not_divide_the_other_goes_on_after_the_last_tick() -> None:
    class Odd(Quick):
        tick = "700ms"

    with simulated(Quick) as bot:
        bot.ticks(3)
        bot.hand_over(Odd, ticks=0)
        bot.ticks(3)
        dues = bot.state.dues
        assert dues == sorted(set(dues))
        assert all(due % 700_000_000 == 0 for due in dues[3:])
        assert 0 < dues[3] - dues[2] <= 700_000_000
        assert bot.state.gaps == []
