from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.grid import (
    ClockReading,
    ClockStep,
    Gap,
    Grid,
    GridError,
    LostTime,
    Plan,
    Policy,
    detect_step,
    plan,
)

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND

grids = st.builds(Grid, st.integers(1, 10**13), st.integers(-(10**18), 10**18))
times = st.integers(-(2**61), 2**61)
policies: st.SearchStrategy[Policy] = st.sampled_from(["skip", "catch-up"])


@pytest.mark.parametrize(("first", "last"), [(5, 4), (0, -1), (-1, -(2**63)), (0, 2**63 - 1)])
def test_an_invalid_gap_cannot_be_made(first: int, last: int) -> None:
    with pytest.raises(GridError, match="the last index at or after the first"):
        Gap(first, last, "missed", "gone")


@given(grids, times)
def test_every_moment_lies_in_exactly_one_slot(grid: Grid, t: int) -> None:
    seq = grid.seq_at(t)
    assert grid.due(seq) <= t < grid.due(seq + 1)
    assert grid.slack(t) == grid.due(seq + 1) - t
    assert grid.due(grid.seq_from(t)) >= t > grid.due(grid.seq_from(t) - 1)


@given(grids, st.integers(-(10**6), 10**6))
def test_due_and_seq_at_are_inverse(grid: Grid, seq: int) -> None:
    assert grid.seq_at(grid.due(seq)) == seq
    assert grid.seq_from(grid.due(seq)) == seq


@pytest.mark.parametrize("interval", [0, -1])
def test_an_invalid_interval_is_refused(interval: int) -> None:
    with pytest.raises(GridError, match="positive duration") as caught:
        Grid(interval)
    assert caught.value.value == interval
    assert isinstance(caught.value, NeverblinkError)


@given(st.integers(1, 10**9), st.integers(0, 10**6), st.integers(0, 50), policies)
def test_the_plan_records_every_index_that_it_skips(
    interval: int, last: int, behind: int, policy: Policy
) -> None:
    grid = Grid(interval)
    found = plan(grid, last, grid.due(last + behind), policy)
    covered = [seq for gap in found.gaps for seq in range(gap.first, gap.last + 1)]
    assert [*covered, found.seq] == list(range(last + 1, found.seq + 1))
    assert found.due == grid.due(found.seq)


def test_a_bot_on_time_waits_for_the_next_index() -> None:
    grid = Grid(SECOND)
    assert plan(grid, 10, grid.due(10) + 300, "skip") == Plan(11, grid.due(11))


def test_a_late_tick_still_runs_in_its_slot() -> None:
    grid = Grid(SECOND)
    assert plan(grid, 10, grid.due(11) + SECOND - 1, "skip") == Plan(11, grid.due(11))


def test_an_overrun_is_skipped_with_its_cause() -> None:
    grid = Grid(SECOND)
    found = plan(grid, 10, grid.due(14) + 5, "skip", cause="tick 10 took 4.1s")
    assert found == Plan(14, grid.due(14), (Gap(11, 13, "skipped", "tick 10 took 4.1s"),))
    assert len(found.gaps[0]) == 3


def test_an_overrun_is_caught_up_one_by_one() -> None:
    grid = Grid(SECOND)
    last, ran = 10, list[int]()
    while last < 14:
        found = plan(grid, last, grid.due(14) + 5, "catch-up")
        assert not found.gaps
        ran.append(found.seq)
        last = found.seq
    assert ran == [11, 12, 13, 14]


def test_ticks_that_no_worker_could_run_are_missed() -> None:
    grid = Grid(SECOND)
    found = plan(grid, 10, grid.due(13), "skip", kind="missed", cause="no worker was up")
    assert found.gaps == (Gap(11, 12, "missed", "no worker was up"),)


def test_each_index_has_the_cause_of_the_time_in_which_its_slot_ended() -> None:
    grid = Grid(SECOND)
    lost = (
        LostTime(grid.due(10), grid.due(13) + SECOND // 2, "skipped", "tick 10 took 3.5s"),
        LostTime(grid.due(14) + 1, grid.due(17), "missed", "the handoff"),
        LostTime(grid.due(17), grid.due(18), "missed", "the handoff"),
    )
    found = plan(grid, 10, grid.due(20), "skip", cause="late", lost=lost)
    assert found == Plan(
        20,
        grid.due(20),
        (
            Gap(11, 12, "skipped", "tick 10 took 3.5s"),
            Gap(13, 13, "skipped", "late"),
            Gap(14, 17, "missed", "the handoff"),
            Gap(18, 19, "skipped", "late"),
        ),
    )


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), max_size=5),
    st.integers(0, 600),
    st.integers(1, 400),
)
def test_gaps_cover_what_did_not_run_once_whatever_was_lost(
    interval: int, spans: list[tuple[int, int]], stepped: int, by: int
) -> None:
    grid = Grid(interval)
    lost = [LostTime(since, since + length, "missed", f"{since} {length}") for since, length in sorted(spans)]
    found = plan(grid, 0, 700, "skip", step=ClockStep(stepped, by), lost=lost)
    indices = [index for gap in found.gaps for index in range(gap.first, gap.last + 1)]
    assert indices == list(range(1, found.seq))


@pytest.mark.parametrize(("after", "seq"), [(0, 5), (40_000_000, 5), (60_000_000, 6), (999_999_999, 6)])
def test_a_new_bot_starts_at_an_index_it_is_on_time_for(after: int, seq: int) -> None:
    grid = Grid(SECOND)
    assert plan(grid, None, grid.due(5) + after, "skip") == Plan(seq, grid.due(seq))


def test_a_bot_that_wakes_a_little_late_for_its_first_tick_runs_it() -> None:
    grid = Grid(1_000_000)
    assert plan(grid, None, grid.due(7) + 400_000, "skip").seq == 7


@given(st.integers(1, 10**9), st.integers(0, 10**4), st.integers(0, 10**4), policies)
def test_a_clock_set_back_runs_no_index_twice(interval: int, last: int, back: int, policy: Policy) -> None:
    grid = Grid(interval)
    now = grid.due(last) - back * interval
    found = plan(grid, last, now, policy, step=ClockStep(now, -back * interval))
    assert found == Plan(last + 1, grid.due(last + 1))
    assert found.due > now


@pytest.mark.parametrize("policy", ["skip", "catch-up"])
def test_a_clock_set_forward_leaves_a_gap_with_that_cause(policy: Policy) -> None:
    # The loop slept until index 11; when it woke the wall showed ten seconds more.
    grid = Grid(SECOND)
    now = grid.due(21) + 100
    found = plan(grid, 10, now, policy, step=ClockStep(now, 10 * SECOND))
    if policy == "skip":
        assert found == Plan(21, grid.due(21), (Gap(11, 20, "missed", "clock stepped +10s"),))
        return
    assert found == Plan(11, grid.due(11))  # its time had come before the step
    found = plan(grid, 11, now, policy, step=ClockStep(now, 10 * SECOND))
    assert found == Plan(21, grid.due(21), (Gap(12, 20, "missed", "clock stepped +10s"),))


def test_an_overrun_and_a_step_are_separate_gaps() -> None:
    grid = Grid(SECOND)
    stepped = grid.due(24)  # it should have been 14: 11 to 13 were overrun already
    found = plan(grid, 10, grid.due(26), "skip", step=ClockStep(stepped, 10 * SECOND), cause="slow")
    assert found.gaps == (
        Gap(11, 13, "skipped", "slow"),
        Gap(14, 23, "missed", "clock stepped +10s"),
        Gap(24, 25, "skipped", "slow"),
    )


@given(
    st.integers(1, 1000),
    st.integers(0, 100),
    st.integers(0, 200),
    st.integers(-300, 300),
    st.integers(-50, 50),
)
def test_after_a_step_every_index_runs_once_or_is_in_a_gap(
    interval: int, last: int, behind: int, by: int, ago: int
) -> None:
    grid = Grid(interval)
    now = grid.due(last + behind)
    for policy in ("skip", "catch-up"):
        found = plan(grid, last, now, policy, step=ClockStep(now - ago * interval, by * interval))
        covered = [seq for gap in found.gaps for seq in range(gap.first, gap.last + 1)]
        assert [*covered, found.seq] == list(range(last + 1, found.seq + 1))


def test_an_old_step_has_no_effect() -> None:
    grid = Grid(SECOND)
    found = plan(grid, 100, grid.due(103), "skip", step=ClockStep(grid.due(50), 10 * SECOND), cause="slow")
    assert found.gaps == (Gap(101, 102, "skipped", "slow"),)


@given(st.integers(0, 10**10), st.integers(-(10**12), 10**12))
def test_a_step_is_detected_with_its_size(elapsed: int, by: int) -> None:
    before = ClockReading(NOON, 5)
    after = ClockReading(NOON + elapsed + by, 5 + elapsed)
    found = detect_step(before, after)
    if found is None:
        assert abs(by) < 50_000_000 + elapsed // 2000
    else:
        assert found == ClockStep(NOON + elapsed + by, by)


def test_a_slewed_clock_is_not_a_step() -> None:
    hour = 3600 * SECOND
    assert detect_step(ClockReading(NOON, 0), ClockReading(NOON + hour + hour // 2500, hour)) is None
    assert detect_step(ClockReading(NOON, 0), ClockReading(NOON + hour + 3 * SECOND, hour)) is not None


def test_the_cause_of_a_gap_is_in_words() -> None:
    assert ClockStep(NOON, 10 * SECOND + 12_345).cause == "clock stepped +10s"
    assert ClockStep(NOON, -250_000_000).cause == "clock stepped -250ms"
