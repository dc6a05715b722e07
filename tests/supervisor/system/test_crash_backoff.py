"""The rules by which a bot is started again: at once, then more slowly, and for ever."""

from __future__ import annotations

from neverblink.supervisor.system.crash_backoff import AT_MOST, CrashBackoff

SECOND = 1_000_000_000


def pauses(restarts: CrashBackoff, release: str, times: int, at_most: int = AT_MOST) -> list[float]:
    found: list[float] = []
    for _ in range(times):
        restarts.failed(release)
        found.append(restarts.pause(release, at_most) / SECOND)
    return found


def test_the_pauses_grow_to_the_bound_and_stay_there() -> None:
    restarts = CrashBackoff()
    assert pauses(restarts, "v1", 10) == [0, 0.25, 1, 2, 5, 10, 20, 40, 60, 60]
    assert set(pauses(restarts, "v1", 5000)) == {60}


def test_the_bound_is_the_configured_one() -> None:
    assert pauses(CrashBackoff(), "v1", 4, SECOND // 2) == [0, 0.25, 0.5, 0.5]


def test_failures_of_one_release_do_not_count_for_another() -> None:
    restarts = CrashBackoff()
    pauses(restarts, "bad", 20)
    assert (restarts.crash_loop("bad"), restarts.crash_loop("good")) == (True, False)
    assert pauses(restarts, "good", 1) == [0]


def test_a_leader_that_lasted_resets_the_count() -> None:
    restarts = CrashBackoff()
    pauses(restarts, "v1", 7)
    restarts.failed("v1", lived=10 * SECOND, ticks=9)
    assert restarts.failures("v1") == 8
    restarts.failed("v1", lived=10 * SECOND, ticks=10)
    assert (restarts.failures("v1"), restarts.pause("v1")) == (1, 0)
