"""Timers: each fires once, or once a period, in the process that leads then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.frame import Armed
from neverblink.worker.model.timers import TimerError, TimerTable

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


def armed(
    name: str = "exit",
    now: int = NOW,
    *,
    at: Any = None,
    after: Any = None,
    every: Any = None,
    timers: TimerTable | None = None,
) -> Armed:
    return (timers or TimerTable()).set(name, now, at, after, every)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"at": NOW + 5}, Armed(NOW + 5)),
        ({"after": "10s"}, Armed(NOW + 10 * SECOND)),
        ({"after": timedelta(seconds=90)}, Armed(NOW + 90 * SECOND)),
        ({"after": timedelta(days=-1, hours=25, microseconds=7)}, Armed(NOW + 3600 * SECOND + 7000)),
        ({"every": "1m"}, Armed(NOW + 60 * SECOND, 60 * SECOND)),
        ({"at": NOW + 5, "every": "1m"}, Armed(NOW + 5, 60 * SECOND)),
        ({"after": "1s", "every": timedelta(minutes=1)}, Armed(NOW + SECOND, 60 * SECOND)),
    ],
)
def test_a_timer_is_armed_for_the_requested_time(when: dict[str, Any], expected: Armed) -> None:
    assert armed(**when) == expected


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({}, "say when, with one of at=, after= and every="),
        ({"at": NOW, "after": "1s"}, "either at= or after="),
        ({"at": NOW / SECOND}, "expected whole nanoseconds since 1970"),
        ({"at": -1}, "expected whole nanoseconds"),
        ({"at": 2**63}, "expected whole nanoseconds"),
        ({"at": "12:00"}, "expected whole nanoseconds"),
        ({"after": "soon"}, 'after="soon" is not a duration'),
        (
            {"at": NOW // SECOND + 90},
            r"expected whole nanoseconds since 1970, as in tick.due and time.time_ns\(\)",
        ),
        ({"at": NOW // 10**6}, "expected whole nanoseconds since 1970"),
        ({"at": 0}, "expected whole nanoseconds since 1970"),
        ({"after": "10"}, 'write its unit, as in "10s" or "10ms"'),
        ({"after": 90}, 'after=90 is not a duration: write its unit, as in "90s" or "90ms"'),
        ({"after": 2.5}, 'after=2.5 is not a duration: write its unit, as in "2.5s"'),
        ({"after": 90 * SECOND}, "is not a duration: write its unit"),
        ({"after": True}, "after=True is not a duration: write something like"),
        ({"every": 60}, 'every=60 is not a duration: write its unit, as in "60s"'),
        ({"after": timedelta(0)}, "expected a positive duration"),
        ({"after": timedelta(seconds=-5)}, "expected a positive duration"),
        ({"after": "0s"}, "expected a positive duration"),
        ({"after": "-5s"}, "expected a positive duration"),
        ({"every": "0s"}, "expected a positive duration"),
        ({"every": -1}, "every=-1 is not a duration"),
        ({"at": NOW, "every": "-1m"}, "expected a positive duration"),
        ({"at": NOW, "every": 0}, "every=0 is not a duration"),
    ],
    ids=str,
)
def test_an_invalid_timer_is_refused_by_name_and_changes_nothing(when: dict[str, Any], why: str) -> None:
    timers = TimerTable()
    with pytest.raises(TimerError, match=why) as caught:
        armed("exit BTC", timers=timers, **when)
    assert isinstance(caught.value, NeverblinkError)
    assert "timer 'exit BTC'" in caught.value.message
    assert timers.all() == {}
    assert timers.take_changes() == {}


@pytest.mark.parametrize("name", ["", 7, None])
def test_a_name_that_is_not_a_string_or_empty_is_refused(name: Any) -> None:
    with pytest.raises(TimerError, match="a name is a non-empty str"):
        armed(name, after="1s")


def test_setting_a_name_again_moves_it() -> None:
    timers = TimerTable()
    armed(at=NOW + 5, timers=timers)
    armed(at=NOW + 9, timers=timers)
    assert timers.next == NOW + 9
    assert timers.all() == {"exit": Armed(NOW + 9)}


def test_a_cancelled_timer_does_not_fire() -> None:
    timers = TimerTable()
    armed(at=NOW + 5, timers=timers)
    assert timers.cancel("exit")
    assert not timers.cancel("exit")
    assert timers.next is None
    assert timers.due(NOW + 10) is None


def test_timers_fire_in_the_order_in_which_they_are_due() -> None:
    timers = TimerTable()
    for name, at in (("b", NOW + 2), ("a", NOW + 2), ("c", NOW + 1)):
        armed(name, at=at, timers=timers)
    assert timers.due(NOW) is None
    went: list[str] = []
    while (found := timers.due(NOW + 2)) is not None:
        went.append(found[0])
        timers.spend(found[0], NOW + 2)
    assert went == ["c", "a", "b"]


def test_a_timer_fires_when_it_is_due_and_not_a_nanosecond_before() -> None:
    timers = TimerTable()
    armed(at=NOW + 5, timers=timers)
    assert timers.due(NOW + 4) is None
    assert timers.due(NOW + 5) == ("exit", Armed(NOW + 5))


def test_a_single_timer_is_removed_when_it_fires() -> None:
    timers = TimerTable()
    armed(at=NOW, timers=timers)
    timers.take_changes()
    timers.spend("exit", NOW + 3)
    assert timers.take_changes() == {"exit": None}
    assert timers.all() == {}


@given(st.integers(1, 10**12), st.integers(-(10**13), 10**13))
def test_a_recurring_timer_keeps_its_times_and_fires_once_for_each(every: int, later: int) -> None:
    """`later` is when it fired, relative to its due time: periods late, or before it after the clock was set back."""
    timers = TimerTable()
    due = 10**18
    armed("beat", at=due, every=f"{every}ns", timers=timers)
    timers.spend("beat", due + later)
    found = timers.all()["beat"]
    assert (found.due - due) % every == 0
    assert found.due > max(due, due + later)
    assert found.due - max(due, due + later) <= every
    assert found.every == every


@given(st.integers(1, 1000), st.lists(st.integers(0, 3000), max_size=20))
def test_periods_missed_without_a_leader_fire_once(every: int, waits: list[int]) -> None:
    timers = TimerTable()
    armed("beat", now=0, every=f"{every}ns", timers=timers)
    now, went = 0, list[int]()
    for wait in waits:
        now += wait
        found = timers.due(now)
        if found is not None:
            went.append(found[1].due)
            timers.spend("beat", now)
        assert timers.due(now) is None
    assert went == sorted(set(went))
    assert all(due % every == 0 and due <= now for due in went)


# --- leader and follower ---


names = st.sampled_from("abcd")
moves = st.one_of(
    st.tuples(st.just("set"), names, st.integers(1, 50), st.none() | st.integers(1, 20)),
    st.tuples(st.just("cancel"), names, st.none(), st.none()),
    st.tuples(st.just("pass"), names, st.integers(0, 40), st.none()),
    st.tuples(st.just("frame"), names, st.none(), st.none()),
)


@given(st.lists(moves))
def test_a_follower_has_the_same_timers_after_every_frame(story: list[tuple[str, str, Any, Any]]) -> None:
    leader, follower = TimerTable(), TimerTable()
    now = 1000
    for word, name, value, every in story:
        match word:
            case "set":
                leader.set(name, now, None, f"{value}ns", every and f"{every}ns")
            case "cancel":
                leader.cancel(name)
            case "pass":
                now += value
                found = leader.due(now)
                if found is not None:
                    leader.spend(found[0], now)
            case _:
                follower.absorb(leader.take_changes())
                assert follower.all() == leader.all()
                assert follower.next == leader.next
                assert follower.take_changes() == {}


def test_a_copy_replaces_all_timers() -> None:
    timers = TimerTable()
    armed("old", at=NOW, timers=timers)
    assert timers.next == NOW
    timers.restore({"new": Armed(9, 3)})
    assert timers.all() == {"new": Armed(9, 3)}
    assert timers.next == 9
    assert timers.take_changes() == {}


def test_all_returns_a_copy() -> None:
    timers = TimerTable()
    armed(at=NOW, timers=timers)
    timers.all().clear()
    assert timers.all() == {"exit": Armed(NOW)}
