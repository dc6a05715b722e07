"""`bin/bench`: every figure in one run, on this machine, beside the alternatives."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import blackout, cost, floor, ticks
from .figure import Figure, Scale, merged, show

_QUICK = Scale(
    quick=True, handoffs=200, handoffs_large=50, rows=1_000_000, seconds=1.5, restarts=3, deploys=2
)
_WHOLE = Scale(
    quick=False, handoffs=1000, handoffs_large=300, rows=1_000_000, seconds=10.0, restarts=15, deploys=7
)

FIGURES: dict[str, Callable[[Scale, Path], Figure]] = {
    "floor": floor.measure,
    "blackout": blackout.measure,
    "ticks": ticks.measure,
    "cost": cost.measure,
}

KEYS = (
    "blackout_us",
    "erlang_us",
    "restart_ms",
    "ticks_1khz",
    "tick_cost_us",
    "wake_late_ratio_p99",
    "deploy_over_import_ratio",
    "failover_ms",
    "memory_mb",
)
"""The keys of the object that `--json` ends with; what was not measured is null."""


def main() -> int:
    asked = _arguments()
    scale = _QUICK if asked.quick else _WHOLE
    # With --json there is nothing on stdout but the object.
    said = sys.stderr if asked.json else sys.stdout
    figures: list[Figure] = []
    for name, measure in FIGURES.items():
        if asked.figures and name not in asked.figures:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="neverblink-bench-") as tmp:
            figure = measure(scale, Path(tmp))
        figures.append(figure)
        print(f"{show(figure)}\n  [{name}, {time.monotonic() - began:.1f} s]\n", file=said, flush=True)
    found = merged(figures)
    if asked.json:
        print(json.dumps({key: found.get(key) for key in KEYS}), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"only these, of: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, within 50 seconds")
    parser.add_argument("--json", action="store_true", help="tables to stderr, one object to stdout")
    asked = parser.parse_args()
    unknown = [name for name in asked.figures if name not in FIGURES]
    if unknown:
        parser.error(f"there is no figure {', '.join(unknown)}: expected some of {', '.join(FIGURES)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
