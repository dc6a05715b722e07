"""`bin/bench`: every figure in one run, on this machine, beside the alternatives."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import (
    blackout,
    codecs,
    cost,
    deploy,
    erlang,
    events,
    failover,
    feeds,
    floor,
    idle,
    large,
    listeners,
    path,
    restarts,
    sizes,
    ticks,
    wake,
)
from .figure import Scale, merged, show
from .goals import compared, table
from .pictures import pictures
from .run import Measure, Run, run

_QUICK = Scale(
    quick=True, handoffs=150, handoffs_large=50, rows=1_000_000, seconds=0.8, restarts=2, deploys=1
)
_WHOLE = Scale(
    quick=False, handoffs=1000, handoffs_large=300, rows=1_000_000, seconds=10.0, restarts=15, deploys=7
)

FIGURES: dict[str, Measure] = {
    "floor": floor.measure,
    "blackout": blackout.measure,
    "path": path.measure,
    "sizes": sizes.measure,
    "large": large.measure,
    "erlang": erlang.measure,
    "restarts": restarts.measure,
    "ticks": ticks.measure,
    "cost": cost.measure,
    "codecs": codecs.measure,
    "wake": wake.measure,
    "deploy": deploy.measure,
    "failover": failover.measure,
    "idle": idle.measure,
    "listeners": listeners.measure,
    "events": events.measure,
    "feeds": feeds.measure,
}

KEYS = (
    "blackout_us",
    "erlang_us",
    "restart_ms",
    "ticks_1khz",
    "ticks_table_1m",
    "tick_cost_us",
    "large_value",
    "wake_late_ratio_p99",
    "deploy_over_import_ratio",
    "failover_ms",
    "memory_mb",
    "supervisor_idle_percent",
    "listeners",
    "events_per_second",
    "events_blackout_us",
    "feeds",
)
"""What is measured in the object that `--json` ends with; beside it: `goals`, `failed` (name: why) and `machine`."""

_EXIT = (
    "Exit codes: 0, everything was measured (what is not installed here is left out by name); 1, a figure could not "
    "be measured: it is named with the reason, and null in the object; 2, it could not begin; 130, interrupted or told "
    "to end."
)


def main(argv: Sequence[str] | None = None, figures: Mapping[str, Measure] = FIGURES) -> int:
    """Do what the command line says; return the exit code, which `--help` lists."""
    asked = _arguments(argv, figures)
    # With --json there is nothing on stdout but the object.
    output = sys.stderr if asked.json else sys.stdout
    wanted = {name: measure for name, measure in figures.items() if _wanted(name, asked)}
    print(f"{machine()}\n", file=output, flush=True)
    try:
        done = run(wanted, _QUICK if asked.quick else _WHOLE, output, trace=asked.trace)
    except KeyboardInterrupt:
        print("bin/bench: interrupted", file=sys.stderr)
        return 130
    if asked.plot:
        for file in pictures(done.figures, Path(asked.plot)):
            print(f"wrote {file}", file=output)
    found = whole(done)
    goals = table(found)
    if goals.rows or done.failed:
        print(show(goals), file=output)
    if asked.json:
        print(json.dumps(found), flush=True)
    return 1 if done.failed else 0


def whole(done: Run) -> dict[str, Any]:
    """The object that `--json` ends with: each of KEYS, and null for what was not measured."""
    found = merged(done.figures)
    values = {key: found.get(key) for key in KEYS}
    return {**values, "goals": compared(found), "failed": done.failed, "machine": machine()}


def machine() -> str:
    """What this is measured on, and how much it has to do already."""
    cores = len(os.sched_getaffinity(0))
    load = f"{os.getloadavg()[0]:.1f}"
    return (
        f"{cores} {'core' if cores == 1 else 'cores'}, load {load}; {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _wanted(name: str, asked: argparse.Namespace) -> bool:
    if asked.figures:
        return name in asked.figures
    if name == "sizes":
        # They make a picture, and no number that is asked for.
        return bool(asked.plot)
    return name not in ("path", "listeners") or not asked.quick


def _arguments(argv: Sequence[str] | None, figures: Mapping[str, Measure]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__, epilog=_EXIT)
    parser.add_argument("figures", nargs="*", help=f"only these, of: {', '.join(figures)}")
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats, within 50 seconds; without path and listeners"
    )
    parser.add_argument("--json", action="store_true", help="tables to stderr, one object to stdout")
    parser.add_argument(
        "--plot", metavar="DIR", nargs="?", const="bench-pictures", help="write pictures (SVG) into DIR"
    )
    parser.add_argument(
        "--trace", action="store_true", help="show where a figure failed that could not be measured"
    )
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.figures if name not in figures]
    if unknown:
        parser.error(f"there is no figure {', '.join(unknown)}: expected some of {', '.join(figures)}")
    return asked


if __name__ == "__main__":
    # A run that is ended by a signal must not leave a bot ticking.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
