"""The supervisor's part of a simulated handoff: the shipped `Handoff` machine, with plain objects as processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...protocol.assignment import Assignment
from ...protocol.duration import SECOND
from ...protocol.handoff import handoff_events as terms
from ...protocol.handoff.handoff import RULES, Handoff
from ...protocol.handoff.handoff_events import HandoffCommand, HandoffEvent, Phase
from ...protocol.link import (
    Answered,
    Cancelled,
    Failed,
    Holding,
    Ready,
    Rehearsed,
    Report,
    Retire,
    Suspect,
    WorkerMessage,
    YieldTo,
)
from ..runtime.bootstrap import build_engine
from ..worker import WorkerBot
from .world import SimulatedClock, SimulatedRuntime, SimulatedWorld

__all__ = ["SimulatedHandoff", "SimulatedProcess"]

_WAITS = {
    "start": 60 * SECOND,
    "rehearse": 60 * SECOND,
    "boundary": 300 * SECOND,
    "repeat": SECOND // 2,
    "retire": 10 * SECOND,
}
_ORDERS = 1000


class SimulatedProcess:
    """A worker's process: its bot, its engine, and its messages to the supervisor.

    `drop` names the fields of the state whose values it may lose; None for the first code, and for a standby.
    """

    def __init__(
        self, world: SimulatedWorld, worker: str, bot: WorkerBot, drop: tuple[str, ...] | None = None
    ) -> None:
        self.worker = worker
        self.bot = bot
        self.runtime = SimulatedRuntime(world, worker)
        me = Assignment(
            bot=bot.name,
            worker=worker,
            release=bot.name,
            run="",
            lease="",
            journal="",
            pulse=SECOND,
            drop=drop,
        )
        self.engine = self.runtime.engine = build_engine(me, bot, self.runtime, imported=0, any_feed=True)
        self.engine.replica.verifier.strict = True
        self.ready = False
        self.failed = ""
        self.answers: dict[str, Answered] = {}

    def take(self, message: WorkerMessage) -> None:
        """Process a message of the worker."""
        match message:
            case Ready():
                self.ready = True
            case Failed(reason=reason):
                self.failed = self.failed or reason
            case Answered():
                self.answers[message.key] = message
            case _:
                pass


class SimulatedHandoff:
    """One deployment. `spawn()` starts the new worker; `processes` has both by their names."""

    def __init__(
        self,
        deployment: int,
        old: str,
        new: str,
        clock: SimulatedClock,
        processes: Mapping[str, SimulatedProcess],
        spawn: Callable[[], None],
        ticks: int = 0,
    ) -> None:
        self.alarms: dict[str, int] = {}
        """When each timer fires, by name; CLOCK_MONOTONIC ns. The probation ends only by `conclude`."""
        self.rollback = ""
        self.holding = ""
        self._ticks = ticks
        """How many ticks the old worker still runs before it is ordered to yield."""
        self._order: terms.SendTo | None = None
        self._machine = Handoff(deployment, old, new, deployment * _ORDERS)
        self._clock = clock
        self._processes = processes
        self._spawn = spawn

    @property
    def phase(self) -> Phase:
        return self._machine.phase

    @property
    def ended(self) -> bool:
        return not RULES[self._machine.phase]

    @property
    def reason(self) -> str:
        """The reason of its end."""
        reason = self._machine.reason
        return f"{reason}: {self.holding} held it" if reason == terms.NO_BOUNDARY else reason

    def begin(self) -> None:
        self._feed(terms.DeployRequested())

    def conclude(self) -> None:
        """The probation is over."""
        self._feed(terms.TimerFired("probation"))

    def revert(self, why: str) -> None:
        self._feed(terms.RollbackRequested(why))

    def ticked(self) -> None:
        """Report that the leader has run a tick."""
        if self._order is None:
            return
        self._ticks -= 1
        if self._ticks <= 0:
            order, self._order = self._order, None
            self._send(order)

    def exited(self, worker: str, reason: str) -> None:
        self._feed(terms.Exited(worker, reason))

    def fire_timers(self) -> None:
        """Fire the timers that are due."""
        for name, at in list(self.alarms.items()):
            if at <= self._clock.mono():
                self.alarms.pop(name, None)
                self._feed(terms.TimerFired(name))

    def received(self, worker: str, message: WorkerMessage) -> None:
        """Process a message of a worker."""
        match message:
            case Ready():
                self._feed(terms.Seen(worker, "joining", ready=True))
            case Report():
                ready = message.role != "joining" or self._processes[worker].ready
                self._feed(terms.Seen(worker, message.role, message.loaded, ready))
                self._check_tasks(worker, message)
            case Rehearsed(rollback=rollback):
                self.rollback = rollback
            case Holding(reason=reason):
                self.holding = reason
            case Cancelled(order=order):
                self._feed(terms.Withdrawn(worker, order))
            case Suspect(leader=leader, reason=reason):
                self._feed(terms.Suspected(worker, leader, reason))
            case Failed(reason=reason):
                self._feed(terms.CannotRead(worker, reason))
            case _:
                pass

    def _check_tasks(self, worker: str, report: Report) -> None:
        """Roll back new code whose task counts as unhealthy."""
        unhealthy = next((task for task in report.tasks if task.state == "unhealthy"), None)
        if unhealthy is not None and self.phase is Phase.PROBATION and worker == self._machine.new:
            self.revert(unhealthy.text)

    def _feed(self, event: HandoffEvent) -> None:
        for command in self._machine.step(event):
            self._carry_out(command)

    def _send(self, command: terms.SendTo) -> None:
        self._processes[command.worker].runtime.receive(lambda engine: engine.ordered(command.message))

    def _carry_out(self, command: HandoffCommand) -> None:
        match command:
            case terms.Spawn():
                self._spawn()
            case terms.SendTo(message=YieldTo(back=False)) if self._ticks > 0:
                self._order = command
            case terms.SendTo():
                self._send(command)
            case terms.Dismiss(worker=worker):
                if worker in self._processes:
                    self._processes[worker].runtime.receive(lambda engine: engine.ordered(Retire()))
            case terms.Kill(worker=worker, reason=reason):
                process = self._processes[worker]
                process.failed = process.failed or reason
                process.runtime.world.end(worker)
                self._feed(terms.Exited(worker, reason))
            case terms.ArmTimer(name=name) if name in _WAITS:
                self.alarms[name] = self._clock.mono() + _WAITS[name]
            case terms.DisarmTimer(name=name):
                self.alarms.pop(name, None)
            case terms.Finish():
                self.alarms.clear()
            case _:
                pass
