"""Runs the table of targets under atheris: `bin/fuzz [SECONDS] [TARGET]`.

Each target has a process of its own, which the fuzzer may kill for taking too long or too much memory. What was found
is in `.fuzz/TARGET/`, one file a finding, and is run again with `bin/fuzz 0 TARGET`.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_PLACE = Path(".fuzz")
_LONGEST_INPUT = 4096
_SECONDS_EACH = 10
_MEMORY_MB = 2048


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        return _one(arguments[1], int(arguments[2]))
    try:
        seconds = int(arguments[0]) if arguments else 600
    except ValueError:
        print(f"bin/fuzz: {arguments[0]!r} is not a number of seconds", file=sys.stderr)
        return 2
    from .targets import TARGETS

    names = arguments[1:] or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        print(f"bin/fuzz: no target {unknown[0]!r}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    return _all(names, seconds)


def _all(names: list[str], seconds: int) -> int:
    # The start of a target takes time too; it must not shorten the time of the others.
    share = max(1, seconds // len(names)) if seconds else 0
    failed: list[str] = []
    for name in names:
        log = _place(name) / "log"
        with log.open("wb") as file:
            status = subprocess.run(
                [sys.executable, "-m", "tests.fuzz", "--one", name, str(share)], stdout=file, stderr=file
            ).returncode
        runs = _runs(log.read_text(errors="replace"))
        text = f"FOUND: see {log}" if status else "nothing found" if runs != "?" else "did not run"
        print(f"{name:<28} {runs:>12} runs in {share:>4} s   {text}", flush=True)
        if status:
            failed.append(name)
    print(f"{len(names)} targets, {len(failed)} with findings{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


def _one(name: str, seconds: int) -> int:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["neverblink", "tomllib"]):
        from .targets import TARGETS
    target = TARGETS[name]
    place = _place(name)
    corpus = place / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(_seeds(target.whole)):
        (corpus / f"seed-{number}").write_bytes(data)

    def test(data: bytes) -> None:
        with suppress(*target.errors):
            target.run(data)

    findings = sorted(
        path for path in place.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))
    )
    for path in findings:
        print(f"again: {path}", flush=True)
        test(path.read_bytes())
    if not seconds:
        return 0
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={_LONGEST_INPUT}",
            f"-timeout={_SECONDS_EACH}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-artifact_prefix={place}{os.sep}",
            "-print_final_stats=1",
            str(corpus),
        ],
        test,
    )
    atheris.Fuzz()
    return 0


def _seeds(whole: SearchStrategy[bytes]) -> list[bytes]:
    """A few valid inputs to start from."""
    from hypothesis import HealthCheck, Phase, given, settings

    found: list[bytes] = []

    @settings(
        max_examples=40,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(whole)
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    return found


def _place(name: str) -> Path:
    place = _PLACE / "".join(letter if letter.isalnum() else "-" for letter in name)
    place.mkdir(parents=True, exist_ok=True)
    return place


def _runs(log: str) -> str:
    """How often the target ran, as the fuzzer reports at its end."""
    return (
        log.rpartition("stat::number_of_executed_units:")[2].split(maxsplit=1)[0] if "stat::" in log else "?"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
