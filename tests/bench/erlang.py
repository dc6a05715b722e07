"""Beside it: Erlang/OTP's suspend, load, change_code, resume, of a process with as many entries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .figure import Figure, Scale, row
from .spread import spread

__all__ = ["measure"]

_SOURCES = Path(__file__).parent / "otp"
_WITHIN = 120.0


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "Erlang/OTP: suspend, load, change_code (each entry mapped), resume, µs", ("p50", "p99", "max")
    )
    if shutil.which("erl") is None:
        figure.notes.append("Erlang/OTP is left out: erl is not installed here (Debian: erlang-base)")
        return figure
    release = _erl(tmp, "-eval", _compiling(("1", "2"), tmp))
    figure.notes.append(f"OTP {release.strip()}")
    wanted = {
        100: 50 if scale.quick else 1000,
        10_000: 20 if scale.quick else 1000,
        scale.rows: 3 if scale.quick else 15,
    }
    output = _erl(tmp, "-pa", ".", "-run", "swap", "main", "1", "2", *(f"{n}:{t}" for n, t in wanted.items()))
    lines = [tuple(map(int, line.split())) for line in output.splitlines()]
    found: dict[str, dict[str, float]] = {}
    for entries in wanted:
        taken = spread(took for count, took in lines if count == entries)
        figure.rows.append(row(f"{entries:,} entries", taken, 1000))
        found[str(entries)] = {"p50": taken.p50 / 1000}
        figure.marks.setdefault("size: Erlang/OTP", []).append((entries, taken.p50 / 1000))
    figure.data = {"erlang_us": found}
    return figure


def _compiling(versions: Sequence[str], tmp: Path) -> str:
    """Erlang that compiles the sources into `tmp`, live.erl once for each version, and prints the OTP's release."""
    for version in versions:
        (tmp / version).mkdir()
    one = '{{ok, _}} = compile:file("{}", [return_errors, {{outdir, "{}"}}{}]), '
    live = "".join(one.format(_SOURCES / "live.erl", v, f", {{d, 'VSN', {v}}}") for v in versions)
    swap = one.format(_SOURCES / "swap.erl", ".", "")
    return live + swap + 'io:format("~s", [erlang:system_info(otp_release)]), halt().'


def _erl(tmp: Path, *arguments: str) -> str:
    """What Erlang prints. Raises CalledProcessError when it fails."""
    return subprocess.run(
        ["erl", "-noshell", *arguments],
        cwd=tmp,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_WITHIN,
    ).stdout
