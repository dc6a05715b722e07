"""`bin/bench`: every figure in one run, on this machine, beside the alternatives."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import (
    blackout,
    cost,
    deploy,
    erlang,
    failover,
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
from .figure import Figure, Scale, merged, show
from .plot import Series, picture

_QUICK = Scale(
    quick=True, handoffs=200, handoffs_large=50, rows=1_000_000, seconds=0.8, restarts=2, deploys=1
)
_WHOLE = Scale(
    quick=False, handoffs=1000, handoffs_large=300, rows=1_000_000, seconds=10.0, restarts=15, deploys=7
)

FIGURES: dict[str, Callable[[Scale, Path], Figure]] = {
    "floor": floor.measure,
    "blackout": blackout.measure,
    "path": path.measure,
    "sizes": sizes.measure,
    "large": large.measure,
    "erlang": erlang.measure,
    "restarts": restarts.measure,
    "ticks": ticks.measure,
    "cost": cost.measure,
    "wake": wake.measure,
    "deploy": deploy.measure,
    "failover": failover.measure,
    "idle": idle.measure,
    "listeners": listeners.measure,
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
    "listeners",
)
"""The keys of the object that `--json` ends with; what was not measured is null."""


def main() -> int:
    asked = _arguments()
    scale = _QUICK if asked.quick else _WHOLE
    # With --json there is nothing on stdout but the object.
    said = sys.stderr if asked.json else sys.stdout
    figures: list[Figure] = []
    for name, measure in FIGURES.items():
        if not _wanted(name, asked):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="neverblink-bench-") as tmp:
            figure = measure(scale, Path(tmp))
        figures.append(figure)
        print(f"{show(figure)}\n  [{name}, {time.monotonic() - began:.1f} s]\n", file=said, flush=True)
    if asked.plot:
        for file in _plot(figures, Path(asked.plot)):
            print(f"wrote {file}", file=said)
    found = merged(figures)
    if asked.json:
        print(json.dumps({key: found.get(key) for key in KEYS}), flush=True)
    return 0


def _wanted(name: str, asked: argparse.Namespace) -> bool:
    if asked.figures:
        return name in asked.figures
    if name == "sizes":
        # They make a picture, and no number that is asked for.
        return bool(asked.plot)
    return name not in ("path", "listeners") or not asked.quick


def _plot(figures: list[Figure], place: Path) -> list[Path]:
    """Write the pictures for which there are points; return where they are."""
    place.mkdir(parents=True, exist_ok=True)
    marks: dict[str, list[tuple[float, float]]] = {}
    for figure in figures:
        for name, points in figure.marks.items():
            marks.setdefault(name, []).extend(points)
    late = [
        Series(name.removeprefix("late: "), points, dots=True)
        for name, points in marks.items()
        if name.startswith("late: ")
    ]
    by_size = [Series(name, marks[name]) for name in ("neverblink", "Erlang/OTP") if name in marks]
    written: list[Path] = []
    if late:
        title = "How late ticks begin through a deploy (command at 0)"
        written.append(place / "lateness.svg")
        written[-1].write_text(picture(title, "s", "µs late", late), encoding="utf-8")
    if by_size:
        title = "Nobody can tick, by the size of the state"
        written.append(place / "blackout.svg")
        written[-1].write_text(picture(title, "entries", "µs", by_size, log_across=True), encoding="utf-8")
    return written


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"only these, of: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, within 50 seconds")
    parser.add_argument("--json", action="store_true", help="tables to stderr, one object to stdout")
    parser.add_argument(
        "--plot", metavar="DIR", nargs="?", const="bench-pictures", help="write pictures (SVG) into DIR"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.figures if name not in FIGURES]
    if unknown:
        parser.error(f"there is no figure {', '.join(unknown)}: expected some of {', '.join(FIGURES)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
