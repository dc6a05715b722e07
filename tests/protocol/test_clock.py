"""The clock discipline: which time is believed when the wall clock is stepped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.clock import BELIEVED_AFTER, ClockDiscipline
from neverblink.protocol.grid import STEP_THRESHOLD, Grid, rebase

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NOON = 1_700_000_000 * SECOND


class Machine:
    """Both clocks, and what is believed of them. Looked at every 200 ms."""

    def __init__(self) -> None:
        self.boot = 1000 * SECOND
        self.off = NOON
        self.discipline = ClockDiscipline(self.off + self.boot, self.boot)

    def goes_on(self, ns: int) -> list[int]:
        """Let time pass; return how far what is believed was from `NOON` and the time since."""
        found: list[int] = []
        for _ in range(ns // (SECOND // 5)):
            self.boot += SECOND // 5
            found.append(self.discipline.believe(self.off + self.boot, self.boot) - NOON - self.boot)
        return found


@pytest.mark.parametrize("by", [HOUR, -HOUR, 10 * 365 * 24 * HOUR, -NOON])
def test_a_step_that_is_reverted_in_time_has_no_effect(by: int) -> None:
    machine = Machine()
    machine.off += by
    assert set(machine.goes_on(BELIEVED_AFTER - SECOND)) == {0}
    assert machine.discipline.suspected == by
    machine.off -= by
    assert set(machine.goes_on(HOUR)) == {0}
    assert machine.discipline.suspected == 0


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_lasting_step_is_believed_after_the_bound(by: int) -> None:
    machine = Machine()
    machine.off += by
    found = machine.goes_on(BELIEVED_AFTER + SECOND)
    assert set(found) == {0, by}
    assert found[-5:] == [by] * 5


def test_a_clock_that_is_set_repeatedly_is_believed_once_it_is_stable() -> None:
    machine = Machine()
    for _ in range(10):
        machine.off += HOUR
        assert set(machine.goes_on(BELIEVED_AFTER // 2)) == {0}
    assert machine.goes_on(BELIEVED_AFTER)[-1] == 10 * HOUR


def test_a_slewed_clock_is_followed_at_once_and_so_is_a_suspended_machine() -> None:
    machine = Machine()
    for _ in range(100):
        machine.off += STEP_THRESHOLD // 2
        assert machine.goes_on(SECOND // 5) == [machine.off - NOON]
    before = machine.off - NOON
    machine.boot += HOUR
    assert machine.goes_on(SECOND) == [before] * 5


def test_an_operator_is_believed_at_once() -> None:
    machine = Machine()
    machine.off += HOUR
    machine.discipline.accept(machine.off + machine.boot, machine.boot)
    assert set(machine.goes_on(SECOND)) == {HOUR}


def test_a_follower_uses_its_leaders_time_until_it_believes_the_step_itself() -> None:
    machine = Machine()
    machine.off += HOUR
    # It was started after the step, and its leader does not believe it yet.
    other = Machine()
    other.off += HOUR
    other.discipline = ClockDiscipline(other.off + other.boot, other.boot)
    other.discipline.follow(machine.discipline.offset)
    assert set(other.goes_on(BELIEVED_AFTER - SECOND)) == {0}
    assert other.goes_on(2 * SECOND)[-1] == HOUR


@given(st.lists(st.tuples(st.integers(-HOUR, HOUR), st.integers(1, 40)), max_size=20))
def test_the_believed_time_is_always_close_to_a_lasting_time(steps: list[tuple[int, int]]) -> None:
    machine = Machine()
    lasted = {0}
    for by, fifths in steps:
        machine.off += by
        found = machine.goes_on(fifths * SECOND)
        for item in found:
            assert any(abs(item - known) <= 40 * STEP_THRESHOLD for known in (*lasted, machine.off - NOON))
        if abs(by) >= STEP_THRESHOLD and fifths * SECOND < BELIEVED_AFTER:
            # Not believed, unless it led back to what was.
            assert (
                abs(found[-1] - found[0]) <= STEP_THRESHOLD
                or abs(found[-1] - (machine.off - NOON)) < STEP_THRESHOLD
            )
        lasted.add(found[-1])


@given(st.integers(1, HOUR), st.integers(0, 10**12), st.integers(0, 2 * NOON))
def test_a_moved_grid_goes_on_with_the_next_index_at_its_next_time(
    interval: int, last: int, now: int
) -> None:
    grid = rebase(interval, last, now)
    assert grid.seq_from(now) == last + 1
    assert now <= grid.due(last + 1) < now + interval
    assert grid.due(last + 1) % interval == 0
    assert grid.interval == Grid(interval).interval
