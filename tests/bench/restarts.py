"""Beside it: what people do today. The same bot, its state (10 000 entries) in a file, restarted with new code.

supervisord and circus restart it by their own commands; `execv` replaces its program in place; `importlib.reload`
reads the module again and leaves everything else, old objects of old classes included, as it was. What is measured is
the same as neverblink's blackout: from the moment in which the old code can no longer tick to that in which the new one
can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from .crew import BOTS
from .figure import Figure, Scale, row
from .spread import Spread, spread

__all__ = ["measure"]

_WITHIN = 30.0
_TOOLS = Path(sys.executable).parent
_STRATEGY = "def on_tick(book):\n    book[0] = (book[0][0] + 1, 101.5, 102.25, 99.75, 100.0)\n"


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "A restart with the state in a file (10 000 entries), ms nobody could tick", ("p50", "p99", "max")
    )
    found: dict[str, float] = {}
    ways: dict[str, Callable[[Path, int], Spread]] = {
        "supervisord": _supervisord,
        "circus": _circus,
        "execv": lambda place, times: _signalled(place, times, signal.SIGUSR1),
        "importlib.reload": lambda place, times: _signalled(place, times, signal.SIGUSR2),
    }
    for name, way in ways.items():
        package = {"supervisord": "supervisor", "circus": "circus"}.get(name)
        if package and not (_TOOLS / f"{package}ctl").exists() and find_spec("circus") is None:
            figure.notes.append(f"{name} is left out: it is not installed here")
            continue
        place = tmp / name
        place.mkdir()
        (place / "strategy.py").write_text(_STRATEGY, encoding="ascii")
        taken = way(place, scale.restarts)
        figure.rows.append(row(name, taken, 1e6))
        found[name] = round(taken.p50 / 1e6, 3)
    figure.data = {"restart_ms": {name: ms for name, ms in found.items() if name != "importlib.reload"}}
    return figure


def _supervisord(place: Path, times: int) -> Spread:
    (place / "conf").write_text(
        f"""[supervisord]
nodaemon=true
logfile={place}/log
pidfile={place}/supervisord.pid
childlogdir={place}
[unix_http_server]
file={place}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{place}/sock
[program:bot]
command={" ".join(_bot(place))}
startsecs=0
""",
        encoding="utf-8",
    )
    control = [str(_TOOLS / "supervisorctl"), "-c", f"{place}/conf", "restart", "bot"]
    with _Running(place, [str(_TOOLS / "supervisord"), "-c", f"{place}/conf"]) as running:
        return running.gaps(times, lambda: _told(control, place))


def _circus(place: Path, times: int) -> Spread:
    endpoint, told = f"ipc://{place}/ctl.sock", f"ipc://{place}/told.sock"
    (place / "conf").write_text(
        f"""[circus]
endpoint = {endpoint}
pubsub_endpoint = {told}
[watcher:bot]
cmd = {" ".join(_bot(place))}
numprocesses = 1
warmup_delay = 0
graceful_timeout = 10
""",
        encoding="utf-8",
    )
    control = [str(_TOOLS / "circusctl"), "--endpoint", endpoint, "restart", "bot"]
    with _Running(place, [str(_TOOLS / "circusd"), f"{place}/conf"]) as running:
        return running.gaps(times, lambda: _told(control, place))


def _signalled(place: Path, times: int, number: int) -> Spread:
    with _Running(place, _bot(place)) as running:
        return running.gaps(times, lambda: os.kill(running.pid(), number))


def _told(control: list[str], place: Path) -> None:
    subprocess.run(control, check=True, cwd=place, stdout=subprocess.DEVNULL, timeout=_WITHIN)


def _bot(place: Path) -> list[str]:
    return [sys.executable, str(BOTS / "restarted.py"), str(place)]


class _Running:
    """A program that keeps the bot running; ended with the bot."""

    def __init__(self, place: Path, command: list[str]) -> None:
        self._place = place
        with open(place / "said", "wb") as said:
            self._process = subprocess.Popen(
                command, cwd=place, stdout=said, stderr=said, start_new_session=True
            )

    def gaps(self, times: int, again: Callable[[], object]) -> Spread:
        """Have the bot begin `again` so often; return how long nobody could tick, ns."""
        self._wait("able", 1)
        for number in range(times):
            again()
            self._wait("able", number + 2)
            # It shall have ticked in between.
            time.sleep(0.05)
        marks = self._marks()
        stops = [at for word, at in marks if word == "stops"]
        able = [at for word, at in marks if word == "able"][1:]
        return spread(began - ended for ended, began in zip(stops, able, strict=True))

    def pid(self) -> int:
        return int((self._place / "pid").read_text())

    def _wait(self, word: str, count: int) -> None:
        end = time.monotonic() + _WITHIN
        while sum(said == word for said, _ in self._marks()) < count:
            if time.monotonic() > end or self._process.poll() is not None:
                said = (self._place / "said").read_text(errors="replace")
                raise RuntimeError(f"{self._process.args} did not bring the bot up: {said}")
            time.sleep(0.005)

    def _marks(self) -> list[tuple[str, int]]:
        try:
            lines = (self._place / "marks").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(word, int(at)) for word, at in (line.split() for line in lines)]

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        # Its session: whatever it started is in it, or ends with it.
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
