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


class _Ended:
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
def ended() -> _Ended:
    return _Ended()


def test_it_measures_everything(ended: _Ended, say: Callable[[str], None]) -> None:
    say(f"bin/bench --quick took {ended.took:.0f} s")
    assert ended.found["failed"] == {}, ended.err
    assert ended.code == 0


def test_stdout_is_one_object_and_nothing_else(ended: _Ended) -> None:
    assert ended.out.endswith("}\n")
    assert ended.out.count("\n") == 1


def test_blackouts_are_spreads_of_both_states(ended: _Ended) -> None:
    blackout = ended.found["blackout_us"]
    assert set(blackout) == {"small", "table_1m"}
    for found in blackout.values():
        _is_a_spread(found)


def test_erlang_is_there_by_entries_or_left_out_by_name(ended: _Ended) -> None:
    erlang = ended.found["erlang_us"]
    if shutil.which("erl") is None:
        assert erlang is None
        assert "Erlang/OTP is left out" in ended.err
    else:
        assert {"100", "1000000"} <= set(erlang)
        assert all(_positive(found["p50"]) for found in erlang.values())
        assert erlang["1000000"]["p50"] > erlang["100"]["p50"]


def test_restarts_are_there_or_left_out_by_name(ended: _Ended) -> None:
    restart = ended.found["restart_ms"]
    assert set(restart) == {"supervisord", "circus", "execv"}
    assert _positive(restart["execv"])
    for name in ("supervisord", "circus"):
        assert _positive(restart[name]) if restart[name] is not None else f"{name} is left out" in ended.err


def test_ticks_through_handoffs_are_counted(ended: _Ended) -> None:
    for key, handoffs in (("ticks_1khz", 150), ("ticks_table_1m", 50)):
        found = ended.found[key]
        assert found["handoffs"] == handoffs
        assert found["doubled"] == 0
        assert found["missed"] >= 0
        _is_a_spread(found["late_us"])


def test_a_ticks_cost_is_there_by_touched_keys(ended: _Ended) -> None:
    cost = ended.found["tick_cost_us"]
    assert set(cost) == {"0", "10", "100"}
    assert _positive(cost["100"])


def test_ratios_are_numbers(ended: _Ended) -> None:
    assert _positive(ended.found["wake_late_ratio_p99"])
    assert _positive(ended.found["deploy_over_import_ratio"])
    missing = [name for name in ("numpy", "pandas") if find_spec(name) is None]
    assert not missing or "imports numpy and pandas is left out" in ended.err


def test_failovers_are_there_with_a_standby_and_without(ended: _Ended) -> None:
    failover = ended.found["failover_ms"]
    assert set(failover) == {"standby", "journal"}
    for found in failover.values():
        assert 0 < found["p50"] <= found["max"]
        assert 0 <= found["missed"]["p50"] <= found["missed"]["max"]


def test_memory_and_what_the_supervisor_uses_are_there(ended: _Ended) -> None:
    memory = ended.found["memory_mb"]
    assert set(memory) == {"leader", "follower", "supervisor"}
    assert all(map(_positive, memory.values()))
    assert _positive(ended.found["supervisor_idle_percent"])


def test_each_goal_stands_beside_what_was_measured(ended: _Ended) -> None:
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
