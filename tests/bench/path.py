"""Where each microsecond of a blackout goes: the steps of a handoff in both processes, on the clock that they share."""

from __future__ import annotations

from pathlib import Path

from .blackout import alternate
from .figure import Figure, Scale, number
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["measure"]

_STEPS = (
    ("frame made", "old: the last frame, encoded, written and digested"),
    ("lease dropped", "old: the lease dropped"),
    ("sent", "old: the frame given to the successor"),
    ("received", "new: the frame found by the successor"),
    ("applied", "new: the frame decoded, checked and applied"),
    ("lease taken", "new: the lease taken, its epoch written"),
    ("journal attached", "new: the end of the journal found where it should be"),
    ("taking over", "new: the roles changed"),
    ("able to tick", "new: the state found untouched, the old worker told"),
)
"""In order: the mark that ends each step, and what the step does."""


def measure(scale: Scale, tmp: Path) -> Figure:
    handoffs = min(scale.handoffs, 300)
    environment = {"BENCH_TICK": "10ms", "BENCH_ROWS": "10", "BENCH_TOUCHED": "1", "BENCH_MARKS": str(tmp)}
    with BenchPool(tmp / "home", environment, target="traced:Beat") as pool:
        pool.lead(pool.start())
        pool.follow(pool.start())
        alternate(pool, handoffs)
        pool.stop()
    paths = _paths(tmp)
    figure = Figure(
        f"Where a blackout goes, µs (medians of {len(paths)} handoffs)", ("of this step", "at its end")
    )
    before = 0.0
    for name, what in _STEPS:
        at = spread(path[name] for path in paths).p50 / 1000
        figure.rows.append((what, number(at - before), number(at)))
        before = at
    return figure


def _paths(place: Path) -> list[dict[str, int]]:
    """For each handoff, how long after the last boundary each mark was, ns; those that were cut short are left out."""
    marks = sorted(
        (int(at), name)
        for file in place.glob("*.marks")
        for at, _, name in (line.partition(" ") for line in file.read_text(encoding="ascii").splitlines())
    )
    paths: list[dict[str, int]] = []
    began = 0
    path: dict[str, int] | None = None
    for at, name in marks:
        if name == "boundary":
            began, path = at, {}
        elif path is not None:
            if name == "received" and "sent" not in path:
                # An earlier frame, not the last one.
                continue
            path[name] = at - began
            if name == "able to tick":
                if all(step in path for step, _ in _STEPS):
                    paths.append(path)
                path = None
    if not paths:
        raise RuntimeError(
            "no handoff left all of its marks: has something in bots/traced.py another name now?"
        )
    return paths
