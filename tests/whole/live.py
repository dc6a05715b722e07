"""A live bot in a test's own directory: `neverblink up` in a process, and the tools that a user has.

It uses neverblink as any user can: it runs the command, reads its output, and sends JSON over two plain ZeroMQ
sockets. Tests wait for events; `WITHIN` only ends a test that has failed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, NamedTuple

import msgspec
import psutil
import zmq

from neverblink.protocol.logline import decode_line
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal

from ..as_user import as_user
from ..processes import wait_for_end

WITHIN = 30.0
"""Seconds after which any wait has failed."""

NEVERBLINK: tuple[str, ...] = (sys.executable, "-m", "neverblink.supervisor.cli")

Event = dict[str, Any]


class CliResult(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The object that it printed with --json."""
        return json.loads(self.out.splitlines()[-1])


class CliProcess:
    """A running command. Tests can wait for its output."""

    def __init__(
        self,
        argv: tuple[str, ...],
        where: Path,
        environment: Mapping[str, str],
        umask: int = -1,
        user: int = 0,
        program: tuple[str, ...] = NEVERBLINK,
    ) -> None:
        self._argv = argv
        self._process = subprocess.Popen(
            as_user(user, *program, *argv) if user else [*program, *argv],
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            umask=umask,
        )
        self.pid = self._process.pid
        self._more = Condition()
        self._read: dict[str, str] = {"out": "", "err": ""}
        self._open = 2
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._threads = [
            Thread(target=self._take, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def prints(self, text: str, within: float = WITHIN) -> None:
        """Wait until it has printed this."""
        with self._more:
            found = self._more.wait_for(lambda: text in self._said() or not self._open, within)
            assert found, f"{self} has not printed {text!r}:\n{self._said()}"
            assert text in self._said(), f"{self} ended without {text!r}:\n{self._said()}"

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()

    def ends(self, within: float = WITHIN) -> CliResult:
        """Wait for its end."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} has not ended:\n{self._said()}") from None
        self._join()
        return CliResult(code, self._read["out"], self._read["err"])

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.running:
            self._process.kill()
            self._process.wait()
        self._join()

    def __str__(self) -> str:
        return f"`neverblink {' '.join(self._argv)}`"

    def _said(self) -> str:
        return self._read["out"] + self._read["err"]

    def _take(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._more:
                    self._read[name] += line
                    self._more.notify_all()
        with self._more:
            self._open -= 1
            self._more.notify_all()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(WITHIN)


class Live:
    """One bot, its home, and its clients. `close` it: then no process is left."""

    def __init__(self, tmp: Path, home: Path | None = None) -> None:
        self.tmp = tmp
        self.home = home or tmp / "home"
        self.environment = {
            **os.environ,
            "NEVERBLINK_HOME": str(self.home),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        self.umask = -1
        """The umask of commands; -1: that of the tests."""
        self.user = 0
        """The user id that tests of root run commands as; 0: root."""
        self.program: tuple[str, ...] = NEVERBLINK
        """The command line of `neverblink`."""
        self.events: list[Event] = []
        """All events since `up`."""
        self._up: CliProcess | None = None
        self._commands: list[CliProcess] = []
        self._asked = 0
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._requests: zmq.Socket[bytes] | None = None
        self._told: zmq.Socket[bytes] | None = None
        self._answers: dict[str, dict[str, Any]] = {}

    # code, commands

    def code(
        self,
        name: str,
        source: str,
        *,
        target: str = "Bot",
        python: str = "",
        standby: int = 0,
        keep: int = 0,
        watchdog: Mapping[str, str] | None = None,
        **handoff: str,
    ) -> Path:
        """A project: `source` as bot.py, and its configuration; `handoff` goes into [handoff].

        `keep` releases are kept, and the logs of their workers with them; 0: the default.
        """
        place = self.tmp / name
        place.mkdir()
        (place / "bot.py").write_text(source)
        bounds = {"probation": "100ms", "start_within": "20s", "hang_after": "400ms", **handoff}
        (place / "neverblink.toml").write_text(
            f'name = "fox"\nbot = "bot:{target}"\n'
            + (f'python = "{python}"\n' if python else "")
            + (f"standby = {standby}\n" if standby else "")
            + "[handoff]\n"
            + "".join(f'{key} = "{value}"\n' for key, value in bounds.items())
            + (f"[keep]\nreleases = {keep}\n" if keep else "")
            + "[watchdog]\n"
            + "".join(f'{key} = "{value}"\n' for key, value in (watchdog or {}).items())
        )
        return place

    def start(self, *argv: str | Path) -> CliProcess:
        """Start `neverblink ARGV`."""
        process = CliProcess(
            tuple(map(str, argv)), self.tmp, self.environment, self.umask, self.user, self.program
        )
        self._commands.append(process)
        return process

    def run(self, *argv: str | Path) -> CliResult:
        """Run `neverblink ARGV` to its end."""
        return self.start(*argv).ends()

    def up(self, code: Path, *options: str) -> CliProcess:
        """Start the bot, and receive all events from here on."""
        self._up = self.start("up", "--project", code, *options)
        self._up.prints("up: Ctrl-C stops the bot")
        self.listen()
        return self._up

    def down(self) -> None:
        """Stop the bot, and wait for the supervisor's exit."""
        assert self._up is not None
        assert self.ask("down")["stopped"]
        ended = self._up.ends()
        assert ended.code == 0, ended

    def audit(self) -> dict[str, Any]:
        """The audit's report, which must be ok."""
        report = audit(read_journal(self.home / "journal"))
        assert report.ok, report
        return msgspec.to_builtins(report, str_keys=True)

    # the sockets, as any program may use them

    def listen(self) -> None:
        """Subscribe to the events; when this returns, the next one will be received."""
        if self._told is not None:
            self._told.close(0)
        self.events.clear()
        subscriber = self._context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.RCVHWM, 0)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(self.endpoint("events"))
        self._told = subscriber
        self.event(type="pulse")

    def send(self, op: str, **more: Any) -> str:
        """Send a request; return its id."""
        if self._requests is None:
            self._requests = self._context.socket(zmq.DEALER)
            self._requests.connect(self.endpoint("requests"))
        self._asked += 1
        id = f"t{self._asked}"
        self._requests.send_json({"id": id, "op": op, **more})
        return id

    def answer(self, id: str) -> dict[str, Any]:
        """The answer to the request with this id."""
        assert self._requests is not None
        while id not in self._answers:
            assert self._requests.poll(int(WITHIN * 1000)), f"no answer to {id}"
            answer: Any = self._requests.recv_json()
            self._answers[answer["id"]] = answer
        return self._answers.pop(id)

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        """The result of a request."""
        answer = self.answer(self.send(op, **more))
        assert answer["status"] == "ok", answer
        return answer["result"]

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def deploy(self, code: Path, **how: Any) -> dict[str, Any]:
        """Deploy, and wait for the end. A deployment that is not done fails the test."""
        return self.ask("deploy", path=str(code), wait=True, **how)

    def begin(self, code: Path, **how: Any) -> int:
        """Begin to deploy; return the deployment's number."""
        return self.ask("deploy", path=str(code), **how)["deployment"]

    def book(self) -> dict[str, Any]:
        """The pid and the state of the leader's bot."""
        return self.ask("send", name="book")["value"]

    def endpoint(self, name: str) -> str:
        """Where a socket of the home is. A Unix socket's path ends at 107 bytes: a link makes any shorter."""
        short = self.tmp / "run"
        if not short.is_symlink():
            short.symlink_to(self.home / "run")
        return f"ipc://{short}/{name}.sock"

    # what happens

    def event(
        self, condition: Callable[[Event], object] | None = None, *, since: int = 0, **so: Any
    ) -> Event:
        """The first event (from number `since` on) that has these values and for which the condition holds."""
        at = since
        until = time.monotonic() + WITHIN
        while True:
            for event in self.events[at:]:
                at += 1
                if all(event.get(key) == value for key, value in so.items()) and (
                    condition is None or condition(event)
                ):
                    return event
            assert self._told is not None
            left = max(0, int((until - time.monotonic()) * 1000))
            assert self._told.poll(left), f"no event {so}; so far:\n{self.story()}"
            self._drain()

    def phase(self, deployment: int, phase: str) -> Event:
        """Wait until the deployment has entered this phase."""
        return self.event(type="phase", deployment=deployment, phase=phase)

    def ended(self, deployment: int) -> Event:
        """How the deployment ended."""
        return self.event(type="deployment-ended", deployment=deployment)

    def ticks_on(self) -> None:
        """Wait until the bot ticks from here on."""
        ticks = self.book()["ticks"]
        until = time.monotonic() + WITHIN
        while self.book()["ticks"] == ticks:
            assert time.monotonic() < until, f"the bot answers, and has not ticked since tick {ticks}"
            # Nothing announces a tick, and a bot with slow ticks answers hundreds of times in between.
            time.sleep(0.005)

    def status_with(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait, a tick at a time, for a status for which the condition holds; return it."""
        until = time.monotonic() + WITHIN
        while not condition(status := self.status()):
            assert time.monotonic() < until, f"{status}\n{self.story()}"
            self.ticks_on()
        return status

    def story(self) -> str:
        """The events so far, for people."""
        quiet = [event for event in self.events if event["type"] != "pulse"]
        return "\n".join(json.dumps(event) for event in quiet)

    # output and processes

    def printed(self, word: str) -> list[str]:
        """The lines of all workers, oldest first, that begin with this word, without the word."""
        logs = sorted((self.home / "logs").glob("w*.log"), key=lambda log: int(log.stem[1:]))
        lines = "".join(log.read_text() for log in logs).splitlines()
        lines = [line if (known := decode_line(line)) is None else known.text for line in lines]
        return [line.removeprefix(word).strip() for line in lines if line.split(" ")[0] == word]

    def prints(self, word: str, condition: Callable[[list[str]], object] = bool) -> list[str]:
        """Wait until the workers have printed such lines. Nothing announces a change of a file, so this polls."""
        until = time.monotonic() + WITHIN
        while not condition(lines := self.printed(word)):
            assert time.monotonic() < until, f"the lines with {word} do not match: {lines}"
            time.sleep(0.01)
        return lines

    def processes(self) -> list[psutil.Process]:
        """The processes that work in this directory."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                # A worker of root has its own mounts, so that its directory has no path here.
                places = (process.cwd(), process.environ().get("NEVERBLINK_WORKER", "").partition("@")[2])
                ours = any(place and Path(place).is_relative_to(self.tmp) for place in places)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def close(self) -> None:
        """End all processes, in whatever state they are."""
        for command in self._commands:
            command.close()
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            wait_for_end(process.pid)
        self._context.destroy(linger=0)

    # parts

    def _drain(self) -> None:
        assert self._told is not None
        while self._told.poll(0):
            self.events.append(json.loads(self._told.recv_multipart()[1]))


def unbroken(ticks: list[str], report: dict[str, Any]) -> None:
    """By the bot's output: each tick ran once, except those that the audit reports as skipped."""
    # When a worker leads for a second time, the logs one after the other are not in order of time.
    ran = sorted(map(int, ticks))
    skipped = {seq for gap in report["skipped"] for seq in range(gap["seq"], gap["last"] + 1)}
    assert ran == [seq for seq in range(ran[0], ran[-1] + 1) if seq not in skipped]


def written(file: Path) -> str:
    """The contents of a file, once it is written. Nothing announces that, so this polls."""
    until = time.monotonic() + WITHIN
    while not (file.exists() and (text := file.read_text())):
        assert time.monotonic() < until, f"{file} was not written"
        time.sleep(0.01)
    return text


def one_line(ended: CliResult) -> str:
    """The message of a failed command: one line that starts with the program's name."""
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1, ended
    assert re.match(r"neverblink: ", lines[0]), ended
    assert "Traceback" not in ended.out + ended.err
    return lines[0]
