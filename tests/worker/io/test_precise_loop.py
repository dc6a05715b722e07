"""The loop of a worker rings on time, and is an asyncio loop in everything else."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import time

import pytest

from neverblink.worker.io.precise_loop import AlarmSelector, PreciseLoop

MS = 1_000_000


@pytest.fixture
def selector() -> AlarmSelector:
    return AlarmSelector()


def test_an_alarm_fires_on_time_and_never_early(selector: AlarmSelector) -> None:
    rang: list[int] = []
    selector.rings = lambda: rang.append(time.monotonic_ns())
    for wait in (MS, 30 * MS):
        at = time.monotonic_ns() + wait
        selector.arm(at)
        while not rang:
            assert selector.select(10) == []
        assert rang.pop() >= at
    selector.close()


def test_with_a_lead_the_preparation_runs_before_an_alarm_on_time(selector: AlarmSelector) -> None:
    done: list[str] = []
    rang: list[int] = []
    selector.nears = lambda: done.append("nears")
    selector.rings = lambda: rang.append(time.monotonic_ns())
    at = time.monotonic_ns() + 100 * MS
    # So long that it is awake in time, whatever else the machine does.
    selector.slow = 45 * MS
    selector.arm(at, lead=90 * MS)
    while not rang:
        assert selector.select(10) == []
    assert done == ["nears"]
    assert rang.pop() >= at
    selector.close()


def test_a_late_alarm_has_no_preparation(selector: AlarmSelector) -> None:
    done: list[str] = []
    selector.nears = lambda: done.append("nears")
    selector.rings = lambda: done.append("rings")
    selector.arm(time.monotonic_ns() - 1, lead=MS)
    selector.select(1)
    assert done == ["rings"]
    selector.close()


def test_a_loop_with_short_wake_ups_does_not_wake_long_before_an_alarm(selector: AlarmSelector) -> None:
    woke: list[int] = []
    rang: list[int] = []
    selector.nears = lambda: woke.append(time.monotonic_ns())
    selector.rings = lambda: rang.append(time.monotonic_ns())
    selector.slow = MS // 10
    at = time.monotonic_ns() + 20 * MS
    selector.arm(at, lead=20 * MS)
    while not rang:
        selector.select(10)
    assert all(at - when <= MS // 5 for when in woke)
    selector.close()


def test_the_time_of_a_wake_up_is_measured(selector: AlarmSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]

    def woken_late(late: int) -> None:
        """Wait for an alarm, and be woken `late`."""

        def wait(*_: object) -> tuple[list[int], list[int], list[int]]:
            now[0] = at + late
            return [], [], []

        at = now[0] + 10 * MS
        monkeypatch.setattr(select, "select", wait)
        selector.arm(at)
        selector.select(10)

    monkeypatch.setattr("neverblink.worker.io.precise_loop.monotonic_ns", lambda: now[0])
    for _ in range(50):
        woken_late(MS)
    assert 0.9 * MS < selector.slow <= MS
    for turn in range(400):
        woken_late(MS if turn % 8 == 0 else MS // 10)
    # Seven of eight are below it, and one is above.
    assert MS // 10 < selector.slow < MS
    for _ in range(400):
        woken_late(MS // 10)
    assert MS // 10 <= selector.slow < MS // 8
    selector.close()


def test_descriptors_ready_before_the_lead_are_handled_first(selector: AlarmSelector) -> None:
    reads, writes = os.pipe()
    selector.register(reads, 1)
    done: list[str] = []
    selector.nears = lambda: done.append("nears")
    selector.rings = lambda: done.append("rings")
    selector.arm(time.monotonic_ns() + 10_000 * MS, lead=MS)
    os.write(writes, b"x")
    assert [key.fd for key, _ in selector.select(10)] == [reads]
    assert done == []
    selector.close()
    os.close(reads)
    os.close(writes)


def test_an_alarm_fires_once_for_each_arming(selector: AlarmSelector) -> None:
    rang: list[int] = []
    selector.rings = lambda: rang.append(1)
    selector.arm(1)
    selector.select(0)
    selector.select(0)
    selector.arm(1)
    selector.disarm()
    selector.select(0)
    assert rang == [1]
    selector.close()


def test_ready_descriptors_are_handled_even_if_the_alarm_is_late(selector: AlarmSelector) -> None:
    reads, writes = os.pipe()
    selector.register(reads, 1)
    selector.rings = lambda: selector.arm(1)
    selector.arm(1)
    assert selector.select(1) == []
    os.write(writes, b"x")
    assert [key.fd for key, _ in selector.select(1)] == [reads]
    selector.arm(time.monotonic_ns() + 10_000 * MS)
    assert [key.fd for key, _ in selector.select(10)] == [reads]
    selector.close()
    os.close(reads)
    os.close(writes)


def test_the_loops_own_timeouts_are_kept_while_an_alarm_waits(selector: AlarmSelector) -> None:
    selector.arm(time.monotonic_ns() + 10_000 * MS)
    began = time.monotonic_ns()
    assert selector.select(0.002) == []
    assert time.monotonic_ns() - began >= 2 * MS
    selector.close()


def test_an_alarm_may_start_tasks_and_its_exception_is_reported() -> None:
    done: list[str] = []
    errors: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PreciseLoop)
        loop.set_exception_handler(lambda _, context: errors.append(str(context["exception"])))
        over = loop.create_future()

        async def task() -> None:
            done.append("task")
            over.set_result(None)

        def first() -> None:
            loop.alarm.rings = lambda: tasks.append(asyncio.ensure_future(task()))
            loop.alarm.arm(time.monotonic_ns() + MS)
            raise RuntimeError("no price")

        tasks: list[asyncio.Future[None]] = []
        loop.alarm.rings = first
        loop.alarm.arm(time.monotonic_ns() + MS)
        await over
        loop.call_later(0.001, done.append, "later")
        await asyncio.sleep(0.002)

    with asyncio.Runner(loop_factory=PreciseLoop) as runner:
        runner.run(main())
    assert (done, errors) == (["task", "later"], ["no price"])


@pytest.mark.parametrize(("asked", "ours"), [("", "True"), ("set_event_loop_policy(Other())", "False")])
def test_the_loop_is_used_unless_another_policy_is_set_and_the_check_warns_of_nothing(
    asked: str, ours: str
) -> None:
    if asked and sys.version_info >= (3, 16):
        pytest.skip("asyncio has no policies from Python 3.16 on")
    text = f"""
import asyncio, warnings
from neverblink.worker.io.precise_loop import default_policy_in_force
if {asked!r}:
    class Other(asyncio.DefaultEventLoopPolicy): pass
    asyncio.{asked or "run"}
warnings.simplefilter("error")
print(default_policy_in_force())
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"{ours}\n"
