"""top: the chart of the ticks, the picture on a small screen, and what it is made of. Without a terminal."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from neverblink.protocol import events
from neverblink.protocol.status import (
    BotStatus,
    DecisionSeen,
    DeploymentSeen,
    InboxSeen,
    Locked,
    StandbySeen,
    TargetSeen,
    WindowSeen,
)
from neverblink.supervisor.audit.recent_ticks import LeaderChange, RecentTick, Seen
from neverblink.supervisor.cli.tick_chart import Column, chart, level, mark_of
from neverblink.supervisor.cli.top_screen import draw
from neverblink.supervisor.cli.top_view import TopSnapshot, TopView
from neverblink.supervisor.store.history_rows import DeploymentRow, StepNote
from neverblink.supervisor.terminal.deployment_lines import DeploymentLine

from .test_status import NOW, QUIET, S

MS = 1_000_000


def tick(seq: int, worker: str = "w1", epoch: int = 1, **more: Any) -> RecentTick:
    facts: dict[str, Any] = {"late": 20_000, "took": MS}
    return RecentTick(epoch, seq, seq, worker, "v1", seq * S, **{**facts, **more})


def change(worker: str, epoch: int, **more: Any) -> LeaderChange:
    facts: dict[str, Any] = {"cause": "handoff", "before": "w1", "deployment": 7}
    return LeaderChange(epoch, 0, 0, worker, "v2", NOW, **{**facts, **more})


def shown(picture: TopSnapshot, width: int = 80, height: int = 24, *, colour: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    for line in draw(picture, width, height):
        console.print(line, no_wrap=True, crop=True)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def picture(status: BotStatus | None = QUIET, **more: Any) -> TopSnapshot:
    facts: dict[str, Any] = {
        "now": NOW, "away": "", "away_for": 0, "seen": [], "measured": True, "deployment": 0, "phase": "",
        "since": NOW, "lines": [],
    }  # fmt: skip
    return TopSnapshot(status=status, **{**facts, **more})


# --- the chart


def test_a_slow_bot_has_one_column_per_tick_and_the_newest_are_shown() -> None:
    columns = chart([tick(seq, late=seq * 1000) for seq in range(50)], S, 10)
    assert [column.late for column in columns] == [seq * 1000 for seq in range(40, 50)]


def test_a_column_of_a_fast_bot_is_the_worst_tick_of_a_quarter_of_a_second() -> None:
    ticks = [tick(seq, late=5 * MS if seq == 130 else 1000) for seq in range(500)]
    columns = chart(ticks, 10 * MS, 80)
    assert len(columns) == 20
    assert [place for place, column in enumerate(columns) if column.late == 5 * MS] == [130 // 25]


def test_a_handoff_is_marked_at_its_tick_and_leaves_no_gap() -> None:
    seen: list[Seen] = [
        *(tick(seq) for seq in range(5)),
        change("w2", 2),
        *(tick(s, "w2", 2) for s in range(5, 9)),
    ]
    columns = chart(seen, S, 80)
    assert [column.worker for column in columns] == ["w1"] * 5 + ["w2"] * 4
    assert [place for place, column in enumerate(columns) if column.change is not None] == [5]


def test_a_handoff_within_a_column_of_a_fast_bot_begins_a_new_column() -> None:
    seen: list[Seen] = [tick(0), tick(1), change("w2", 2), tick(2, "w2", 2), tick(3, "w2", 2)]
    assert [column.worker for column in chart(seen, 10 * MS, 80)] == ["w1", "w2"]


def test_missed_ticks_are_a_gap_and_skipped_ticks_are_not() -> None:
    columns = chart([tick(1), tick(4, missed=2), tick(6, skipped=1), tick(99, missed=92)], S, 80)
    assert columns[:5] == [
        Column("w1", 20_000, MS), Column(""), Column(""), Column("w1", 20_000, MS), Column("w1", 20_000, MS, 1),
    ]  # fmt: skip
    # More than a screenful of gaps looks the same as a few.
    assert len(columns) == 5 + 8 + 1


@pytest.mark.parametrize(
    ("ns", "high"), [(0, 1), (10_000, 1), (100_000, 4), (1 * MS, 7), (100 * MS, 13), (S, 16), (9 * S, 16)]
)
def test_the_height_of_a_column_is_the_order_of_magnitude(ns: int, high: int) -> None:
    assert level(ns, S, 16) == high


def test_each_change_of_leader_has_its_mark() -> None:
    assert mark_of(change("w2", 2)) == "▲w2 #7"
    assert mark_of(change("w2", 2, cause="takeback")) == "↩w2"
    assert mark_of(change("w2", 2, cause="failover")) == "✖w2"
    assert mark_of(change("w1", 1, cause="first", before="", deployment=0)) == "●w1"
    # From the journal of one that died.
    assert mark_of(change("w2", 1, cause="first", before="w1")) == "✖w2"


# --- the picture


def test_a_bot_without_incidents_is_shown() -> None:
    seen = [tick(QUIET.seq + n, took=40_000) for n in range(3)]
    assert shown(picture(seen=seen), height=12) == [
        "foresight  running  v2",
        "leader    w5, epoch 7, pid 4321, leads for 3m12s",
        "tick      1795532401, one every 1s",
        "last      no deployment yet",
        "── ticks: worst lateness 0.02 ms, longest 0.04 ms ──────────────────────────────",
        "late      ▁▁▁",
        "took      ▁▁▁",
        "          w1",
        "",
        "",
        "",
        "q quit   p pause, resume   d deploy   r roll back",
    ]


def busy() -> TopSnapshot:
    """Everything at once, and more of it than there is room for."""
    status = msgspec.structs.replace(
        QUIET,
        state="paused",
        paused=True,
        release="20261126T120000Z-" + "1a2b3c4d" * 10,
        slow="it sleeps: " + "x" * 200,
        windows=tuple(WindowSeen(f"{n}m", NOW - S, NOW + n * 60 * S, True, True) for n in range(1, 9)),
        decisions=tuple(DecisionSeen(f"7-1-{n}", "enter", NOW - 3 * S, 3 * S, "w5") for n in range(9)),
        standby=StandbySeen("w6", "ready", "", 40_000),
        lock=Locked("anna", "a freeze until Monday", NOW),
        notify=(TargetSeen("phone", "tgram", "failing", "Connection refused", NOW - 9 * S, 3, 0, 0),),
        deployment=DeploymentSeen(8, "waiting", NOW - 4 * S, "window 5m", "v3", "v2", False, "", "", NOW - 9 * S),
        last=events.DeploymentEnded(
            bot="foresight", at=NOW - 60 * S, deployment=7, outcome="rolled_back", reason="it crashed " * 20,
            leader="w5", release="v2", blackout=210_000,
        ),
    )  # fmt: skip
    seen: list[Seen] = [
        *(tick(s) for s in range(30)),
        change("w2", 2),
        *(tick(s, "w2", 2) for s in range(33, 99)),
    ]
    seen[31] = tick(32, "w2", 2, missed=2, skipped=0)
    lines = [DeploymentLine("step", f"step-{n}", "y" * 100, 3 * MS) for n in range(30)]
    return picture(status, seen=seen, deployment=8, phase="waiting", since=NOW - 4 * S, lines=lines)


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (40, 10), (20, 5), (200, 60), (1, 1)])
def test_the_picture_always_fits_the_screen(size: tuple[int, int]) -> None:
    width, height = size
    lines = shown(busy(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "step" not in lines[-1] or height < 3


def test_on_a_usual_terminal_the_deployment_and_all_warnings_are_visible() -> None:
    text = "\n".join(shown(busy()))
    for words in (
        "foresight  paused",
        "1m OPEN, closes in 1m00s",
        "enter (7-1-0) is open for 3 s",
        "and 6 more",
        "no new entries",
        "slow      it sleeps: xxx",
        "locked    a freeze until Monday, by anna",
        "notify    phone has failed for 9 s: Connection refused",
        "standby   w6 ready, 0.04 ms behind",
        "deployment 7 rolled back 1m00s ago",
        "2 missed",
        "××",
        "▲w2 #7",
        "deployment 8: waiting, held by window 5m, for 4 s",
    ):
        assert words in text, f"{words}\n{text}"


def test_what_the_inbox_lost_is_a_warning() -> None:
    full = InboxSeen(200_000, 5, 10_000, 0, most_events=200_000, refused=7, missing=2, gap="trades: 4 to 5")
    status = msgspec.structs.replace(QUIET, inbox=full, unverified=("model",))
    text = "\n".join(shown(picture(status), 160))
    assert "inbox     200,000 of 200,000 events wait, 7 events refused: inbox full, 2 numbers missing" in text
    assert "state     not read back: model" in text
    waits = msgspec.structs.replace(QUIET, inbox=InboxSeen(9, 5, 10_000, 0, most_events=200_000))
    assert "inbox" not in "\n".join(shown(picture(waits)))


def test_workers_differ_by_colour_or_without_colours_by_mark() -> None:
    plain = "\n".join(shown(busy()))
    assert "\x1b" not in plain
    coloured = "\n".join(shown(busy(), colour=True))
    assert coloured.count("\x1b[33m") > 1
    assert "\x1b[35m" in coloured


def test_a_missing_supervisor_is_reported_and_ticks_are_still_shown() -> None:
    lines = shown(picture(away="no supervisor runs here", away_for=12 * S))
    assert lines[1] == "away      the supervisor has not answered for 12 s; the bot ticks on without it"
    assert lines[2].startswith("leader    w5")
    assert (
        shown(picture(None, away="home x: no supervisor runs here"))[0] == "home x: no supervisor runs here"
    )
    assert shown(picture(None))[0] == "asking the supervisor"


def test_the_reason_is_shown_for_a_bot_that_is_down() -> None:
    down = msgspec.structs.replace(
        QUIET, state="down", reason="it died 6 times in a row", worker="", release=""
    )
    assert shown(picture(down))[:2] == [
        "foresight  down  it died 6 times in a row",
        "leader    none: it died 6 times in a row",
    ]


# --- what it is made of


def snapshot_after(view: TopView, *what: events.Event) -> TopSnapshot:
    for event in what:
        view.on_event(event)
    return view.picture()


def test_a_deployment_is_shown_phase_by_phase() -> None:
    start = DeploymentLine("start", "release", "v3 takes over from v2, asked by a")
    view = TopView(measured=True)
    view.answered(QUIET)
    begun = events.DeploymentStarted(
        bot="fox", at=NOW, deployment=8, release="v3", previous="v2", who="a", why=""
    )
    now = snapshot_after(
        view,
        begun,
        events.StepDone(bot="fox", at=NOW, deployment=8, step="ready", text="on_start is done", took=3 * MS),
        events.StepDone(bot="fox", at=NOW, deployment=9, step="ready", text="of another one"),
        events.StepDone(bot="fox", at=NOW, deployment=8, step="holding", text="window 5m"),
        events.PhaseChanged(bot="fox", at=NOW, deployment=8, phase="waiting", before="rehearsing", took=1),
    )
    assert (now.deployment, now.phase, now.since) == (8, "waiting", NOW)
    assert now.lines == [
        start,
        DeploymentLine("step", "ready", "on_start is done", 3 * MS),
    ]
    ended = events.DeploymentEnded(
        bot="fox", at=view.picture().now, deployment=8, outcome="rolled_back", reason="it crashed", leader="w1",
        release="v2",
    )  # fmt: skip
    now = snapshot_after(view, ended)
    assert (now.phase, now.lines[-1]) == (
        "",
        DeploymentLine("end", "rolled back", "", bad=True, reason="it crashed"),
    )
    # It stays in sight for a moment, and the next one takes its place.
    assert now.deployment == 8
    assert snapshot_after(view, msgspec.structs.replace(begun, deployment=9)).lines == [start]


def test_a_deployment_that_began_before_top_is_shown_from_the_history() -> None:
    view = TopView(measured=True)
    row = DeploymentRow(
        id=8, bot="fox", kind="deploy", release="v3", previous="v2", who="", why="", dry_run=False, begun=NOW,
        ended=None, outcome=None, reason="", leader="", runs="", seq=None, blackout=None, late=None, missed=0,
        rollback="", steps=(StepNote(NOW, "spawned", "", MS, {"worker": "w9", "pid": 1}),),
    )  # fmt: skip
    view.caught_up(row)
    active = DeploymentSeen(8, "waiting", NOW - 4 * S, "", "v3", "v2", False, "", "", NOW - 9 * S)
    view.answered(msgspec.structs.replace(QUIET, deployment=active))
    now = view.picture()
    assert (now.deployment, now.phase) == (8, "waiting")
    assert now.lines == [DeploymentLine("step", "spawned", "worker w9, pid 1", MS)]


def test_reported_ticks_are_shown_when_the_journal_cannot_be_read() -> None:
    def pulse(seq: int, epoch: int = 1, role: str = "leading", worker: str = "w1") -> events.Heartbeat:
        return events.Heartbeat(
            bot="fox", at=NOW, worker=worker, release="v1", role=role, epoch=epoch, seq=seq, ticks=1, skipped=0,
            late_max=70_000, paused=False,
        )  # fmt: skip

    leads = events.LeaderChanged(
        bot="fox", at=NOW, worker="w2", release="v2", epoch=2, cause="handoff", seq=7
    )
    here, there = TopView(measured=True), TopView(measured=False)
    what = (
        pulse(5),
        pulse(5),
        pulse(6),
        pulse(6, role="following", worker="w2"),
        leads,
        pulse(7, 2, worker="w2"),
    )
    assert snapshot_after(here, *what).seen == []
    seen = snapshot_after(there, *what).seen
    assert [(event.seq, event.worker) for event in seen] == [(5, "w1"), (6, "w1"), (7, "w2"), (7, "w2")]
    assert isinstance(seen[2], LeaderChange)
    there.answered(QUIET)
    assert shown(there.picture())[4].startswith(
        "── ticks, from the leader's reports: worst lateness 0.07 ms ─"
    )


def test_times_are_on_the_clock_of_the_supervisor() -> None:
    view = TopView(measured=True)
    view.answered(QUIET)
    assert abs(view.picture().now - NOW) < 60 * S
