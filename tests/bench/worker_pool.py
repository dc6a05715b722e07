"""Two real workers, and a minimal supervisor that makes them hand the bot back and forth.

The workers are what `neverblink up` would start: real processes on the real protocol, a lease, a journal, sockets. Only
the supervisor is left out: it is not in the path of a handoff. So a thousand handoffs take seconds.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import zmq

from neverblink.protocol.assignment import VARIABLE, Assignment, encode_assignment
from neverblink.protocol.keys import SIZE
from neverblink.protocol.link import (
    Answered,
    Failed,
    Follow,
    Handed,
    Hello,
    Lead,
    Ready,
    Rehearsed,
    Report,
    Retire,
    Run,
    Stop,
    SupervisorMessage,
    Welcome,
    WorkerMessage,
    YieldTo,
    supervisor_codec,
    worker_codec,
)
from neverblink.supervisor.sockets.worker_keys import WorkerKeys

__all__ = ["BOTS", "BenchPool", "Stalled"]

BOTS = Path(__file__).parent / "bots"
WITHIN = 120.0
"""Seconds after which any wait has failed."""


class Stalled(Exception):
    """The workers did not carry out a command in time."""


class BenchPool:
    """Workers of the bot `target` in `home`, an empty directory. `environment` is passed to the bot."""

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        target: str = "beat:Beat",
        lease_within: int = 250_000_000,
    ) -> None:
        self.journal = home / "journal"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.reports: dict[str, Report] = {}
        self.rehearsed: dict[str, Rehearsed] = {}
        self.leader = ""
        self._home = home
        self._run = home / "run"
        self._environment = environment
        self._target = target
        self._lease_within = lease_within
        self._orders = 0
        self._handed: Handed | None = None
        self._answer: Answered | None = None
        self._ready: set[str] = set()
        self.journal.mkdir(parents=True)
        self._run.mkdir()
        self._context = zmq.Context[zmq.Socket[bytes]](1)
        self._worker_keys = WorkerKeys(secrets.token_bytes(SIZE))
        self._identities: dict[str, bytes] = {}
        """The workers' connections."""
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, self._worker_keys.supervisor)
        self._socket.bind(f"ipc://{self._run}/supervisor.sock")

    # commands

    def start(self) -> str:
        """Start a worker; return its id when it has introduced itself and its `on_start` is done."""
        worker = f"w{len(self.processes) + 1}"
        me = Assignment(
            bot="bench",
            worker=worker,
            release="r",
            run=str(self._run),
            lease=str(self._home / "lease"),
            journal=str(self.journal),
            lease_within=self._lease_within,
            keys=self._worker_keys.of(worker),
        )
        readable, writable = os.pipe()
        os.write(writable, encode_assignment(me))
        os.close(writable)
        with open(self._home / f"{worker}.log", "wb") as log:
            self.processes[worker] = subprocess.Popen(
                [sys.executable, "-m", "neverblink.worker", self._target],
                cwd=BOTS,
                env={**os.environ, **self._environment, VARIABLE: str(readable)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(readable,),
            )
        os.close(readable)
        self.until(lambda: worker in self._ready, f"{worker} to be ready")
        return worker

    def lead(self, worker: str) -> None:
        """Make this worker the first leader."""
        self.send(worker, Lead())
        self.until(lambda: self.reports[worker].role == "leading", f"{worker} to lead")
        self.leader = worker

    def follow(self, worker: str, *, guard: bool = False) -> None:
        """Have a worker follow the leader, and wait until it could lead."""
        self.send(worker, Follow(self.leader, guard))
        self.until(
            lambda: self.reports[worker].role == "following" and self.reports[worker].loaded,
            f"{worker} to be loaded",
        )

    def hand_over(self, to: str) -> Handed:
        """Make the leader hand over; return what the new leader reports of its first tick."""
        self._orders += 1
        self._handed = None
        self.send(self.leader, YieldTo(self._orders, to))
        self.until(lambda: self._handed is not None, f"{to} to take over from {self.leader}")
        handed = self._handed
        assert handed is not None
        if handed.order != self._orders or handed.cause != "handoff":
            raise Stalled(f"order {self._orders} ended in {handed}")
        self.leader = to
        return handed

    def ask(self, name: str, args: Mapping[str, object] | None = None) -> object:
        """Have the leader's bot answer a command."""
        self._answer = None
        self.send(self.leader, Run(f"bench-{time.monotonic_ns()}", name, dict(args or {})))
        self.until(lambda: self._answer is not None, "an answer")
        assert self._answer is not None
        return self._answer.value

    def report(self, worker: str) -> Report:
        """The worker's next report; it comes within one heartbeat."""
        before = self.reports[worker]
        self.until(lambda: self.reports[worker] is not before, f"a report of {worker}")
        return self.reports[worker]

    def send(self, worker: str, message: SupervisorMessage) -> None:
        self._socket.send_multipart((self._identities[worker], supervisor_codec.encode(message)))

    # reports

    def until(self, condition: Callable[[], object], what: str, within: float = WITHIN) -> None:
        """Read the workers' messages until the condition holds."""
        end = time.monotonic() + within
        while not condition():
            if time.monotonic() >= end or not self._take(end):
                raise Stalled(f"waited {within:.0f} s for {what}; {self._told()}")

    def listen(self, seconds: float) -> None:
        """Read the workers' messages for this long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._take(end):
            pass

    def _take(self, end: float) -> bool:
        left = max(0, int((end - time.monotonic()) * 1000))
        if not self._socket.poll(left):
            return False
        identity, body = self._socket.recv_multipart()
        message = worker_codec.decode(body)
        if isinstance(message, Hello):
            self._identities[message.worker] = identity
        self._said(identity.decode().partition(".")[0], message)
        return True

    def _said(self, worker: str, message: WorkerMessage) -> None:
        match message:
            case Hello():
                self.send(worker, Welcome(1))
            case Report():
                self.reports[worker] = message
            case Ready():
                self._ready.add(worker)
            case Rehearsed():
                self.rehearsed[worker] = message
            case Handed():
                self._handed = message
            case Answered():
                self._answer = message
            case Failed(reason=reason):
                raise Stalled(f"{worker} failed: {reason}")
            case _:
                pass

    def _told(self) -> str:
        return ", ".join(f"{worker} is {report.role}" for worker, report in self.reports.items())

    # the end

    def stop(self) -> None:
        """Stop the bot, so that its journal is complete. Followers leave first: one on guard would take over."""
        for worker, process in self.processes.items():
            if worker != self.leader and process.poll() is None:
                self.send(worker, Retire())
                process.wait(WITHIN)
        self.send(self.leader, Stop())
        self.processes[self.leader].wait(WITHIN)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self._context.destroy(linger=0)

    def __enter__(self) -> BenchPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
