"""Gaps, simulated: each tick that did not run names what it was lost to, whichever process tells it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from neverblink.protocol.frame import decode_frame, encode_frame
from neverblink.protocol.grid import Gap
from neverblink.worker import Event, InDoubt, Tick, Timer, Worker
from neverblink.worker.testing import Simulation

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = int(AT.timestamp()) * 10


class Book(msgspec.Struct):
    ran: list[int] = []


class Slow(Worker[Book]):
    """Takes as long as its exchange needs."""

    tick = "100ms"

    def on_tick(self, tick: Tick[Book]) -> None:
        self.state.ran.append(tick.seq - FIRST)
        _take(f"tick {tick.seq - FIRST}")

    def on_event(self, event: Event) -> None:
        _take(f"event {event.key}")

    def on_timer(self, timer: Timer) -> None:
        _take(f"timer {timer.name}")

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        _take(f"on_lead {type(self).__name__}")

    def on_command(self, name: str, args: dict[str, Any]) -> None:
        if name == "arm":
            self.set_timer("beep", after="1ms")
        _take(f"command {name}")


class New(Slow):
    pass


_takes: dict[str, str] = {}
_simulation: list[Simulation[Book]] = []


def _take(what: str) -> None:
    time = _takes.pop(what, "")
    if time:
        _simulation[-1].spend(time)


def simulated(**takes: str) -> Simulation[Book]:
    """A simulation in which the turns with these names ("_" for a space) take so long, once each."""
    _takes.clear()
    _takes.update(
        {name.replace("_", " ").replace("on lead", "on_lead"): time for name, time in takes.items()}
    )
    _simulation[:] = [Simulation(Slow, at=AT)]
    return _simulation[-1]


def gaps(bot: Simulation[Book]) -> list[tuple[int, int, str, str]]:
    """First and last index, kind and cause of every gap in the journal."""
    return [
        (gap.first - FIRST, gap.last - FIRST, gap.kind, gap.cause.replace(str(FIRST)[:-2], ""))
        for frame in bot.frames
        for gap in frame.timing.gaps
    ]


def overran(first: int, last: int, cause: str) -> tuple[int, int, str, str]:
    return first, last, "skipped", cause


SEQ = str(FIRST)[-2:]


def test_what_the_bot_overran_right_before_a_handoff_is_skipped_and_not_missed() -> None:
    with simulated(tick_1="350ms") as bot:
        bot.ticks(2)
        bot.hand_over(New)
        bot.ticks(1)
        assert isinstance(bot.leader, New)
        assert gaps(bot) == [overran(2, 3, f"tick {int(SEQ) + 1:02d} took 350ms")]


@pytest.mark.parametrize("how", ["roll back", "standby"])
def test_it_is_also_skipped_when_the_old_code_or_a_standby_goes_on(how: str) -> None:
    with simulated(tick_2="350ms") as bot:
        if how == "roll back":
            bot.hand_over(New)
        else:
            bot.stand_by()
        bot.ticks(3)
        if how == "roll back":
            bot.roll_back()
        else:
            bot.crash()
        bot.ticks(1)
        assert gaps(bot) == [overran(3, 4, f"tick {int(SEQ) + 2:02d} took 350ms")]


def test_an_overrun_by_an_event_a_timer_or_a_command_is_named_whoever_runs_the_next_tick() -> None:
    with simulated(event_fill="250ms") as bot:
        bot.ticks(1)
        bot.put("fill", 1, to="leader")
        bot.hand_over(New)
        bot.ticks(2)
        assert gaps(bot) == [overran(1, 1, "event fill took 250ms")]
    with simulated(timer_beep="250ms") as bot:
        bot.ticks(1)
        bot.send("arm")
        bot.advance("1ms")
        bot.hand_over(New)
        bot.ticks(2)
        [gap] = gaps(bot)
        assert gap[2] == "skipped"
        assert gap[3] in ("timer beep took 250ms", "a timer took 250ms")
    with simulated(command_think="450ms") as bot:
        bot.ticks(1)
        bot.send("think")
        bot.hand_over(New)
        bot.ticks(2)
        [gap] = gaps(bot)
        assert gap[2] == "skipped"
        assert gap[3] in ("command think took 450ms", "a command took 450ms")


def test_a_slow_on_lead_takes_only_its_own_ticks() -> None:
    with simulated(tick_1="350ms", on_lead_New="250ms") as bot:
        bot.ticks(2)
        bot.hand_over(New, ticks=0)
        bot.ticks(2)
        skipped, missed = gaps(bot)
        assert skipped == overran(2, 3, f"tick {int(SEQ) + 1:02d} took 350ms")
        assert missed[2:] == ("missed", "on_lead took 250ms")


def test_a_leader_that_dies_in_a_turn_overran_nothing_the_ticks_are_missed() -> None:
    class Dying(Slow):
        def on_tick(self, tick: Tick[Book]) -> None:
            self.state.ran.append(tick.seq - FIRST)
            if tick.seq == FIRST + 2 and len(_simulation[-1].frames) < 6:
                _simulation[-1].spend("350ms")
                _simulation[-1].kill()

    _takes.clear()
    _simulation[:] = [Simulation(Dying, at=AT)]
    with _simulation[-1] as bot:
        bot.stand_by()
        bot.ticks(4)
        assert [gap[2:] for gap in gaps(bot)] == [("missed", "w1 died")]


def test_a_follower_whose_copy_was_made_right_after_an_overrun_knows_of_it() -> None:
    with simulated(tick_0="350ms") as bot:
        bot.ticks(1)
        bot.stand_by()
        bot.crash()
        bot.ticks(1)
        assert gaps(bot) == [overran(1, 2, f"tick {SEQ} took 350ms")]


def test_a_frame_that_names_a_gap_reads_back_as_it_was() -> None:
    with simulated(tick_1="350ms") as bot:
        bot.ticks(3)
        frame = bot.frames[-1]
        assert decode_frame(encode_frame(frame)).timing.gaps == (
            Gap(FIRST + 2, FIRST + 3, "skipped", f"tick {FIRST + 1} took 350ms"),
        )
