"""Figure 6: how long a deploy takes from the command to the commit, beside the start of the bot's own program.

All of it is real: `neverblink up`, a request over its socket as a pipeline sends it, a release copied and a process
started on it; the commit is the event that says that the new code leads. The time in which the state is
rehearsed is taken out, because it depends on the state; it is shown. The bot's own start ends with its last import.
"""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ..whole.bots import bot
from ..whole.live import Live
from .figure import Figure, Scale, number
from .lived import lived
from .start import start

__all__ = ["measure"]

_BEFORE = 500_000_000
_IMPORTS = {"nothing": (), "numpy and pandas": ("numpy", "pandas")}


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "A deploy from the command to the commit, ms (medians)",
        ("commit", "of it rehearsal", "the bot's own start", "ratio"),
        notes=["ratio: commit without rehearsal, over an interpreter that has imported the bot"],
    )
    worst = 0.0
    for name, modules in _IMPORTS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            figure.notes.append(f"imports {name} is left out: {' and '.join(missing)} not installed here")
            continue
        imports = "".join(f"import {module}\n" for module in modules)
        place = tmp / name.replace(" ", "-")
        place.mkdir()
        commit, rehearsal, imported, last = _one(place, imports, scale.deploys)
        figure.marks[f"late: imports {name}"] = last.late
        figure.marks[f"handoff: imports {name}"] = last.handoff
        ratio = (commit - rehearsal) / imported
        worst = max(worst, ratio)
        figure.rows.append(
            (f"imports {name}", number(commit), number(rehearsal), number(imported), number(ratio))
        )
    figure.data = {"deploy_over_import_ratio": round(worst, 2)}
    return figure


class _LastDeployment(msgspec.Struct, frozen=True):
    """The last deploy, for a picture: ticks' lateness and the handoff's blackout (µs), by seconds from the command."""

    late: list[tuple[float, float]]
    handoff: list[tuple[float, float]]


def _one(tmp: Path, imports: str, deploys: int) -> tuple[float, float, float, _LastDeployment]:
    """Medians in ms: command to commit, the rehearsal in it, and the bot's own start; and the last deploy."""
    live = Live(tmp)
    commits: list[float] = []
    rehearsals: list[float] = []
    starts: list[float] = []
    at = 0
    try:
        live.up(live.code("v0", bot(first=imports), start_within="25s"))
        for version in range(1, deploys + 1):
            place = live.code(
                f"v{version}", bot(first=imports) + f"# version {version}\n", start_within="25s"
            )
            starts.append(start(place))
            began, at = time.monotonic(), time.time_ns()
            number = live.begin(place)
            live.phase(number, "probation")
            commits.append((time.monotonic() - began) * 1000)
            live.ended(number)
            rehearsals.append(live.phase(number, "waiting")["took"] / 1e6)
        live.down()
        found = lived(live.home / "journal", after=at - _BEFORE)
        last = _LastDeployment(
            [((due - at) / 1e9, late / 1000) for due, late in found.late],
            [((found.handed[-1] - at) / 1e9, found.blackouts[-1] / 1000)],
        )
    finally:
        live.close()
    return statistics.median(commits), statistics.median(rehearsals), statistics.median(starts), last
