from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import select
import time

import pytest

from neverblink.worker.io.clock import Clock, SystemClock, TimerFd, TimerFdError

FAR = 3600 * 1_000_000_000


def ready(alarm: TimerFd, seconds: float = 0) -> bool:
    return bool(select.select([alarm], [], [], seconds)[0])


def test_the_system_clock_has_the_methods_of_a_clock() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.wall() - time.time_ns()) < 10**9
    assert abs(clock.mono() - time.monotonic_ns()) < 10**9


def test_a_waker_never_fires_early() -> None:
    with TimerFd() as alarm:
        for ahead in (0, 1, 1_000, 300_000, 3_000_000):
            at = time.monotonic_ns() + ahead
            alarm.arm(at)
            assert ready(alarm, 10)
            assert time.monotonic_ns() >= at
            assert alarm.drain() == 1
            assert alarm.drain() == 0
            assert not ready(alarm)


@pytest.mark.parametrize("at", [-5, 0, 1])
def test_a_time_in_the_past_fires_at_once(at: int) -> None:
    with TimerFd() as alarm:
        alarm.arm(at)
        assert ready(alarm, 10)


def test_arming_again_replaces_the_time_and_disarming_removes_it() -> None:
    with TimerFd() as alarm:
        alarm.arm(time.monotonic_ns() + FAR)
        assert not ready(alarm)
        alarm.arm(1)
        assert ready(alarm, 10)
        alarm.arm(time.monotonic_ns() + FAR)
        assert not ready(alarm)
        assert alarm.drain() == 0
        alarm.arm(1)
        assert ready(alarm, 10)
        alarm.disarm()
        assert not ready(alarm)


def test_a_waker_wakes_an_event_loop() -> None:
    async def wait() -> int:
        loop = asyncio.get_running_loop()
        rang = loop.create_future()
        with TimerFd() as alarm:
            loop.add_reader(alarm.fileno(), lambda: rang.done() or rang.set_result(alarm.drain()))
            alarm.arm(time.monotonic_ns() + 200_000)
            try:
                return await asyncio.wait_for(rang, 10)
            finally:
                loop.remove_reader(alarm.fileno())

    assert asyncio.run(wait()) == 1


def test_child_processes_do_not_inherit_the_descriptor() -> None:
    with TimerFd() as alarm:
        assert fcntl.fcntl(alarm.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_closing_frees_the_descriptor() -> None:
    alarm = TimerFd()
    descriptor = alarm.fileno()
    alarm.close()
    alarm.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_error_without_free_descriptors_names_the_limit() -> None:
    TimerFd().close()  # whatever loading the C library opens is open now
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(TimerFdError, match="Too many open files") as caught:
            TimerFd()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == 24
