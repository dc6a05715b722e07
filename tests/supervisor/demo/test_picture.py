"""What the demo shows: the strip of ticks, the lines, and the closing words."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from neverblink.protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    PhaseChanged,
    StepDone,
)
from neverblink.supervisor.demo.acts import ACTS, Played
from neverblink.supervisor.demo.finding import DemoFinding, Evidence, closing_lines, find
from neverblink.supervisor.demo.picture import DemoPicture, Lines, Live, picture_for
from neverblink.supervisor.demo.strip import COLUMNS, VersionStrip
from neverblink.supervisor.terminal.screen import Screen

INTERVAL = 20_000_000
ROW = 600
CELL = ROW // COLUMNS
FIRST = 1000 * ROW


def test_a_strip_without_ticks_has_no_rows() -> None:
    assert VersionStrip(INTERVAL).rows(6) == []


def test_each_cell_shows_the_version_that_ran_its_ticks() -> None:
    strip = strip_of(("a", "v1", FIRST), ("b", "v2", FIRST + 3 * CELL))
    strip.reached(FIRST + 5 * CELL)
    (row,) = strip.rows(6)
    assert len(row) == COLUMNS
    assert [cell.version for cell in row[:7]] == ["v1", "v1", "v1", "v2", "v2", "v2", ""]
    assert not any(cell.handoff for cell in row)


def test_a_handoff_within_a_cell_and_a_short_lead_are_marked() -> None:
    strip = strip_of(("a", "v1", FIRST), ("b", "v2", FIRST + 3))
    strip.leads("c", "v7", FIRST + CELL + 4)
    strip.leads("b", "v2", FIRST + CELL + 7)
    strip.reached(FIRST + 2 * CELL)
    (row,) = strip.rows(6)
    assert [(cell.version, cell.handoff) for cell in row[:3]] == [("v1", "v2"), ("v2", "v7"), ("v2", "")]


def test_the_exact_tick_of_a_handoff_may_arrive_after_the_handoff() -> None:
    strip = strip_of(("a", "v1", FIRST), ("b", "v2", FIRST + 25))
    strip.leads("b", "v2", FIRST + 20)
    strip.reached(FIRST + 30)
    (row,) = strip.rows(6)
    assert [cell.version for cell in row[:3]] == ["v1", "v1", "v2"]


def test_rows_are_complete_periods_so_that_windows_are_aligned() -> None:
    strip = strip_of(("a", "v1", FIRST + 100))
    strip.reached(FIRST + 3 * ROW + 5)
    rows = strip.rows(100)
    assert len(rows) == 4
    assert [cell.version for cell in rows[0][:11]] == [""] * 10 + ["v1"]
    windows = [[cell.window for cell in row] for row in rows]
    assert windows[0] == windows[1] == windows[3]
    assert [place for place in range(COLUMNS) if windows[0][place]] == [
        *range(14, 19), *range(34, 39), *range(49, 53), *range(54, 59),
    ]  # fmt: skip
    assert len(strip.rows(2)) == 2
    assert strip.rows(2)[-1] == rows[-1]


@pytest.mark.parametrize("act", ACTS)
def test_an_act_with_the_expected_outcome_is_not_wrong(act: Any) -> None:
    assert played(act).wrong == ""


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"outcome": "done"}, "v4, does not import: done"),
        ({"reason": "exit 1: the disk is full"}, "expected the reason to name 'indicators'"),
        ({"release": ""}, "no version leads afterwards, expected v3"),
        (
            {"outcome": None, "error": {"message": "no supervisor runs here"}},
            "failed (no supervisor runs here)",
        ),
    ],
)
def test_an_act_that_failed_for_another_reason_proves_nothing(change: dict[str, Any], text: str) -> None:
    act = ACTS[2]
    result = {"outcome": act.outcome, "reason": f"No module named '{act.because}'", "release": "r"} | change
    if "error" in change:
        del result["reason"]
    assert text in Played(act, 3, result, "v3" if result["release"] else "").wrong


def test_without_a_terminal_the_picture_is_lines() -> None:
    out = io.StringIO()
    picture = picture_for(out)
    assert isinstance(picture, Lines)
    show(picture)
    lines = out.getvalue().splitlines()
    assert lines[0] == "the bot runs"
    assert "deploy v2: a good change" in lines
    assert any("rehearsed" in line and "12 kB" in line for line in lines)
    assert "  ✓ done, blackout 0.24 ms, v2 leads from tick 600003 on" in lines
    assert lines[-1].strip() == "*22___" + "_" * (COLUMNS - 6)
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_it_is_drawn() -> None:
    out = io.StringIO()
    show(Live(ACTS, Console(file=out, force_terminal=True, width=100, height=40, color_system="truecolor")))
    drawn = out.getvalue()
    for shown in (
        "neverblink demo",
        "◆",
        "█",
        "░",
        "deploy v2",
        "a good change",
        "blackout 0.24 ms",
    ):
        assert shown in drawn
    assert "held by window 5m" in drawn


def test_the_verdict_is_correct_when_all_sources_agree() -> None:
    finding = find(evidence())
    assert finding.ok
    assert finding.wrong == ()
    assert (finding.handoffs, finding.aborted, finding.rolled_back) == (5, 3, 1)
    assert finding.windows == {"expected": 3, "traded": 3, "doubled": 0}
    assert finding.blackout_us == {"p50": 300.0, "max": 900.0}
    assert finding.fills == {"exchange": 2, "book": 2}
    lines = closing_lines(finding, Screen(io.StringIO()))
    assert lines[-1].startswith("✓ seven deployments")


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        (
            "verdict",
            {"rows": [{"never": ["BTC-5m-1"], "doubled": []}]},
            "exchange: BTC-5m-1 was never traded",
        ),
        (
            "verdict",
            {"rows": [{"never": [], "doubled": ["BTC-5m-1"]}]},
            "exchange: BTC-5m-1 was traded twice",
        ),
        ("verdict", {"halves": ["1-2-0"]}, "exchange: order 1-2-0 was cut in half"),
        ("verdict", {"duplicates": ["1-2-0"]}, "exchange: client order id 1-2-0 was sent twice"),
        ("verdict", {"refused": ["closed"]}, "exchange: an order was refused: closed"),
        ("verdict", {"unfilled": ["1-2-0"]}, "exchange: order 1-2-0 was not filled"),
        ("verdict", {"open": {"BTC-5m-1": 3}}, "exchange: 3 of BTC-5m-1 are still held"),
        (
            "verdict",
            {"windows": {"expected": 0, "traded": 0, "doubled": 0}},
            "exchange: no window passed, so nothing was proven",
        ),
        ("book", {"fills": {}}, "book: fill f-1 of the exchange's is missing"),
        ("book", {"applied": 3}, "book: 3 fills were applied, the exchange reported 2"),
        ("book", {"positions": {"BTC-5m-1": 3}}, "book: 3 of BTC-5m-1 are still held"),
        ("audit", {"missed": 2}, "audit: missed is 2, not 0"),
        ("audit", {"doubled": [7]}, "audit: doubled is [7], not 0"),
        ("audit", {"handoffs": []}, "audit: it lists 0 handoffs, but there were 4"),
    ],
)
def test_every_contradiction_is_found_and_reported(part: str, change: dict[str, Any], text: str) -> None:
    whole = evidence()
    finding = find(msgspec.structs.replace(whole, **{part: {**getattr(whole, part), **change}}))
    assert not finding.ok
    assert text in finding.wrong
    assert closing_lines(finding, Screen(io.StringIO()))[-1].startswith("✗")


def test_a_different_fill_a_failed_audit_and_a_refused_command_are_wrong() -> None:
    whole = evidence()
    changed = {**whole.book, "fills": {**whole.book["fills"], "f-1": {"fill": "f-1", "size": 9}}}
    assert wrong(whole, book=changed) == ("book: fill f-1 is not what the exchange reported",)
    assert wrong(whole, audit_exit=1)[0].startswith("audit: ended with exit 1")
    assert wrong(whole, refused=["down: exit 7: no supervisor"]) == ("down: exit 7: no supervisor",)
    assert wrong(whole, book={}) == ("book: the bot did not return it",)


def wrong(whole: Evidence, **changes: Any) -> tuple[str, ...]:
    finding: DemoFinding = find(msgspec.structs.replace(whole, **changes))
    return finding.wrong


def evidence() -> Evidence:
    """Evidence without a fault."""
    fills = [{"fill": "f-1", "size": 2, "order": "o-1"}, {"fill": "f-2", "size": 1, "order": "o-1"}]
    return Evidence(
        played=[played(act) for act in ACTS],
        verdict={
            "windows": {"expected": 3, "traded": 3, "doubled": 0},
            "rows": [],
            "orders": 6,
            "halves": [],
            "duplicates": [],
            "refused": [],
            "unfilled": [],
            "open": {},
        },
        ledger=fills,
        book={
            "fills": {str(fill["fill"]): {"fill": fill["fill"], "size": fill["size"]} for fill in fills},
            "applied": 2,
            "positions": {},
        },
        audit={
            "ticks": 3000,
            "missed": 0,
            "doubled": 0,
            "skipped": [],
            "handoffs": [{"seq": 1, "blackout_us": us, "late_us": 50} for us in (200, 300, 300, 900, None)],
        },
        audit_exit=0,
        seconds=50.0,
    )


def played(act: Any) -> Played:
    reason = f"said {act.because}" if act.because else ""
    details = {
        "outcome": act.outcome,
        "reason": reason,
        "release": "r",
        "seq": FIRST + 3,
        "blackout_us": 240.4,
    }
    return Played(act, 0, details, act.leads)


def show(picture: DemoPicture) -> None:
    """Play one act on a picture."""
    strip = strip_of(("a", "v1", FIRST))
    picture.say("the bot runs")
    picture.begin(strip)
    picture.play(ACTS[0])
    fields: dict[str, Any] = {"bot": "sniper", "at": 1, "deployment": 1}
    picture.take(DeploymentStarted(**fields, release="r2", previous="r1", who="", why=""))
    picture.take(StepDone(**fields, step="rehearsed", text="", facts={"bytes": 12_000}))
    picture.take(PhaseChanged(**fields, phase="waiting", before="rehearsing", took=1))
    picture.take(StepDone(**fields, step="holding", text="window 5m", facts={"reason": "window 5m"}))
    strip.leads("b", "v2", FIRST + 3)
    strip.reached(FIRST + 2 * CELL)
    picture.draw()
    picture.take(DeploymentEnded(**fields, outcome="done", reason="", leader="b", release="r2"))
    picture.ended(played(ACTS[0]))
    picture.close()


def strip_of(*reigns: tuple[str, str, int]) -> VersionStrip:
    strip = VersionStrip(INTERVAL)
    for worker, version, seq in reigns:
        strip.leads(worker, version, seq)
    return strip
