"""Beside it: what people do today. The same bot, its state (10 000 entries) in a file, restarted with new code.

supervisord and circus restart it by their own commands; `execv` replaces its program in place; `importlib.reload`
reads the module again and leaves everything else, old objects of old classes included, as it was. What is measured is
the same as neverblink's blackout: from the moment in which the old code can no longer tick to that in which the new one
can.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .figure import Figure, Scale, row
from .spread import Spread, spread
from .worker_pool import BOTS

__all__ = ["measure"]

_WITHIN = 30.0
_INSTALLED = Path(sys.executable).parent
_TOOLS = {"supervisord": ("supervisord", "supervisorctl"), "circus": ("circusd", "circusctl")}
_Process = subprocess.Popen[bytes]
_Way = tuple[list[str], Callable[[_Process], object]]
"""How the bot is kept running, and how it is restarted."""
_STRATEGY = "def on_tick(book):\n    book[0] = (book[0][0] + 1, 101.5, 102.25, 99.75, 100.0)\n"


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "A restart with the state in a file (10 000 entries), ms without a tick", ("p50", "p99", "max")
    )
    found: dict[str, float] = {}
    with ExitStack() as running:
        for name, way in _WAYS.items():
            missing = [tool for tool in _TOOLS.get(name, ()) if not (_INSTALLED / tool).exists()]
            if missing:
                figure.notes.append(f"{name} is left out: {' and '.join(missing)} not in {_INSTALLED}")
                continue
            place = tmp / name
            place.mkdir()
            (place / "strategy.py").write_text(_STRATEGY, encoding="ascii")
            one = running.enter_context(_Running(place, *way(place)))
            taken = one.gaps(scale.restarts)
            one.end()
            figure.rows.append(row(name, taken, 1e6))
            found[name] = round(taken.p50 / 1e6, 3)
    figure.data = {"restart_ms": {name: found.get(name) for name in ("supervisord", "circus", "execv")}}
    return figure


def _supervisord(place: Path) -> _Way:
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
    control = [str(_INSTALLED / "supervisorctl"), "-c", f"{place}/conf", "restart", "bot"]
    return [str(_INSTALLED / "supervisord"), "-c", f"{place}/conf"], lambda _: _told(control, place)


def _circus(place: Path) -> _Way:
    endpoint, events = f"ipc://{place}/ctl.sock", f"ipc://{place}/told.sock"
    (place / "conf").write_text(
        f"""[circus]
endpoint = {endpoint}
pubsub_endpoint = {events}
check_delay = -1
[watcher:bot]
cmd = {" ".join(_bot(place))}
numprocesses = 1
warmup_delay = 0
graceful_timeout = 10
""",
        encoding="utf-8",
    )
    # It refuses a command while it is busy with another one. Its own periodic check counts as one: it is switched off,
    # and the command waits for its end.
    control = [str(_INSTALLED / "circusctl"), "--endpoint", endpoint, "restart", "bot", "--waiting"]
    return [str(_INSTALLED / "circusd"), f"{place}/conf"], lambda _: _told(control, place)


def _execv(place: Path) -> _Way:
    return _bot(place), lambda bot: bot.send_signal(signal.SIGUSR1)


def _reload(place: Path) -> _Way:
    return _bot(place), lambda bot: bot.send_signal(signal.SIGUSR2)


_WAYS: dict[str, Callable[[Path], _Way]] = {
    "supervisord": _supervisord,
    "circus": _circus,
    "execv": _execv,
    "importlib.reload": _reload,
}


def _told(control: list[str], place: Path) -> None:
    subprocess.run(control, check=True, cwd=place, stdout=subprocess.DEVNULL, timeout=_WITHIN)


def _bot(place: Path) -> list[str]:
    return [sys.executable, str(BOTS / "restarted.py"), str(place)]


class _Running:
    """A program that keeps the bot running, or is the bot, with the command that restarts it. It ends with its bot."""

    def __init__(self, place: Path, command: list[str], again: Callable[[_Process], object]) -> None:
        self._place = place
        self._again = again
        with open(place / "said", "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=place, stdout=log, stderr=log, start_new_session=True
            )

    def gaps(self, times: int) -> Spread:
        """Restart the bot this many times; return how long it could not tick each time, in ns."""
        self._wait("able", 1)
        for number in range(times):
            # It ticks before it reads its next command, so it has ticked between two restarts, however close they are.
            self._again(self._process)
            self._wait("able", number + 2)
        marks = self._marks()
        stops = [at for word, at in marks if word == "stops"]
        able = [at for word, at in marks if word == "able"][1:]
        return spread(began - ended for ended, began in zip(stops, able, strict=True))

    def end(self) -> None:
        """Tell it to end, without waiting: supervisord takes a second."""
        self._process.terminate()

    def _wait(self, word: str, count: int) -> None:
        end = time.monotonic() + _WITHIN
        while sum(log == word for log, _ in self._marks()) < count:
            if time.monotonic() > end or self._process.poll() is not None:
                log = (self._place / "said").read_text(errors="replace")
                raise RuntimeError(f"{self._process.args} did not bring the bot up: {log}")
            time.sleep(0.005)

    def _marks(self) -> list[tuple[str, int]]:
        try:
            text = (self._place / "marks").read_text()
        except FileNotFoundError:
            return []
        # Text after the last newline is still being written.
        whole = text[: text.rfind("\n") + 1]
        return [(word, int(at)) for word, at in (line.split() for line in whole.splitlines())]

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
