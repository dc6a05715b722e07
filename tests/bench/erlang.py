"""Beside it: Erlang/OTP's suspend, load, change_code, resume, of a process with as many entries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .figure import Figure, Scale, row
from .spread import Spread, spread

__all__ = ["measure"]

_SOURCES = Path(__file__).parent / "otp"
_LARGE = 100_000
_WITHIN = 120.0


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "Erlang/OTP: suspend, load, change_code (each entry mapped), resume, µs", ("p50", "p99", "max")
    )
    if shutil.which("erlc") is None:
        figure.notes.append("left out: erlc is not here; Debian has it in erlang-base")
        return figure
    release = subprocess.run(
        ["erl", "-noshell", "-eval", 'io:format("~s", [erlang:system_info(otp_release)]), halt().'],
        capture_output=True,
        text=True,
        check=True,
        timeout=_WITHIN,
    ).stdout
    figure.notes.append(f"OTP {release}")
    for version in ("1", "2"):
        (tmp / version).mkdir()
        _compile(tmp / version, "live.erl", f"-DVSN={version}")
    _compile(tmp, "swap.erl")
    found: dict[str, dict[str, float]] = {}
    for entries in (100, 10_000, scale.rows):
        few = entries > _LARGE
        times = (3 if scale.quick else 15) if few else (50 if scale.quick else 1000)
        taken = _swap(tmp, entries, times)
        figure.rows.append(row(f"{entries:,} entries", taken, 1000))
        found[str(entries)] = {"p50": taken.p50 / 1000}
        figure.marks.setdefault("Erlang/OTP", []).append((entries, taken.p50 / 1000))
    figure.data = {"erlang_us": found}
    return figure


def _compile(place: Path, source: str, *options: str) -> None:
    subprocess.run(["erlc", *options, "-o", str(place), str(_SOURCES / source)], check=True, timeout=_WITHIN)


def _swap(tmp: Path, entries: int, times: int) -> Spread:
    said = subprocess.run(
        ["erl", "-noshell", "-pa", ".", "-run", "swap", "main", str(entries), str(times), "1", "2"],
        cwd=tmp,
        capture_output=True,
        text=True,
        check=True,
        timeout=_WITHIN,
    ).stdout
    return spread(int(line) for line in said.split())
