"""What each figure should show, beside what it did: the last table of a run.

The goals are those that neverblink was built to, for medians on a 2-core machine. Those that are ratios compare what
was measured in the same run, so they hold for any machine; a time that is missed on one that is busy may say more about
the machine, which is why the floor stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from .figure import Figure, number

__all__ = ["GOALS", "Goal", "compared", "table"]

Verdict = Literal["reached", "missed", "not measured"]


class Goal(msgspec.Struct, frozen=True):
    """Of `what`, at most `limit`, or, with `least`, at least; `of` finds what was measured in the run's object."""

    what: str
    limit: float
    unit: str
    of: Callable[[Mapping[str, Any]], float | None]
    least: bool = False
    below: bool = False
    """Whether `limit` itself is missed too."""

    def judge(self, found: Mapping[str, Any]) -> tuple[float | None, Verdict]:
        """What was measured (None: nothing), and whether the goal is reached."""
        try:
            value = self.of(found)
        except (KeyError, TypeError, ZeroDivisionError):
            value = None
        if value is None:
            # Left out, not requested, or failed: then it is null at some depth.
            return None, "not measured"
        if value == self.limit:
            return value, "missed" if self.below else "reached"
        return value, "reached" if (value > self.limit) == self.least else "missed"

    @property
    def text(self) -> str:
        sign = "≥" if self.least else "<" if self.below else "≤"
        return f"{sign} {self.limit:,g}{_unit(self.unit)}"


GOALS = (
    Goal("1: blackout, small state, p50", 250, "µs", lambda it: it["blackout_us"]["small"]["p50"]),
    Goal("1: blackout, small state, p99", 1000, "µs", lambda it: it["blackout_us"]["small"]["p99"]),
    Goal(
        "1: Erlang's with 100 entries, over it",
        3,
        "times",
        lambda it: it["erlang_us"]["100"]["p50"] / it["blackout_us"]["small"]["p50"],
        least=True,
    ),
    Goal("2: blackout, 1 000 000 entries, p50", 500, "µs", lambda it: it["blackout_us"]["table_1m"]["p50"]),
    Goal(
        "2: the same, over the small state's",
        2,
        "times",
        lambda it: it["blackout_us"]["table_1m"]["p50"] / it["blackout_us"]["small"]["p50"],
    ),
    Goal(
        "2: Erlang's with 1 000 000, over it",
        1000,
        "times",
        lambda it: it["erlang_us"]["1000000"]["p50"] / it["blackout_us"]["table_1m"]["p50"],
        least=True,
    ),
    Goal("3: ticks missed, 1 000 a second", 0, "", lambda it: it["ticks_1khz"]["missed"]),
    Goal("3: ticks doubled, 1 000 a second", 0, "", lambda it: it["ticks_1khz"]["doubled"]),
    Goal("3: ticks missed, 1 000 000 entries copied", 0, "", lambda it: it["ticks_table_1m"]["missed"]),
    Goal("3: ticks doubled, 1 000 000 entries copied", 0, "", lambda it: it["ticks_table_1m"]["doubled"]),
    Goal("4: a tick's cost, 0 keys touched", 10, "µs", lambda it: it["tick_cost_us"]["0"]),
    Goal("4: a tick's cost, 10 keys touched", 20, "µs", lambda it: it["tick_cost_us"]["10"]),
    Goal("4: a tick's cost, 100 keys touched", 60, "µs", lambda it: it["tick_cost_us"]["100"]),
    Goal("5: lateness over the bare loop's, p99", 1.3, "times", lambda it: it["wake_late_ratio_p99"]),
    Goal("6: commit over the bot's own start", 1.3, "times", lambda it: it["deploy_over_import_ratio"]),
    Goal("7: supervisor, idle", 1, "% of a core", lambda it: it["supervisor_idle_percent"], below=True),
    Goal("7: supervisor, memory", 40, "MB", lambda it: it["memory_mb"]["supervisor"], below=True),
)


def compared(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The goals as they stand in the object that `--json` ends with."""
    rows: dict[str, dict[str, Any]] = {}
    for goal in GOALS:
        value, verdict = goal.judge(found)
        rows[goal.what] = {
            "goal": goal.limit,
            "unit": goal.unit,
            "measured": None if value is None else round(value, 3),
            "verdict": verdict,
        }
    return rows


def table(found: Mapping[str, Any]) -> Figure:
    """The goals as a table for people, of those that were measured."""
    judged = [(goal, *goal.judge(found)) for goal in GOALS]
    rows = [
        (goal.what, goal.text, number(value), verdict) for goal, value, verdict in judged if value is not None
    ]
    reached = sum(verdict == "reached" for _, _, verdict in judged)
    notes = [
        f"{reached} of {len(rows)} reached"
        + (f", {left} not measured" if (left := len(judged) - len(rows)) else "")
    ]
    failed: Mapping[str, str] = found.get("failed", {})
    notes += [f"{name} could not be measured: {why}" for name, why in failed.items()]
    return Figure("Goals, and what was measured", ("goal", "measured", ""), rows, notes=notes)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
