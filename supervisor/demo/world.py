"""The world of the demo: a directory of its own, the exchange, and the supervisor, each a real process.

Nothing is left behind, whatever happens. Each child has a session of its own, so only the demo receives a Ctrl-C of the
terminal. Each is ended by its process id, including the workers, which the supervisor reports. `psutil` distinguishes
them from other processes that got the same id later.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import psutil

from ...protocol.errors import NeverblinkError
from ..store.state_dir import DIRECTORY, VARIABLE
from .versions import VERSIONS, build

__all__ = ["CommandOutput", "DemoFailed", "DemoWorld", "RunningCommand"]

_LEAVE_WITHIN = 5.0
_ASK_WITHIN = 10.0
_IMPATIENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(NeverblinkError):
    """The demo cannot go on."""


class CommandOutput(msgspec.Struct, frozen=True):
    """How a command of the command line ended."""

    exit: int
    result: dict[str, Any]
    """The JSON object at the end of its stdout."""
    stderr: str
    """Its stderr."""


class RunningCommand:
    """One run of the command line."""

    def __init__(
        self, name: str, command: list[str], cwd: Path, environment: dict[str, str], logs: Path
    ) -> None:
        self.name = name
        self._out, self._err = logs / f"{name}.out", logs / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> CommandOutput:
        """How it ended; waits until it has."""
        lines = self._out.read_bytes().splitlines()
        try:
            result = msgspec.json.decode(lines[-1] if lines else b"{}", type=dict[str, Any])
        except msgspec.MsgspecError:
            result = {}
        return CommandOutput(self.process.wait(), result, self._err.read_text(errors="replace").strip())


class DemoWorld:
    """Everything the demo starts. Use it in a `with` statement."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="neverblink-demo-"))
        self.project = self.directory / "sniper"
        self.home = self.project / DIRECTORY
        self.exchange_url = ""
        self._logs = self.directory / "logs"
        self._environment = {name: value for name, value in environment.items() if name != VARIABLE}
        self._exchange: subprocess.Popen[bytes] | None = None
        self._verbs: list[RunningCommand] = []
        self._workers: dict[int, psutil.Process] = {}

    def release(self, version: str) -> Path:
        """The directory to deploy for a version."""
        return self.project if version == "v1" else self.directory / version

    def begin(self) -> None:
        """Write the bot's versions, and start the exchange. Raises `DemoFailed`."""
        self._logs.mkdir()
        for version in VERSIONS:
            build(version, self.release(version))
        command = [
            sys.executable,
            "-m",
            f"{__package__}.exchange",
            "--home",
            str(self.directory),
            "--with-stdin",
        ]
        with (self._logs / "exchange.err").open("wb") as err:
            self._exchange = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, start_new_session=True
            )
        assert self._exchange.stdout is not None
        line = self._exchange.stdout.readline()
        if not line:
            raise DemoFailed(
                f"the exchange did not start: {(self._logs / 'exchange.err').read_text().strip()}"
            )
        self.exchange_url = msgspec.json.decode(line)["url"]
        self._environment |= {"EXCHANGE_URL": self.exchange_url, "NO_COLOR": "1"}

    def verb(self, name: str, *arguments: str) -> RunningCommand:
        """Start `neverblink NAME ARGUMENTS --json` beside the bot."""
        where = ["--home", str(self.home), "--project", str(self.project)]
        command = [sys.executable, "-m", "neverblink.supervisor.cli", name, *arguments, *where, "--json"]
        verb = RunningCommand(
            f"{len(self._verbs)}-{name}", command, self.project, self._environment, self._logs
        )
        self._verbs.append(verb)
        return verb

    def note_worker(self, pid: int) -> None:
        """Remember a worker's process id, to end the process at the end."""
        with suppress(psutil.Error):
            self._workers.setdefault(pid, psutil.Process(pid))

    def ask(self, path: str, *, post: bool = False) -> Any:
        """Send a request to the exchange."""
        request = urllib.request.Request(self.exchange_url + path, method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=_ASK_WITHIN) as answer:
            return msgspec.json.decode(answer.read())

    def end(self) -> None:
        """End every process and remove the directory."""
        for verb in self._verbs:
            if verb.running:
                # This includes processes that the supervisor started and has not reported yet.
                with suppress(psutil.Error):
                    for child in psutil.Process(verb.process.pid).children(recursive=True):
                        self._workers.setdefault(child.pid, child)
                verb.process.terminate()
        _end(worker for worker in self._workers.values())
        for verb in self._verbs:
            _wait(verb.process)
        if self._exchange is not None:
            assert self._exchange.stdin is not None
            assert self._exchange.stdout is not None
            self._exchange.stdin.close()
            _wait(self._exchange)
            self._exchange.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> DemoWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C waits until everything has ended: a few seconds at most.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IMPATIENT)
        try:
            self.end()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: Iterable[psutil.Process]) -> None:
    alive: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
            alive.append(process)
    _, stubborn = psutil.wait_procs(alive, _LEAVE_WITHIN)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, _LEAVE_WITHIN)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LEAVE_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
