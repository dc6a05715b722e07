"""The audit of correct journals: its counts, and its report on handoffs, events, decisions, windows and spans."""

from __future__ import annotations

from typing import Any

from neverblink.protocol.frame import COMMAND, NumberGap, Schema, Timing, Traffic
from neverblink.protocol.grid import ClockStep, Gap
from neverblink.protocol.journal import Rows
from neverblink.protocol.window import Window
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import Found, UnfinishedRecord
from neverblink.supervisor.audit.report import AuditReport, Missing
from neverblink.supervisor.audit.scope import Moment, Scope, Seq

from .journal_builder import MS, SECOND, JournalBuilder


def judged(builder: JournalBuilder, **span: Any) -> AuditReport:
    return audit(builder.found(), **span)


def sound(builder: JournalBuilder, **span: Any) -> AuditReport:
    report = judged(builder, **span)
    assert report.broken == []
    assert report.ok
    return report


def findings(report: AuditReport) -> list[tuple[int, str]]:
    return [(broken.invariant, broken.text) for broken in report.broken]


def only(report: AuditReport, invariant: int, text: str) -> None:
    """One thing is broken, and it is this."""
    assert not report.ok
    assert [broken.invariant for broken in report.broken] == [invariant], findings(report)
    assert text in report.broken[0].text


# --- correct journals ---


def test_an_empty_journal_has_no_findings() -> None:
    report = audit([])
    assert report.ok
    assert (report.ticks, report.first, report.chain.frames, report.interval) == (0, None, 0, None)


def test_ticks_without_incidents_are_counted() -> None:
    report = sound(JournalBuilder().begin().ticks(10))
    assert (report.ticks, report.first, report.last) == (10, 1001, 1010)
    assert (report.missed, report.doubled, report.skipped) == (0, 0, [])
    assert report.interval == SECOND
    assert report.starts == 1
    assert report.late_us == 100.0
    assert report.chain.frames == 11
    assert (report.chain.first, report.chain.last) == (0, 10)


def test_a_handoff_is_listed_with_its_facts() -> None:
    builder = JournalBuilder().begin().ticks(3)
    builder.hand("w2", "v2", deployment=7, blackout=240_000).tick(late=61_500).ticks(2)
    report = sound(builder)
    assert report.ticks == 6
    (handoff,) = report.handoffs
    assert (handoff.deployment, handoff.cause, handoff.seq) == (7, "handoff", 1004)
    assert (handoff.from_, handoff.from_release, handoff.to, handoff.to_release) == ("w1", "v1", "w2", "v2")
    assert (handoff.blackout_us, handoff.late_us, handoff.missed) == (240.0, 61.5, 0)
    assert report.epochs == (1, 2)


def test_a_handoff_with_missed_ticks_has_their_number() -> None:
    builder = JournalBuilder().begin().ticks(3).hand("w2", "v2")
    builder.tick(Gap(1004, 1005, "missed", "handoff"))
    report = sound(builder)
    assert report.handoffs[0].missed == 2
    assert report.missed == 2
    assert report.missing == [Missing(1004, 1005, "handoff")]


def test_takebacks_and_failovers_are_listed_as_transfers() -> None:
    builder = JournalBuilder().begin().ticks(2).give("w2")
    builder.lead("w1", "takeback", blackout=250 * MS).ticks(2)
    builder.lead("w3", "failover", release="v3").ticks(2)
    report = sound(builder)
    assert [transfer.cause for transfer in report.handoffs] == ["takeback", "failover"]
    assert [transfer.blackout_us for transfer in report.handoffs] == [250_000.0, None]
    assert report.handoffs_total == 2


def test_a_transfer_without_a_later_tick_is_listed() -> None:
    (handoff,) = sound(JournalBuilder().begin().ticks(2).hand("w2", "v2")).handoffs
    assert handoff.seq is None
    assert handoff.late_us is None


def test_skipped_and_missed_gaps_are_distinguished() -> None:
    builder = JournalBuilder().begin().tick()
    builder.tick(
        Gap(1002, 1004, "skipped", "tick 1001 took 3100ms"), Gap(1005, 1006, "missed", "clock stepped +2s")
    )
    report = sound(builder)
    assert report.skipped == [Missing(1002, 1004, "tick 1001 took 3100ms")]
    assert report.skipped_total == 3
    assert report.missing == [Missing(1005, 1006, "clock stepped +2s")]
    assert (report.missed, report.ticks, report.last) == (2, 2, 1007)


def test_a_clock_step_is_listed() -> None:
    builder = JournalBuilder().begin().tick()
    builder.seq += 1
    builder.frame(
        "tick",
        timing=Timing(due=1002 * SECOND, mono=builder.mono + MS, step=ClockStep(1002 * SECOND, -5 * MS)),
    )
    assert [(change.seq, change.by_us) for change in sound(builder).clock] == [(1002, -5000.0)]


def test_a_new_release_may_tick_on_another_grid() -> None:
    for interval, first in ((250 * MS, 4013), (2 * SECOND, 502)):
        builder = JournalBuilder().begin().ticks(3).hand("w2", "v2")
        builder.interval, builder.seq = interval, first - 1
        report = sound(builder.ticks(5))
        assert (report.interval, report.ticks, report.last) == (interval, 8, first + 4)


def test_events_are_counted_as_applied_repeated_or_waiting() -> None:
    builder = (
        JournalBuilder()
        .begin()
        .receive("a", "b")
        .tick()
        .event("a")
        .event("b")
        .receive("c", "d")
        .tick()
        .event("c")
    )
    builder.tick(traffic=Traffic((), (), 3))
    report = sound(builder)
    assert (report.events.received, report.events.applied, report.events.repeated) == (4, 3, 3)
    assert report.events.waiting == ["d"]
    assert (report.events.twice, report.events.never) == ([], [])


def test_commands_of_operators_are_not_counted_as_events() -> None:
    first, second = f"{COMMAND}cmd-1", f"{COMMAND}cmd-2"
    builder = JournalBuilder().begin().receive("a", first, second).tick().event("a").event(first)
    report = sound(builder)
    assert (report.events.received, report.events.applied, report.events.waiting) == (1, 1, [])
    assert (report.commands.received, report.commands.applied, report.commands.waiting) == (2, 1, [second])
    stopped = sound(builder.frame("stop"))
    assert (stopped.events.stopped, stopped.commands.stopped, stopped.commands.waiting) == (0, 1, [])


def test_the_new_worker_applies_events_left_by_the_old_one() -> None:
    builder = JournalBuilder().begin().receive("a", "b").tick().event("a").hand("w2", "v2")
    # The successor has received all of them itself, as its first frame records.
    builder.receive("a", "b", "c").tick().event("b").event("c")
    events = sound(builder).events
    assert (events.received, events.applied, events.waiting) == (3, 3, [])


def test_events_that_waited_when_the_bot_stopped_are_not_lost() -> None:
    builder = JournalBuilder().begin().receive("a", "b").tick().event("a").frame("stop")
    builder.begin("w2").receive("c").tick().event("c")
    events = sound(builder).events
    assert (events.stopped, events.never, events.waiting) == (1, [], [])


def test_timers_run_once_or_periodically() -> None:
    due = 1002 * SECOND
    builder = (
        JournalBuilder()
        .begin()
        .arm("exit", due)
        .arm("poll", due, 5 * SECOND)
        .arm("later", due + SECOND)
        .ticks(2)
    )
    builder.timer("exit").timer("poll").hand("w2", "v2").tick()
    builder.timer("later").ticks(4).timer("poll")
    timers = sound(builder).timers
    assert (timers.fired, timers.twice, timers.armed, timers.late_us) == (4, 0, 1, 1000.0)


def test_timers_in_a_snapshot_are_known() -> None:
    builder = JournalBuilder()
    builder.arm("exit", 1002 * SECOND)
    builder.arming.clear()
    builder.begin().ticks(2).timer("exit")
    assert sound(builder).timers.fired == 1


def test_decisions_are_listed_with_their_outcome() -> None:
    builder = JournalBuilder().begin().tick()
    builder.conclude(builder.decide())
    builder.conclude(builder.decide(), "raised OrderRefused")
    left = builder.tick().decide("exit")
    decisions = sound(builder).decisions
    assert (decisions.opened, decisions.closed, decisions.raised, decisions.open) == (3, 2, 1, [left])


def test_decisions_left_open_by_a_dead_leader_are_in_doubt_for_its_successor() -> None:
    builder = JournalBuilder().begin().tick()
    left = builder.decide()
    builder.lead("w2", "failover").tick()
    decisions = sound(builder).decisions
    assert (decisions.in_doubt, decisions.open) == ([left], [])
    # The successor died as well, before it closed the decision: it is reported to the next one again.
    builder.lead("w3", "failover", in_doubt=[left]).tick().conclude(left)
    assert sound(builder).decisions.in_doubt == [left]


def test_decisions_whose_turn_died_are_in_doubt_for_the_successor() -> None:
    builder = JournalBuilder().begin().tick()
    settled = builder.decide()
    builder.conclude(settled).tick()
    lost = builder.decide()
    builder.conclude(lost).lead("w2", "failover", in_doubt=[lost]).tick()
    assert sound(builder).decisions.in_doubt == [lost]


def test_decisions_in_on_lead_precede_the_first_frame_of_the_epoch() -> None:
    builder = JournalBuilder().begin().tick().give("w2")
    id = builder.decide("reconcile", epoch=2)
    builder.open.clear()
    builder.lead("w2", "handoff").conclude(id)
    assert sound(builder).decisions.closed == 1


def test_consecutive_segments_are_one_journal() -> None:
    builder = JournalBuilder().begin().ticks(3).segment([Rows("candles", [(b"a", b"b")])]).ticks(3)
    report = sound(builder)
    assert (report.ticks, report.chain.frames) == (6, 7)


def test_a_journal_with_a_pruned_beginning_is_ok() -> None:
    builder = JournalBuilder().begin().receive("a").tick().event("a").ticks(3)
    builder.segment().ticks(2)
    report = audit(builder.found()[1 + len(builder.segments[0]) :])
    assert report.ok
    assert (report.ticks, report.first) == (2, 1005)
    # What was applied before is known all the same.
    builder.event("a")
    report = audit(builder.found()[1 + len(builder.segments[0]) :])
    only(report, 7, "event 'a' was applied twice")


def test_resets_and_schema_changes_are_listed() -> None:
    builder = JournalBuilder().begin().ticks(2).give("w2")
    builder.schema = Schema(2, "b")
    builder.lead("w2", "handoff").ticks(2)
    builder.schema = Schema(1, "a")
    builder.frame("reset", epoch=3)
    builder.lead("w1", "failover").tick()
    report = sound(builder)
    assert [(change.before, change.after) for change in report.schemas] == [(1, 2), (2, 1)]
    assert report.resets == [7]


def test_a_torn_tail_is_not_a_fault() -> None:
    found: list[Found] = JournalBuilder().begin().ticks(2).found()
    report = audit([*found, UnfinishedRecord(1, 99, 7, "a record is cut off")])
    assert report.ok
    assert [(tail.segment, tail.offset, tail.bytes) for tail in report.torn] == [(1, 99, 7)]


# --- windows ---

MINUTE = Window("1m", opens="-20s", closes="-5s", name="minute")


def test_windows_are_covered_when_each_of_their_ticks_ran() -> None:
    builder = JournalBuilder(seq=60 * 20 - 1).begin().ticks(60 * 5)
    found = sound(builder, windows=[MINUTE]).windows["minute"]
    assert (found.total, found.covered, found.uncovered) == (5, 5, [])


def test_a_window_with_a_missed_tick_is_not_covered() -> None:
    at = 60 * 21 + 44
    builder = JournalBuilder(seq=60 * 20 - 1).begin().ticks(60 + 40)
    builder.tick(Gap(60 * 21 + 40, at, "skipped", "slow"), Gap(at + 1, at + 2, "missed", "gone")).ticks(200)
    found = sound(builder, windows=[MINUTE]).windows["minute"]
    assert found.total - found.covered == 1
    opens = (60 * 22 - 20) * SECOND
    assert [(span.opens, span.closes) for span in found.uncovered] == [(opens, opens + 15 * SECOND)]


def test_a_missed_tick_outside_all_windows_affects_no_window() -> None:
    builder = JournalBuilder(seq=60 * 20 - 1).begin().ticks(5)
    builder.tick(Gap(60 * 20 + 5, 60 * 20 + 39, "missed", "gone")).ticks(100)
    found = sound(builder, windows=[MINUTE]).windows["minute"]
    assert (found.total, found.covered) == (2, 2)


def test_a_window_between_two_ticks_has_no_tick_to_miss() -> None:
    builder = JournalBuilder(interval=60 * SECOND, seq=20).begin().tick()
    builder.tick(Gap(22, 23, "missed", "gone"))
    found = sound(builder, windows=[MINUTE]).windows["minute"]
    assert (found.total, found.covered) == (4, 4)


def test_a_window_that_exceeds_the_span_is_not_judged() -> None:
    builder = JournalBuilder(seq=60 * 20 - 1).begin().ticks(50)
    assert sound(builder, windows=[MINUTE]).windows["minute"].total == 0


# --- spans ---


def test_a_span_can_be_given_by_index() -> None:
    builder = JournalBuilder().begin().ticks(4).tick(Gap(1005, 1010, "missed", "gone")).ticks(4)
    report = sound(builder, since=Seq(1003), until=Seq(1007))
    assert (report.ticks, report.first, report.last, report.missed) == (2, 1003, 1007, 3)
    report = sound(builder, since=Seq(1008), until=Seq(1012))
    assert (report.ticks, report.first, report.last, report.missed) == (2, 1008, 1012, 3)


def test_a_span_can_be_given_by_time() -> None:
    builder = JournalBuilder().begin().ticks(4).tick(Gap(1005, 1010, "missed", "gone")).ticks(4)
    report = sound(builder, since=Moment(1003 * SECOND - 1), until=Moment(1007 * SECOND + 1))
    assert (report.ticks, report.first, report.last, report.missed) == (2, 1003, 1007, 3)


def test_a_span_is_judged_with_the_state_at_its_beginning() -> None:
    builder = JournalBuilder().begin().receive("a").tick().event("a").ticks(5).event("a").ticks(5)
    only(judged(builder, since=Seq(1005)), 7, "event 'a' was applied twice")
    sound(builder, until=Seq(1005))
    sound(builder, since=Seq(1007))


def test_events_that_wait_at_the_end_of_a_span_are_not_lost() -> None:
    builder = JournalBuilder().begin().receive("a").tick().ticks(3).event("a").tick()
    assert sound(builder, until=Seq(1002)).events.waiting == ["a"]
    assert sound(builder).events.waiting == []


def test_a_span_is_clipped_by_index_or_by_time() -> None:
    assert Scope(Seq(5), Seq(9)).clip(1, 20, SECOND) == (5, 9)
    assert Scope(Moment(4 * SECOND + 1), Moment(9 * SECOND)).clip(1, 20, SECOND) == (5, 9)
    assert Scope(Seq(5)).clip(1, 4, SECOND) is None


def test_a_leader_that_died_and_had_a_successor_is_listed() -> None:
    builder = JournalBuilder().begin("w1", "v1")
    builder.ticks(3)
    doubt = builder.decide("enter")
    builder.lead("w2", "failover", release="v1")
    builder.tick(Gap(builder.seq + 1, builder.seq + 2, "missed", "w1 died"))
    builder.lead("w3", "first", release="v1").tick()
    report = audit(builder.found())
    assert report.ok, report.broken
    first, second = report.deaths
    assert (first.worker, first.successor, first.cause, first.missed) == ("w1", "w2", "failover", 2)
    assert (first.in_doubt, first.release, first.epoch) == ([doubt], "v1", 2)
    assert (second.worker, second.successor, second.cause, second.missed) == ("w2", "w3", "first", 0)
    assert report.deaths_total == 2


def test_all_events_that_wait_are_counted_also_where_only_the_first_are_named() -> None:
    builder = JournalBuilder().begin().receive(*(f"k{n}" for n in range(3_000))).tick()
    report = sound(builder)
    assert report.events.waiting_total == 3_000
    assert len(report.events.waiting) == 1_000


def test_an_event_that_waits_aside_is_not_lost_when_later_ones_are_applied() -> None:
    builder = JournalBuilder().begin()
    builder.tick(traffic=Traffic(("aside", "b"), ("b",), 0, (), ("aside",)))
    builder.tick(traffic=Traffic(("c",), ("c",)))
    builder.tick(traffic=Traffic(("d",), ("d",)))
    report = sound(builder)
    assert (report.events.waiting, report.events.never) == (["aside"], [])
    # It comes into line, and then it must be applied before what comes after it.
    builder.tick(traffic=Traffic(("aside",), ()))
    builder.tick(traffic=Traffic(("e",), ("e",)))
    assert [violation.invariant for violation in judged(builder).broken] == [7]


def test_events_dropped_by_a_full_inbox_and_missing_numbers_are_counted_and_break_nothing() -> None:
    builder = JournalBuilder().begin().receive("a", "b").tick()
    builder.tick(
        traffic=Traffic((), ("b",), 0, (), (), ("a",), {"s": ((1, 1), (5, 5))}, (NumberGap("s", 2, 4),))
    )
    report = sound(builder)
    assert (report.events.dropped, report.events.missing) == (1, 3)
    assert (report.events.waiting_total, report.events.never) == (0, [])
