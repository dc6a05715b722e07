"""Each kind of violation, as one fault in a correct journal; and that every single change to a journal is detected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neverblink.protocol.frame import GENESIS, Changes, Timing, decode_frame, encode_frame
from neverblink.protocol.grid import Gap
from neverblink.protocol.journal import Entry, RecordKind, Rows
from neverblink.protocol.window import Window
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import Damage, Segment
from neverblink.supervisor.audit.report import AuditReport
from neverblink.supervisor.audit.scope import Seq
from neverblink.supervisor.audit.verify import JournalCheck

from .journal_builder import MS, SECOND, JournalBuilder

MINUTE = Window("1m", opens="-20s", closes="-5s", name="minute")


def findings(report: AuditReport) -> list[tuple[int, str]]:
    return [(broken.invariant, broken.text) for broken in report.broken]


def _next(builder: JournalBuilder, **facts: Any) -> Timing:
    """The timing of the tick after the last one."""
    builder.seq += 1
    builder.mono += 10 * MS
    findings: dict[str, Any] = {"due": builder.seq * builder.interval, "took": MS, "mono": builder.mono}
    return Timing(**{**findings, **facts})


def two_leaders(builder: JournalBuilder) -> None:
    builder.hand("w2", "v2").ticks(2)
    builder.tick(epoch=1)


def ticks_after_yielding(builder: JournalBuilder) -> None:
    builder.give("w2").tick()


def ticks_after_stopping(builder: JournalBuilder) -> None:
    builder.frame("stop").tick()


def turns_at_once(builder: JournalBuilder) -> None:
    builder.give("w2").lead("w2", "handoff")
    builder.frame("tick", timing=_next(builder, took=25 * MS))


def handoff_to_another(builder: JournalBuilder) -> None:
    builder.give("w2").lead("w3", "handoff")


def handoff_of_another_order(builder: JournalBuilder) -> None:
    builder.give("w2").lead("w2", "handoff", order=99)


def handoff_from_nobody(builder: JournalBuilder) -> None:
    builder.lead("w2", "handoff")


def takeback_by_another(builder: JournalBuilder) -> None:
    builder.give("w2").lead("w3", "takeback")


def decision_of_an_old_epoch(builder: JournalBuilder) -> None:
    builder.hand("w2", "v2").tick()
    builder.conclude(builder.decide(epoch=1))


def ticks_twice(builder: JournalBuilder) -> None:
    builder.seq -= 1
    builder.tick()


def leaves_an_index_out(builder: JournalBuilder) -> None:
    builder.seq += 1
    builder.tick()


def leaves_some_out_beside_a_gap(builder: JournalBuilder) -> None:
    builder.tick(Gap(builder.seq + 2, builder.seq + 3, "skipped", "slow"))


def runs_what_it_calls_missed(builder: JournalBuilder) -> None:
    seq = builder.seq + 1
    builder.tick(Gap(seq, seq + 4, "missed", "gone"))
    builder.seq = seq + 1
    builder.tick()


def calls_missed_what_ran(builder: JournalBuilder) -> None:
    builder.tick(Gap(builder.seq, builder.seq + 1, "missed", "gone"))


def calls_missed_what_is_to_come(builder: JournalBuilder) -> None:
    seq = builder.seq + 1
    builder.frame("tick", timing=_next(builder, gaps=(Gap(seq, seq + 5, "missed", "gone"),)))


def ticks_off_the_grid(builder: JournalBuilder) -> None:
    builder.frame("tick", timing=_next(builder, due=(builder.seq + 1) * SECOND + 5))


def changes_its_grid(builder: JournalBuilder) -> None:
    builder.interval = 250 * MS
    builder.tick()


def yields_in_a_decision(builder: JournalBuilder) -> None:
    builder.decide("exit")
    builder.hand("w2", "v2")


def stops_in_a_decision(builder: JournalBuilder) -> None:
    builder.decide("exit")
    builder.frame("stop")


def successor_not_told(builder: JournalBuilder) -> None:
    builder.decide("exit")
    builder.lead("w2", "failover", in_doubt=())


def successor_not_told_of_the_last_turn(builder: JournalBuilder) -> None:
    builder.conclude(builder.decide("exit"))
    builder.lead("w2", "failover", in_doubt=())


def successor_told_too_much(builder: JournalBuilder) -> None:
    builder.lead("w2", "failover", in_doubt=("1-1-1",))


def closes_what_was_not_open(builder: JournalBuilder) -> None:
    builder.conclude("1-1-1")


def opens_twice(builder: JournalBuilder) -> None:
    builder.conclude(builder.decide(id="1-1003-0"))
    builder.conclude(builder.decide(id="1-1003-0"))


def loses_a_frame(builder: JournalBuilder) -> None:
    del builder.records[-2]


def loses_its_beginning(builder: JournalBuilder) -> None:
    del builder.records[:3]


def swaps_two_frames(builder: JournalBuilder) -> None:
    builder.records[-2:] = builder.records[:-3:-1]


def repeats_a_frame(builder: JournalBuilder) -> None:
    builder.records.append(builder.records[-1])


def rewrites_a_frame(builder: JournalBuilder) -> None:
    kind, body = builder.records[-2]
    made = msgspec.structs.replace(decode_frame(body), changes=Changes({"n": b"\x07"}, {}))
    builder.records[-2] = (kind, encode_frame(made))


def goes_on_from_another_state(builder: JournalBuilder) -> None:
    builder.segment(digest=bytes(range(16))).tick()


def goes_on_from_an_earlier_state(builder: JournalBuilder) -> None:
    builder.segment(number=builder.number - 1).tick()


def begins_anew(builder: JournalBuilder) -> None:
    builder.number, builder.digest = -1, GENESIS
    builder.segment().tick()


def leaves_rows_out(builder: JournalBuilder) -> None:
    builder.segment([Rows("candles", [(b"a", b"b"), (b"c", b"d")])])
    builder.records[1] = (
        RecordKind.ROWS,
        JournalBuilder().segment([Rows("candles", [(b"a", b"b")])]).records[1][1],
    )
    builder.tick()


def writes_nonsense(builder: JournalBuilder) -> None:
    builder.records[-1] = (RecordKind.FRAME, b"\x93\x01\x02\x03")


def opens_an_epoch_twice(builder: JournalBuilder) -> None:
    builder.give("w2").lead("w2", "handoff", epoch=1)


def leads_without_saying_so(builder: JournalBuilder) -> None:
    builder.give("w2")
    builder.epoch += 1
    builder.tick()


def leads_without_saying_who(builder: JournalBuilder) -> None:
    builder.give("w2")
    builder.epoch += 1
    builder.frame("lead")


def applies_twice(builder: JournalBuilder) -> None:
    builder.receive("fill-1").tick().event("fill-1").tick().event("fill-1")


def applies_twice_across_a_handoff(builder: JournalBuilder) -> None:
    builder.receive("fill-1").tick().event("fill-1").hand("w2", "v2").receive("fill-1").tick().event("fill-1")


def never_applies(builder: JournalBuilder) -> None:
    builder.receive("fill-1").tick().receive("fill-2").tick().event("fill-2")


def loses_an_event_with_its_leader(builder: JournalBuilder) -> None:
    builder.receive("fill-1").tick().lead("w2", "failover").receive("fill-2").tick().event("fill-2")


def fires_twice(builder: JournalBuilder) -> None:
    due = (builder.seq + 1) * SECOND
    builder.arm("exit", due).tick().timer("exit").tick()
    builder.frame("timer", timing=Timing(due=due, mono=builder.mono + MS))


def fires_unasked(builder: JournalBuilder) -> None:
    builder.frame("timer", timing=Timing(due=5, mono=builder.mono + MS))


BROKEN: list[tuple[Callable[[JournalBuilder], None], int, str]] = [
    (two_leaders, 1, "epoch 1 still wrote while epoch 2 led: two leaders"),
    (two_leaders, 5, "a frame of epoch 1 came after epoch 2 had begun"),
    (ticks_after_yielding, 1, "epoch 1 wrote a tick frame after its leader had yielded"),
    (ticks_after_stopping, 1, "epoch 1 wrote a tick frame after its leader had stopped the bot"),
    (turns_at_once, 1, "a tick turn began 15.000 ms before the turn before it had ended"),
    (handoff_to_another, 1, "w3 leads by handoff (order 1) that was meant for w2 (order 1)"),
    (handoff_of_another_order, 1, "(order 99) that was meant for w2 (order 1)"),
    (handoff_from_nobody, 1, "w2 leads by handoff, but no leader had yielded"),
    (takeback_by_another, 1, "w3 took back what w1 had yielded"),
    (decision_of_an_old_epoch, 1, "of epoch 1 was opened while epoch 2 led"),
    (ticks_twice, 2, "tick 1003 ran twice"),
    (leaves_an_index_out, 2, "tick 1004 neither ran nor were recorded"),
    (leaves_some_out_beside_a_gap, 2, "tick 1004 neither ran"),
    (runs_what_it_calls_missed, 2, "tick 1006 ran after it had been recorded as not run"),
    (calls_missed_what_ran, 2, "tick 1005 records 1003 to 1004 as missed, but some of them ran"),
    (calls_missed_what_is_to_come, 2, "records 1004 to 1009 as missed, which is not before it"),
    (ticks_off_the_grid, 2, "which is not its time on the grid"),
    (changes_its_grid, 2, "which is not its time on the grid"),
    (yields_in_a_decision, 3, "(exit) was open when its worker yielded"),
    (stops_in_a_decision, 3, "(exit) was open when its worker stopped the bot"),
    (successor_not_told, 3, "(exit) was left open by a dead leader, and its successor was not informed"),
    (
        successor_not_told_of_the_last_turn,
        3,
        "(exit) was in the last turn of a dead leader, and its successor was not informed",
    ),
    (successor_told_too_much, 3, "decision 1-1-1 is listed as in doubt but was not open"),
    (closes_what_was_not_open, 3, "decision 1-1-1 was closed but was not open"),
    (opens_twice, 3, "decision 1-1003-0 was opened twice"),
    (loses_a_frame, 4, "frame 2 missing"),
    (loses_its_beginning, 4, "does not begin with a snapshot"),
    (swaps_two_frames, 4, "frame 2 comes after frame 3"),
    (repeats_a_frame, 4, "frame 3 appears twice"),
    (rewrites_a_frame, 4, "frame 3 continues another chain than the frame before it"),
    (
        goes_on_from_another_state,
        4,
        "as of frame 3, and the frames before it end with 3, of another chain",
    ),
    (
        goes_on_from_an_earlier_state,
        4,
        "opens with the state as of frame 2, goes on to frame 2, and the frames before it end with 3",
    ),
    (begins_anew, 4, "opens with the state as of frame -1"),
    (leaves_rows_out, 4, "opens with is not complete (candles: 1 rows more than there are)"),
    (writes_nonsense, 4, "a record cannot be read"),
    (opens_an_epoch_twice, 5, "epoch 1 was opened by w2 when it had been opened before"),
    (leads_without_saying_so, 5, "epoch 2 wrote a tick frame before its lead frame"),
    (leads_without_saying_who, 4, "epoch 2 began without a lead frame"),
    (applies_twice, 7, "event 'fill-1' was applied twice"),
    (applies_twice_across_a_handoff, 7, "event 'fill-1' was applied twice"),
    (never_applies, 7, "event 'fill-1' was received and never applied"),
    (loses_an_event_with_its_leader, 7, "event 'fill-1' was received and never applied"),
    (fires_twice, 7, "but none was armed for it"),
    (fires_unasked, 7, "but none was armed for it"),
]


@pytest.mark.parametrize(
    ("lie", "invariant", "text"), BROKEN, ids=[f"{lie.__name__}-{number}" for lie, number, _ in BROKEN]
)
def test_each_kind_of_break_is_detected_and_named(
    lie: Callable[[JournalBuilder], None], invariant: int, text: str
) -> None:
    builder = JournalBuilder().begin().ticks(3)
    lie(builder)
    report = audit(builder.found())
    assert not report.ok
    listed = findings(report)
    assert any(number == invariant and text in line for number, line in listed), listed


def test_each_fault_is_reported_once() -> None:
    """The rest of the journal is judged independently, however much follows the fault."""
    builder = JournalBuilder().begin().ticks(3)
    del builder.records[-1]
    builder.ticks(20).hand("w2", "v2").ticks(20)
    assert findings(audit(builder.found())) == [(4, "frame 3 missing"), (2, _unrecorded(1003))]
    assert audit(builder.found()).missed == 1
    doubled = JournalBuilder().begin().ticks(3)
    ticks_twice(doubled)
    report = audit(doubled.ticks(20).found())
    assert findings(report) == [(2, "tick 1003 ran twice")]
    assert (report.doubled, report.ticks) == (1, 24)
    report = audit(
        [*JournalBuilder().begin().ticks(3).found(), Damage(1, 77, "a record's checksum does not match")]
    )
    assert findings(report) == [(4, "segment 1 is damaged at byte 77: a record's checksum does not match")]


def test_a_span_that_ends_while_the_first_snapshot_is_written_does_not_break_it() -> None:
    """The frames of that time lie between the snapshot and its end mark."""
    builder = JournalBuilder().begin().ticks(5)
    mark = next(n for n, (kind, _) in enumerate(builder.records) if kind is RecordKind.WHOLE)
    builder.records.append(builder.records.pop(mark))
    assert findings(audit(builder.found(), until=Seq(1002))) == []


def test_damage_inside_a_snapshot_is_one_fault_for_the_audit_and_for_verify() -> None:
    found = JournalBuilder().begin().ticks(3).segment([Rows("candles", [(b"a", b"b")])]).found()
    snapshot = found.index(Segment(2, 0)) + 1
    found[snapshot + 1 :] = [Damage(2, 77, "a record's checksum does not match")]
    assert len(findings(audit(found))) == 1
    assert [problem.problem for problem in JournalCheck().check(found).problems] == [
        "a record's checksum does not match"
    ]


def test_the_audit_and_verify_find_the_same_breaks_of_the_chain() -> None:
    for lie in (loses_a_frame, swaps_two_frames, rewrites_a_frame, goes_on_from_another_state, begins_anew):
        builder = JournalBuilder().begin().ticks(3)
        lie(builder)
        found = builder.found()
        breaks = [problem.text for problem in audit(found).broken if problem.invariant == 4]
        assert [problem.problem for problem in JournalCheck().check(found).problems] == breaks, lie


def _unrecorded(seq: int) -> str:
    return f"tick {seq} neither ran nor were recorded as skipped or missed"


def test_a_missing_segment_is_reported() -> None:
    builder = JournalBuilder().begin().ticks(3).segment().ticks(3).segment().ticks(3)
    found = builder.found()
    second = found.index(Segment(2, 0))
    third = found.index(Segment(3, 0))
    report = audit([*found[:second], *found[third:]])
    assert (4, "segment 3 comes after segment 1: one is missing") in findings(report)


def test_findings_beyond_the_listed_ones_are_counted() -> None:
    builder = JournalBuilder().begin().tick()
    for _ in range(1500):
        builder.seq -= 1
        builder.tick()
    report = audit(builder.found())
    assert report.broken_total == report.doubled == 1500
    assert len(report.broken) == 1000


# --- Hypothesis: true lives are ok, and no single change to one is ---

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("tick", "skip", "miss", "event", "timer", "decide", "handoff", "takeback", "failover", "segment")
        ),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=40,
)


def lived(steps: list[Step]) -> JournalBuilder:
    """A true life that consists of these steps."""
    builder = JournalBuilder().begin().tick()
    for at, (step, size) in enumerate(steps):
        follow = f"w{at + 2}"
        match step:
            case "tick":
                builder.ticks(size)
            case "skip" | "miss":
                kind = "skipped" if step == "skip" else "missed"
                builder.tick(Gap(builder.seq + 1, builder.seq + size, kind, "slow"))
            case "event":
                keys = [f"{at}-{n}" for n in range(size)]
                builder.receive(*keys).tick()
                for key in keys:
                    builder.event(key)
            case "timer":
                builder.arm("t", (builder.seq + 1) * builder.interval, size * SECOND).tick().timer("t")
            case "decide":
                builder.conclude(builder.decide())
            case "handoff":
                builder.hand(follow, "v2", deployment=at).tick()
            case "takeback":
                builder.give(follow).lead(builder.worker, "takeback")
            case "failover":
                for _ in range(size - 1):
                    builder.decide()
                builder.lead(follow, "failover")
            case _:
                builder.segment().tick()
    return builder.ticks(2)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_a_correct_journal_is_always_ok(steps: list[Step]) -> None:
    builder = lived(steps)
    report = audit(builder.found(), windows=[MINUTE])
    assert report.broken == []
    assert report.ok
    assert report.doubled == 0
    assert report.last is not None
    assert report.first is not None
    assert report.ticks + report.missed + report.skipped_total == report.last - report.first + 1
    assert report.events.waiting == []


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from(("drop", "swap", "repeat", "rewrite")), st.randoms(use_true_random=False))
def test_every_single_change_to_a_correct_journal_is_detected(
    steps: list[Step], how: str, chance: Any
) -> None:
    found = lived(steps).found()
    frames = [n for n, item in enumerate(found) if isinstance(item, Entry) and item.kind is RecordKind.FRAME]
    # Without its last frame a journal is that of a shorter life, and just as true.
    at: int = chance.choice(frames[:-1])
    item = found[at]
    assert isinstance(item, Entry)
    match how:
        case "drop":
            del found[at]
        case "swap":
            other = chance.choice([n for n in frames if n != at])
            found[at], found[other] = found[other], found[at]
        case "repeat":
            found.insert(chance.choice([n for n in frames if n > at]), item)
        case _:
            bit = chance.randrange(len(item.payload) * 8)
            body = bytearray(item.payload)
            body[bit // 8] ^= 1 << bit % 8
            found[at] = Entry(item.kind, bytes(body), item.end)
    assert not audit(found).ok
