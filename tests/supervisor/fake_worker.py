"""A worker that follows a script: a real process with the real protocol and the real lease, but without a bot.

The supervisor's own `spawn` starts it, with this file as interpreter. It reads its script from `script.json` in its
release. The shipped `Seat` state machine decides its role. The stream between leader and follower is replaced by three
messages over a socket, because the supervisor sees no more of it.

Keys of the script: `tick_ms`, `windows`, `import_error`, `fail` (phase: reason), `hang` (`start` or `all`),
`unreadable` (reason), `hold` (reason; `hold_ms` for a while only), `crash_ms` (after it began to lead), `protocol` (a
pair), `fails_while` (its start fails as long as this file is there), `decision` (a name, open while it leads),
`garbage`, `stops_with` (a file: its stop takes until that is there),
`retires_with` (the same of its retirement), `exit_code` (of `stop`), `suspect` (reason), `still` (leads and does not
tick), `stays` (ignores the order to retire).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from neverblink.protocol import link
from neverblink.protocol import seat_events as seat
from neverblink.protocol.assignment import VARIABLE, decode_assignment
from neverblink.protocol.frame import Cause, Schema
from neverblink.protocol.lease import started_of
from neverblink.protocol.seat import Seat
from neverblink.protocol.seat_events import Role, SeatEvent
from neverblink.protocol.window import WindowSpec
from neverblink.protocol.wire import PROTOCOL, VersionRange
from neverblink.supervisor.sockets.worker_keys import public_of
from neverblink.supervisor.store.state_dir import Sockets

if TYPE_CHECKING:
    from neverblink.worker.io.lease import Lease
else:
    # The package imports all that a bot needs, which takes as long as the rest of this process's start.
    found = find_spec("neverblink.worker")
    sys.modules["neverblink.worker"] = package = ModuleType("neverblink.worker")
    package.__path__ = list(found.submodule_search_locations)
    from neverblink.worker.io.lease import Lease

_LEASE_WITHIN = 1.0
"""Seconds after which it takes back a lease that no worker took: longer than any delay on a busy machine."""


class FakeWorker:
    def __init__(self) -> None:
        self.me = decode_assignment(os.read(int(os.environ[VARIABLE]), 65536))
        self.script: dict[str, Any] = msgspec.json.decode(Path("script.json").read_bytes())
        self.interval = self.script.get("tick_ms", 20) * 1_000_000
        context = zmq.Context[zmq.Socket[bytes]]()
        self.supervisor = context.socket(zmq.DEALER)
        assert self.me.keys is not None
        self.supervisor.setsockopt(zmq.CURVE_SERVERKEY, self.me.keys.supervisor)
        self.supervisor.setsockopt(zmq.CURVE_PUBLICKEY, public_of(self.me.keys.own))
        self.supervisor.setsockopt(zmq.CURVE_SECRETKEY, self.me.keys.own)
        self.sockets = Sockets(Path(self.me.run))
        self.supervisor.connect(self.sockets.endpoint("supervisor.sock"))
        self.inbox = context.socket(zmq.PULL)
        self.inbox.bind(self.sockets.endpoint(f"{self.me.worker}.sock"))
        self.context = context
        self.lease = Lease(self.me.lease)
        self.seat = Seat(self.me.worker)
        self.timers: dict[str, float] = {}
        self.cause: str = ""
        self.seq = 0
        self.ticks = 0
        self.paused = False
        self.answered: set[str] = set()
        self.first = False
        self.handed: link.Handed | None = None
        self.rehearsed: link.Rehearsed | None = None
        self.led_at = 0.0
        self.held_at = 0.0
        self.guard_at = 0.0

    # --- the process ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        if "import_error" in self.script:
            sys.exit(f"ModuleNotFoundError: {self.script['import_error']}")
        if self.script.get("hang") == "all":
            signal.pause()
        self.hello()
        if (gate := self.script.get("fails_while")) and Path(gate).exists():
            self.leave(1, "start", "on_start raised OSError: no exchange")
        for phase, reason in self.script.get("fail", {}).items():
            self.leave(1, phase, reason)
        if self.script.get("hang") != "start":
            self.send(link.Ready(imported=1_000_000, started=2_000_000))
            self.feed(seat.Started())
        poller = zmq.Poller()
        poller.register(self.supervisor, zmq.POLLIN)
        poller.register(self.inbox, zmq.POLLIN)
        pulse = time.monotonic()
        while True:
            ready = dict(poller.poll(5))
            if self.supervisor in ready:
                self.handle_order(link.supervisor_codec.decode(self.supervisor.recv()))
            if self.inbox in ready:
                self.handle_peer_message(self.inbox.recv_json())
            self.run_timers()
            self.turn()
            if time.monotonic() - pulse > 0.1:
                pulse = time.monotonic()
                self.report()

    def turn(self) -> None:
        if self.seat.role is not Role.LEADING:
            self.watch()
            return
        seq = time.time_ns() // self.interval
        if seq > self.seq and not ("still" in self.script and self.ticks):
            self.seq = seq
            self.ticks += 1
            if self.first:
                self.first = False
                self.handed = link.Handed(
                    self.seat.epoch, self.seat.settled, self.cause, seq, 50_000, 240_000, 0
                )
                self.send(self.handed)
        if "crash_ms" in self.script and time.monotonic() - self.led_at > self.script["crash_ms"] / 1000:
            sys.stderr.write("Traceback (most recent call last):\n  …\nZeroDivisionError: it broke\n")
            self.leave(1, "tick", "on_tick raised ZeroDivisionError: it broke")
        self.feed(seat.Boundary(decision=self.held()))

    def held(self) -> str:
        """Return what delays an order, as long as the script says."""
        if "hold" not in self.script or self.seat.order is None:
            return ""
        self.held_at = self.held_at or time.monotonic()
        over = time.monotonic() - self.held_at > self.script.get("hold_ms", 1e9) / 1000
        return "" if over else self.script["hold"]

    def watch(self) -> None:
        """Detect as a follower that the leader is gone, because no process holds the lease."""
        if self.seat.role is Role.FOLLOWING and self.seat.guard and self.lease.holder() is None:
            self.feed(seat.LeaderGone(self.seat.leader))
        if self.seat.role is Role.FOLLOWING and self.seat.guard and "suspect" in self.script:
            # After a while, and repeatedly, like a real worker.
            self.guard_at = self.guard_at or time.monotonic()
            if time.monotonic() - self.guard_at > 0.2:
                self.send(link.Suspect(self.seat.leader, self.script["suspect"]))

    # --- what comes -------------------------------------------------------------------------------------------------

    def handle_order(self, message: link.SupervisorMessage) -> None:
        match message:
            case link.Welcome():
                if "garbage" in self.script:
                    for junk in (b"", b"\xc1", b"{}", os.urandom(200)):
                        self.supervisor.send(junk)
                    self.supervisor.send_multipart([b"a", b"b", b"c"])
            case link.Identify():
                self.answer_identify()
            case link.Rejected():
                self.leave(1, "link", message.reason)
            case link.Run():
                self.command(message)
            case link.Retire() if "stays" in self.script:
                pass
            case link.ExpectFollower():
                pass
            case _:
                self.feed(message)

    def command(self, run: link.Run) -> None:
        if self.seat.role is not Role.LEADING or run.name == "never":
            return
        if run.name in ("pause", "resume"):
            self.paused = run.name == "pause"
        error = "KeyError: 'nope'" if run.name == "fail" else ""
        again = run.key in self.answered
        self.answered.add(run.key)
        self.send(
            link.Answered(run.key, self.seq, {"name": run.name, "args": run.args, "again": again}, error)
        )
        self.report()

    def handle_peer_message(self, message: Any) -> None:
        match message:
            case {"final": order, "from": leader, "seq": seq}:
                self.seq = seq
                self.feed(seat.Received(order, leader))
            case {"took": successor, "epoch": epoch}:
                self.feed(seat.SuccessorTook(successor, epoch))
            case _:
                raise AssertionError(message)

    def run_timers(self) -> None:
        for name, at in list(self.timers.items()):
            if time.monotonic() >= at:
                del self.timers[name]
                self.feed(seat.SeatTimerFired(name))

    # --- commands of the seat ----------------------------------------------------------------------------------------

    def feed(self, event: SeatEvent) -> None:
        for command in self.seat.step(event):
            self.carry_out(command)

    def carry_out(self, command: seat.SeatCommand) -> None:
        match command:
            case seat.Connect():
                if "unreadable" in self.script:
                    self.leave(1, "read", self.script["unreadable"])
                self.rehearsed = link.Rehearsed(bytes=312, rows=3, took=1_000_000, rollback="newest")
                self.send(self.rehearsed)
                self.feed(seat.CaughtUp())
            case seat.TakeLease(cause=cause):
                self.take(cause)
            case seat.DropLease():
                self.lease.drop()
            case seat.SendFinal(to=to, order=order):
                self.send_to_peer(to, {"final": order, "from": self.me.worker, "seq": self.seq})
            case seat.SendTook(to=to):
                self.send_to_peer(to, {"took": self.me.worker, "epoch": self.seat.epoch})
            case seat.Announce():
                self.report()
            case seat.Hold(order=order, reason=reason):
                self.send(link.Holding(order, reason))
            case seat.Cancel(order=order):
                self.send(link.Cancelled(order))
            case seat.ArmSeatTimer(name=name):
                self.timers[name] = time.monotonic() + (_LEASE_WITHIN if name == "lease" else 0.02)
            case seat.DisarmSeatTimer(name=name):
                self.timers.pop(name, None)
            case seat.ExitProcess(how=how, reason=reason):
                if how == "retire":
                    while "retires_with" in self.script and not Path(self.script["retires_with"]).exists():
                        time.sleep(0.005)
                if how == "stop":
                    while "stops_with" in self.script and not Path(self.script["stops_with"]).exists():
                        time.sleep(0.005)
                    self.leave(self.script.get("exit_code", 0))
                self.leave(1 if how == "fail" else 0, "seat" if how == "fail" else "", reason)
            case seat.StartLeading(cause=cause):
                self.cause, self.first, self.led_at = cause, True, time.monotonic()
                if "decision" in self.script:
                    self.send(link.DecisionOpened("1-1-0", self.script["decision"], time.time_ns()))
            case _:
                pass

    def take(self, cause: Cause) -> None:
        epoch = self.lease.take(self.me.worker, self.seat.epoch)
        if epoch is None:
            holder = self.lease.holder()
            self.feed(seat.LeaseRefused(holder.holder if holder else "", cause))
        else:
            self.feed(seat.LeaseTaken(epoch, cause))

    # --- words ------------------------------------------------------------------------------------------------------

    def hello(self) -> None:
        oldest, newest = self.script.get("protocol", (PROTOCOL.oldest, PROTOCOL.newest))
        windows = [WindowSpec(*window) for window in self.script.get("windows", [])]
        self.send(
            link.Hello(
                bot=self.me.bot,
                worker=self.me.worker,
                pid=os.getpid(),
                started=started_of(Path("/proc/self/stat").read_bytes()),
                protocol=VersionRange(oldest, newest),
                release=self.me.release,
                schema=Schema(1, ""),
                interval=self.interval,
                windows=tuple(windows),
                python="3.11",
                neverblink="0",
            )
        )

    def answer_identify(self) -> None:
        """Send what a supervisor needs that did not start this worker."""
        self.hello()
        if self.script.get("hang") != "start":
            self.send(link.Ready(imported=1_000_000, started=2_000_000))
        if self.rehearsed is not None:
            self.send(self.rehearsed)
        self.report()
        if self.handed is not None:
            self.send(self.handed)
        if self.seat.order is not None and self.seat.held:
            self.send(link.Holding(self.seat.order.order, self.seat.held))

    def report(self) -> None:
        role = self.seat
        self.send(
            link.Report(
                role=role.role.value,
                epoch=role.epoch,
                loaded=role.loaded,
                leader=role.leader,
                order=role.settled,
                seq=self.seq,
                number=self.ticks,
                paused=self.paused,
                ticks=self.ticks,
                cause=self.cause,
            )
        )

    def send(self, message: link.WorkerMessage) -> None:
        self.supervisor.send(link.worker_codec.encode(message))

    def send_to_peer(self, worker: str, message: dict[str, Any]) -> None:
        out = self.context.socket(zmq.PUSH)
        out.connect(self.sockets.endpoint(f"{worker}.sock"))
        out.send_json(message)
        out.close(1000)

    def leave(self, code: int, phase: str = "", reason: str = "") -> None:
        if phase:
            self.send(link.Failed(phase, reason, ""))
        self.supervisor.close(500)
        self.inbox.close(0)
        self.context.term()
        sys.exit(code)


if __name__ == "__main__":
    FakeWorker().run()
