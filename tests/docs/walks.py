"""Records the walks of docs/architecture.md from a real run: `python -m tests.docs.walks`.

Starts the starter bot, deploys a change of it, asks for its status, and prints the files whose functions ran, in order
and with the first function of each. Files that run while nothing is asked are left out of the first and third walk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TRACING = Path(__file__).parent / "tracing"
COMMAND = (sys.executable, "-m", "neverblink.supervisor.cli")
PATIENCE = 120.0
IDLE = 3.0


class Call(NamedTuple):
    """A call of one of our functions; `who` is `client`, `supervisor` or the log's name of a worker."""

    at: int
    who: str
    file: str
    function: str


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        notes = place / "notes"
        notes.mkdir()
        idle, deploy, status = _run(place, notes)
        calls = _read(notes)
    beating = {(call.who, call.file) for call in calls if idle[0] <= call.at <= idle[1]}
    workers = list(dict.fromkeys(call.who for call in calls if call.who.startswith("worker")))
    ticks = [
        item.at for item in calls if item.who == workers[-1] and item.function == "ReportCounters.ticked"
    ]
    _show("deploy", [call for call in calls if deploy[0] <= call.at <= ticks[0]], beating)
    leader = [call for call in calls if call.who == workers[-1]]
    _show(
        "one tick",
        [call for call in leader if ticks[1] - 5_000_000 <= call.at <= ticks[1] + 3_000_000],
        set(),
    )
    asked = [
        call for call in calls if status[0] <= call.at <= status[1] and not call.who.startswith("worker")
    ]
    _show("status", asked, beating)


def _run(place: Path, notes: Path) -> list[tuple[int, int]]:
    """Run the bot; return from when to when it was left alone, deployed, and asked."""
    bot = place / "bot"
    subprocess.run([*COMMAND, "init", str(bot)], check=True, stdout=subprocess.DEVNULL)
    traced = {**os.environ, "PYTHONPATH": str(TRACING), "WALKS": str(notes), "WALKS_ROOT": str(ROOT)}

    def ask(*words: str, environment: dict[str, str] | None = None) -> tuple[int, int]:
        begun = time.time_ns()
        subprocess.run([*COMMAND, *words], cwd=bot, env=environment, check=True, stdout=subprocess.DEVNULL)
        return begun, time.time_ns()

    with (place / "up.log").open("w") as log:
        up = subprocess.Popen([*COMMAND, "up"], cwd=bot, env=traced, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE
        status = [*COMMAND, "status", "--json"]
        while b'"role":"leading"' not in subprocess.run(status, cwd=bot, capture_output=True).stdout.replace(
            b" ", b""
        ):
            assert time.monotonic() < until, (place / "up.log").read_text()
            time.sleep(0.1)
        begun = time.time_ns()
        time.sleep(IDLE)
        windows = [(begun, time.time_ns())]
        with (bot / "bot.py").open("a") as code:
            code.write("# changed\n")
        windows.append(ask("deploy", ".", environment=traced))
        windows.append(ask("status", environment=traced))
        ask("down")
    finally:
        up.terminate()
        up.wait()
    return windows


def _read(notes: Path) -> list[Call]:
    found: list[Call] = []
    for path in notes.glob("*.txt"):
        first, *lines = path.read_text().splitlines()
        words = first.split()
        who = "supervisor" if words[-1] == "up" else path.stem if "neverblink.worker" in words else "client"
        who = f"worker {who}" if who == path.stem else who
        for line in lines:
            at, file, function = line.split(" ", 2)
            found.append(Call(int(at), who, file, function))
    return sorted(found)


def _show(title: str, calls: list[Call], beating: set[tuple[str, str]]) -> None:
    first: dict[str, Call] = {}
    for call in calls:
        if (call.who, call.file) not in beating:
            first.setdefault(call.file, call)
    print(f"== {title}: {len(first)} files, {len({call.file for call in calls})} with what runs anyway")
    for call in first.values():
        print(f"{call.who.split()[0]:10} {call.file:45} {call.function}")


if __name__ == "__main__":
    main()
