"""The object that a real quick run ends with: what a program may rely on, whatever the machine can do.

It takes the better part of a minute, once for all of these tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .goals import GOALS

pytestmark = pytest.mark.deep

_ROOT = Path(__file__).resolve().parents[2]
_WITHIN = 300.0


class _QuickRun:
    """A quick run, its exit code, what it printed, and its object."""

    def __init__(self) -> None:
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.bench", "--quick", "--json"]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_WITHIN)
        self.took = time.monotonic() - began
        self.code = done.returncode
        self.out, self.err = done.stdout, done.stderr
        self.found: dict[str, Any] = json.loads(self.out)


@pytest.fixture(scope="module")
def ended() -> _QuickRun:
    return _QuickRun()


def test_a_quick_run_measures_every_figure(ended: _QuickRun, say: Callable[[str], None]) -> None:
    say(f"bin/bench --quick took {ended.took:.0f} s")
    assert ended.found["failed"] == {}, ended.err
    assert ended.code == 0


def test_stdout_is_a_single_json_object(ended: _QuickRun) -> None:
    assert ended.out.endswith("}\n")
    assert ended.out.count("\n") == 1


def test_blackouts_are_reported_for_the_small_and_the_large_state(ended: _QuickRun) -> None:
    blackout = ended.found["blackout_us"]
    assert set(blackout) == {"small", "table_1m"}
    for found in blackout.values():
        _is_a_spread(found)


def test_erlang_is_measured_by_entries_or_named_as_left_out(ended: _QuickRun) -> None:
    erlang = ended.found["erlang_us"]
    if shutil.which("erl") is None:
        assert erlang is None
        assert "Erlang/OTP is left out" in ended.err
    else:
        assert {"100", "1000000"} <= set(erlang)
        assert all(_positive(found["p50"]) for found in erlang.values())
        assert erlang["1000000"]["p50"] > erlang["100"]["p50"]


def test_restarts_are_measured_or_named_as_left_out(ended: _QuickRun) -> None:
    restart = ended.found["restart_ms"]
    assert set(restart) == {"supervisord", "circus", "execv"}
    assert _positive(restart["execv"])
    for name in ("supervisord", "circus"):
        assert _positive(restart[name]) if restart[name] is not None else f"{name} is left out" in ended.err


def test_ticks_through_handoffs_are_counted(ended: _QuickRun) -> None:
    for key, handoffs in (("ticks_1khz", 150), ("ticks_table_1m", 50)):
        found = ended.found[key]
        assert found["handoffs"] == handoffs
        assert found["doubled"] == 0
        assert found["missed"] >= 0
        _is_a_spread(found["late_us"])


def test_the_cost_of_a_tick_is_reported_by_touched_keys(ended: _QuickRun) -> None:
    cost = ended.found["tick_cost_us"]
    assert set(cost) == {"0", "10", "100"}
    assert _positive(cost["100"])


def test_ratios_are_numbers(ended: _QuickRun) -> None:
    assert _positive(ended.found["wake_late_ratio_p99"])
    assert _positive(ended.found["deploy_over_import_ratio"])
    missing = [name for name in ("numpy", "pandas") if find_spec(name) is None]
    assert not missing or "imports numpy and pandas is left out" in ended.err


def test_failovers_are_reported_with_and_without_a_standby(ended: _QuickRun) -> None:
    failover = ended.found["failover_ms"]
    assert set(failover) == {"standby", "journal"}
    for found in failover.values():
        assert 0 < found["p50"] <= found["max"]
        assert 0 <= found["missed"]["p50"] <= found["missed"]["max"]


def test_memory_and_the_supervisors_usage_are_reported(ended: _QuickRun) -> None:
    memory = ended.found["memory_mb"]
    assert set(memory) == {"leader", "follower", "supervisor"}
    assert all(map(_positive, memory.values()))
    assert _positive(ended.found["supervisor_idle_percent"])


def test_each_goal_is_reported_with_its_measurement(ended: _QuickRun) -> None:
    goals = ended.found["goals"]
    assert list(goals) == [goal.what for goal in GOALS]
    without = {name for name, goal in goals.items() if goal["verdict"] == "not measured"}
    assert all(goals[name]["measured"] is None for name in without)
    assert without == (set() if shutil.which("erl") else {name for name in goals if "Erlang's" in name})
    # The last table of the run, for people.
    last = ended.err[ended.err.rindex("Goals, and what was measured") :]
    assert all(name in last for name in goals if name not in without)


def _is_a_spread(found: dict[str, float]) -> None:
    assert 0 < found["p50"] <= found["p99"] <= found["max"]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
