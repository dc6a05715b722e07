"""The watchdog's rules: which leader is slow or dead, and that no leader is killed unobserved."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.supervisor.bot.hang_rules import HangRules, HangVerdict, Observation
from neverblink.supervisor.config.hang_limits import HangLimits
from neverblink.supervisor.system.process import ProcessActivity

MS = 1_000_000
S = 1000 * MS
BOUNDS = HangLimits(hang_after=10 * S, stuck_after=60 * S)
EVERY = 500 * MS
HOUR = 3600 * S


class JournalBuilder:
    """A leader that is checked repeatedly."""

    def __init__(self, bounds: HangLimits = BOUNDS, interval: int = 100 * MS) -> None:
        self.watchdog = HangRules(bounds, EVERY)
        self.next = Observation(
            mono=0, wall=1000 * HOUR, messages=0, number=0, written=("1", 0), interval=interval, decision="",
            doing=ProcessActivity("S"),
        )  # fmt: skip
        self.verdict = self.watchdog.look(self.next)

    def goes_on(
        self, seconds: float, *, step: int = EVERY, speaks: bool = False, ticks: bool = False, writes: bool = False,
        computes: bool = False,
    ) -> list[str]:  # fmt: skip
        """Look at it for so long; return what was thought of it, each opinion once."""
        thought: list[str] = []
        for _ in range(round(seconds * S / step)):
            now, doing = self.next, self.next.doing
            if computes and doing is not None:
                doing = msgspec.structs.replace(doing, cpu=doing.cpu + step // 2)
            self.next = msgspec.structs.replace(
                now,
                mono=now.mono + step,
                wall=now.wall + step,
                messages=now.messages + (speaks or ticks),
                number=now.number + ticks,
                written=("1", now.written[1] + 100 * (ticks or writes)),
                doing=doing,
            )
            # The process of a leader that makes progress is not examined, and the verdict must be the same.
            unseen = msgspec.structs.replace(self.next, doing=None)
            self.verdict = self.watchdog.look(unseen if self.watchdog.moves(self.next) else self.next)
            if self.verdict.what not in thought[-1:]:
                thought.append(self.verdict.what)
        return thought

    def is_now(self, **so: object) -> None:
        self.next = msgspec.structs.replace(self.next, **so)


def test_a_report_and_an_ended_turn_count_as_progress() -> None:
    builder = JournalBuilder()
    assert not builder.watchdog.moves(builder.next)
    builder.is_now(messages=1)
    assert not builder.watchdog.moves(builder.next)
    builder.is_now(number=1)
    assert builder.watchdog.moves(builder.next)
    builder.is_now(messages=0, written=("1", 100))
    assert not builder.watchdog.moves(builder.next)


def test_a_ticking_leader_is_healthy() -> None:
    builder = JournalBuilder()
    assert builder.goes_on(120, ticks=True) == ["well"]
    assert builder.verdict == HangVerdict("well")


@pytest.mark.parametrize(
    ("doing", "so", "does", "bound"),
    [
        (ProcessActivity("S"), {}, "it sleeps and computes nothing", 10),
        (ProcessActivity("T"), {}, "it is stopped", 10),
        (ProcessActivity("T"), {"speaks": True}, "it is stopped", 10),
        (ProcessActivity("D"), {}, "it waits for a disk", 60),
        (ProcessActivity("R"), {"computes": True}, "it computes", 60),
        (ProcessActivity("S"), {"computes": True}, "it computes", 60),
        (ProcessActivity("S"), {"speaks": True}, "it still reports", 60),
        (ProcessActivity("S", tracer=77), {}, "a debugger is attached to it (pid 77)", None),
        (ProcessActivity("t"), {}, "a debugger is attached to it (pid 0)", None),
    ],
)
def test_a_leader_without_a_turn_is_killed_after_the_limit_for_its_state(
    doing: ProcessActivity, so: dict[str, bool], does: str, bound: int | None
) -> None:
    builder = JournalBuilder()
    builder.goes_on(5, ticks=True)
    builder.is_now(doing=doing)
    assert builder.goes_on(9, **so) == ["well", "slow"]
    assert builder.verdict.reason.endswith(does)
    if bound is None:
        assert builder.goes_on(24 * 3600, step=10 * EVERY) == ["slow"]
        return
    assert builder.goes_on(bound - 10, **so) == (["slow"] if bound > 10 else [])
    assert builder.goes_on(3, **so)[-1] == "dead"
    assert builder.verdict.reason.endswith(does)


def test_a_leader_in_a_decision_has_the_longer_limit() -> None:
    builder = JournalBuilder()
    builder.is_now(decision="enter")
    assert builder.goes_on(58) == ["well", "slow"]
    assert builder.goes_on(4) == ["slow", "dead"]
    assert "it is in decision enter" in builder.verdict.reason


def test_a_leader_stopped_in_a_decision_has_the_shorter_limit() -> None:
    builder = JournalBuilder()
    builder.is_now(decision="enter", doing=ProcessActivity("T"))
    assert builder.goes_on(12) == ["well", "slow", "dead"]


def test_a_leader_that_ticks_again_has_the_full_limit_again() -> None:
    builder = JournalBuilder()
    assert builder.goes_on(9) == ["well", "slow"]
    assert builder.goes_on(1, ticks=True) == ["well"]
    assert builder.goes_on(9) == ["well", "slow"]


def test_a_leader_whose_messages_do_not_arrive_is_judged_by_its_journal() -> None:
    builder = JournalBuilder()
    assert builder.goes_on(3600, step=EVERY, writes=True) == ["well", "slow"]
    assert builder.verdict.reason.endswith("no tick is due")


def test_a_leader_whose_next_tick_is_in_an_hour_is_not_overdue() -> None:
    builder = JournalBuilder(interval=HOUR)
    builder.is_now(wall=1000 * HOUR + S)
    assert builder.goes_on(3000, speaks=True) == ["well"]
    assert builder.goes_on(590) == ["well", "slow"]
    assert builder.verdict.reason.endswith("no tick is due")
    # The hour strikes.
    assert builder.goes_on(30) == ["slow", "dead"]


def test_setting_the_clock_back_makes_no_tick_overdue() -> None:
    builder = JournalBuilder()
    builder.is_now(wall=builder.next.wall - HOUR)
    assert builder.goes_on(600, speaks=True) == ["well"]


def test_an_ended_process_is_not_judged() -> None:
    builder = JournalBuilder()
    builder.is_now(doing=None)
    assert builder.goes_on(600) == ["well"]
    builder.is_now(doing=ProcessActivity("Z"))
    assert builder.goes_on(600) == ["well"]


def test_time_in_which_the_supervisor_was_stopped_does_not_count() -> None:
    builder = JournalBuilder()
    builder.goes_on(5, ticks=True)
    assert builder.goes_on(60, step=60 * S) in (["well"], ["slow"])
    assert builder.goes_on(5, ticks=True) == ["well"]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["S", "T", "R", "D", "t"]),
        st.booleans(),  # speaks
        st.booleans(),  # ends a turn
        st.booleans(),  # computes
        st.booleans(),  # in a decision
        st.sampled_from([EVERY // 10, EVERY, EVERY * 3, 60 * S]),
    ),
    max_size=200,
)


@given(EVENTS)
def test_no_leader_is_killed_before_it_was_observed_for_hang_after(
    moments: list[tuple[str, bool, bool, bool, bool, int]],
) -> None:
    builder = JournalBuilder(HangLimits(hang_after=2 * S, stuck_after=5 * S))
    idle = silent = 0
    for state, speaks, ticks, computes, decides, step in moments:
        builder.is_now(doing=ProcessActivity(state, builder.next.doing.cpu if builder.next.doing else 0))
        builder.is_now(decision="enter" if decides else "")
        builder.goes_on(step / S, step=step, speaks=speaks, ticks=ticks, computes=computes)
        idle = 0 if ticks else idle + min(step, 2 * EVERY)
        silent = 0 if speaks or ticks else silent + min(step, 2 * EVERY)
        what = builder.verdict.what
        if what == "dead":
            assert state != "t"
            assert (max(idle, silent) if state == "T" else idle) >= 2 * S
            if decides and state != "T":
                assert idle >= 5 * S
        if ticks:
            assert what == "well"
        # A leader that does nothing at all is always killed.
        if state == "T" and max(idle, silent) >= 2 * S:
            assert what == "dead"
        if state == "S" and not decides and idle >= 5 * S + 2 * EVERY:
            assert what == "dead"


def test_a_leader_is_not_judged_before_the_tick_that_it_reported_as_due() -> None:
    builder = JournalBuilder()
    # Whatever our wall clock shows: it is an hour ahead.
    builder.is_now(wall=builder.next.wall + HOUR, due=builder.next.mono + 600 * S)
    assert builder.goes_on(590, speaks=True) == ["well"]
    # And when it is due, and nothing comes of it, it is.
    assert "dead" in builder.goes_on(120, speaks=True)


def test_a_clock_step_does_not_excuse_a_leader_whose_tick_is_due() -> None:
    builder = JournalBuilder()
    builder.is_now(wall=builder.next.wall - HOUR, due=builder.next.mono + S)
    assert "dead" in builder.goes_on(120, speaks=True)
