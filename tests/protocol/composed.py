"""The composed model: one Handoff, the Seats of its workers, and the least of a world around them.

The machines are the shipped ones. What carries out their commands here is what the driver and the worker's engine do,
reduced to what can matter to who leads: queues that may lose and delay, a kernel that gives the lease to one process
and takes it back when that dies, a journal that every frame is in, and processes that can end, hang or raise between
any two commands.

A `State` is a value: two equal ones have the same future. Frames are numbered from the journal's end backwards (0 is
the newest), so that a bot that has ticked for long looks like one that has just begun. `World` is a state taken apart,
to make one `Move` in; `moves.py` says which moves a state has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from neverblink.protocol import seat_events as s
from neverblink.protocol.frame import Cause
from neverblink.protocol.handoff import handoff_events as h
from neverblink.protocol.handoff.handoff import RULES, Handoff
from neverblink.protocol.handoff.handoff_events import HandoffEvent, Phase
from neverblink.protocol.link import Follow, Retire
from neverblink.protocol.seat import Seat
from neverblink.protocol.seat_events import Role, SeatEvent

from .machines import Machines
from .model_messages import Failing, Final, Frame, Took, show

__all__ = [
    "FAR",
    "FIRST_ORDER",
    "Model",
    "State",
    "Worker",
    "World",
]

SUPERVISOR = "supervisor"
FIRST_ORDER = 10
FAR = -3
"""As far behind as anything is told apart."""


# --- a situation ------------------------------------------------------------------------------------------------------


class Worker(NamedTuple):
    """A worker's process, as far as the model tells."""

    seat: int
    life: str = "alive"
    """`unborn`, `alive`, `hung` (it does nothing any more, and keeps what it holds) or `dead`."""
    ready: bool = True
    number: int = 0
    """The newest frame it has applied."""
    live: bool = False
    """It is subscribed to its leader, which thinks so too."""
    decision: bool = False
    watch: str = ""
    """Whose death the kernel will tell it of."""
    alarms: frozenset[str] = frozenset()
    dismissed: bool = False
    noticed: bool = False
    """The supervisor knows of its death."""


class State(NamedTuple):
    handoff: int
    workers: tuple[Worker, ...]
    queues: tuple[tuple[Any, ...], ...]
    """What is on the way, one queue for each of `Model.roads`."""
    holder: str = ""
    """Who has the lease."""
    epoch: int = 1
    supervised: bool = True
    alarms: frozenset[str] = frozenset()
    claim: str | None = None
    """Whom the handoff said to lead when it ended."""
    crashes: int = 0
    """How many processes may still fail; the same below."""
    losses: int = 0
    wishes: int = 0
    returns: int = 0
    """How often a supervisor may come back."""
    kept: int = -1
    """The handoff as it was before its last phase, which is what a supervisor may find; -1 when none will come back."""
    looked: tuple[tuple[str, h.Seen | None, int], ...] = ()
    """What workers have told a supervisor that comes back: who, what it is, and the highest order it settled."""
    excused: bool = False
    """The leader failed without a successor: before there was a follower, or when it had just left."""
    wrong: str = ""
    """Which rule was broken on the way here."""


class Model:
    """A bot that `old` leads and a handoff to `new` that is about to begin; with `spare`, a third worker stands by.

    With a spare, what does not depend on it is left out: decisions, ticks, and the frames that it follows by. (It takes
    the lease with what it has, and the rest from the journal; that it can lose the thread is a loss of its own.)
    """

    def __init__(self, machines: Machines, *, spare: bool = False) -> None:
        self.machines = machines
        self.spare = spare
        self.names = ("old", "new", "spare") if spare else ("old", "new")
        self.index = {name: at for at, name in enumerate(self.names)}
        self.roads: list[tuple[str, str]] = []
        for name in self.names:
            self.roads += [(SUPERVISOR, name), (name, SUPERVISOR)]
            self.roads += [(name, other) for other in self.names if other != name]
        self.road = {road: at for at, road in enumerate(self.roads)}
        self.to_supervisor = [self.road[name, SUPERVISOR] for name in self.names]

    def start(
        self, crashes: int = 0, losses: int = 0, wishes: int = 0, returns: int = 0, *, force: bool = False
    ) -> State:
        """Return the state in which `old` leads under epoch 1 and the handoff has just begun."""
        machines = self.machines
        handoff = machines.handoff(1, "old", "new", FIRST_ORDER, force, granted=1)
        handoff.standby = "spare" if self.spare else ""
        old = machines.seat("old", Role.LEADING, "old", 1, True)
        spare = machines.seat("spare", Role.FOLLOWING, "old", 1, True, True)
        workers = [
            Worker(machines.number_of_seat(old)),
            Worker(machines.number_of_seat(machines.seat("new")), "unborn", ready=False, number=FAR),
            Worker(machines.number_of_seat(spare), live=True, watch="old"),
        ][: len(self.names)]
        state = State(
            machines.number_of_handoff(handoff),
            tuple(workers),
            ((),) * len(self.roads),
            holder="old",
            crashes=crashes,
            losses=losses,
            wishes=wishes,
            returns=returns,
        )
        world = World(self, state)
        world.decide(h.DeployRequested())
        return world.state()

    def seat(self, state: State, name: str) -> Seat:
        return self.machines.seat_of(state.workers[self.index[name]].seat)

    def handoff(self, state: State) -> Handoff:
        return self.machines.handoff_of(state.handoff)

    def worker(self, state: State, name: str) -> Worker:
        return state.workers[self.index[name]]

    def ended(self, state: State) -> bool:
        return not RULES[self.handoff(state).phase]

    def leaders(self, state: State) -> list[str]:
        """Who is in the leading role and does its work."""
        return [
            name
            for name, worker in zip(self.names, state.workers, strict=True)
            if worker.life == "alive" and self.machines.seat_of(worker.seat).role is Role.LEADING
        ]


class World:
    """One state, taken apart to be changed. `log` is told every message, role, phase and signal as it comes about.

    With `cut`, the worker that moves is killed when it has carried out that many commands that others can notice.
    """

    def __init__(
        self, model: Model, state: State, log: Callable[[str], None] | None = None, cut: int = 0
    ) -> None:
        self.model = model
        self.machines = model.machines
        self.workers = list(state.workers)
        self.queues = list(state.queues)
        self.before = state
        self.handoff = state.handoff
        self.holder = state.holder
        self.epoch = state.epoch
        self.supervised = state.supervised
        self.alarms = state.alarms
        self.claim = state.claim
        self.crashes, self.losses, self.wishes = state.crashes, state.losses, state.wishes
        self.returns, self.kept, self.looked = state.returns, state.kept, state.looked
        self.excused = state.excused
        self.wrong = state.wrong
        self.done = 0
        """Commands carried out that others can notice."""
        self._cut = cut
        self._log = log

    def state(self) -> State:
        if self.machines.plain:
            self._forget_old_news()
        return State(
            self.handoff,
            tuple(self.workers),
            tuple(self.queues),
            self.holder,
            self.epoch,
            self.supervised,
            self.alarms,
            self.claim,
            self.crashes,
            self.losses,
            self.wishes,
            self.returns,
            self.kept if self.returns and (self.crashes or not self.supervised) else -1,
            self.looked,
            self.excused,
            self.wrong,
        )

    def worker(self, name: str) -> Worker:
        return self.workers[self.model.index[name]]

    def seat(self, name: str) -> Seat:
        return self.machines.seat_of(self.worker(name).seat)

    def change(self, name: str, **fields: Any) -> None:
        at = self.model.index[name]
        self.workers[at] = self.workers[at]._replace(**fields)

    def tell(self, line: str) -> None:
        if self._log is not None:
            self._log(line)

    def broken(self, rule: str) -> None:
        self.wrong = self.wrong or rule

    # queues

    def push(self, sender: str, receiver: str, message: Any) -> None:
        """Put a message on its way. One that says what the one before it says adds nothing."""
        if receiver == SUPERVISOR:
            if not self.supervised:
                return
        elif self.worker(receiver).life in ("dead", "unborn"):
            return
        at = self.model.road[sender, receiver]
        if self.queues[at][-1:] != (message,):
            self.queues[at] = (*self.queues[at], message)
        if self._log is not None:
            self._log(f"{sender} -> {receiver}: {show(message)}")

    def pop(self, road: int) -> Any:
        message, *rest = self.queues[road]
        self.queues[road] = tuple(rest)
        return message

    def _forget_old_news(self) -> None:
        """Take reports off the queues that can make no difference any more."""
        for at in self.model.to_supervisor:
            if self.queues[at]:
                self.queues[at] = tuple(
                    message
                    for message in self.queues[at]
                    if not (isinstance(message, h.Seen) and self.machines.is_old_news(self.handoff, message))
                )

    # the supervisor

    def keep_standby(self, report: h.Seen) -> None:
        """What the supervisor does about the standby when a worker says that it leads: it is to follow that one."""
        if not self.model.spare or report.worker == "spare":
            return
        if report.epoch >= self.machines.handoff_of(self.handoff).epoch:
            self.push(SUPERVISOR, "spare", Follow(report.worker, guard=True))

    def decide(self, event: HandoffEvent) -> None:
        """Feed the handoff, and carry out what it decides."""
        kept, before = self.handoff, self.machines.handoff_of(self.handoff).phase
        self.handoff, commands = self.machines.step_handoff(self.handoff, event)
        phase = self.machines.handoff_of(self.handoff).phase
        if phase is not before:
            self.kept = kept
            self.tell(f"handoff: {before.value} -> {phase.value}")
        for command in commands:
            match command:
                case h.SendTo(worker=worker, message=message):
                    self.push(SUPERVISOR, worker, message)
                case h.Spawn(worker=worker):
                    self.change(worker, life="alive")
                    self.tell(f"{worker} is started")
                case h.Dismiss(worker=worker):
                    self.change(worker, dismissed=True)
                    self.push(SUPERVISOR, worker, Retire())
                case h.Kill(worker=worker, reason=reason):
                    self.tell(f"supervisor kills {worker}: {reason}")
                    self.die(worker)
                case h.ArmTimer(name=name):
                    self.alarms |= {name}
                case h.DisarmTimer(name=name):
                    self.alarms -= {name}
                case h.Finish(phase=ended, reason=reason, leader=leader):
                    self.claim = leader
                    why = f" ({reason})" if reason else ""
                    self.tell(f"finished: {ended.value}{why}, {leader or 'no worker'} leads")

    # a worker

    def feed(self, name: str, event: SeatEvent) -> None:
        """Feed a worker's seat, and carry out what it commands."""
        seat = self.seat(name)
        number, commands = self.machines.step_seat(self.worker(name).seat, event)
        self.change(name, seat=number)
        after = self.seat(name)
        if self._log is not None and (after.role, after.guard) != (seat.role, seat.guard):
            guard = ", as guard" if after.guard and after.role is Role.FOLLOWING else ""
            self._log(f"{name}: {seat.role.value} -> {after.role.value}{guard}")
        if after.settled < seat.settled or after.epoch < seat.epoch:
            self.broken(f"{name} went back to an earlier epoch or order")
        for command in commands:
            if self.worker(name).life != "alive":
                return
            self.carry_out(name, command)

    def carry_out(self, name: str, command: s.SeatCommand) -> None:
        seat = self.seat(name)
        match command:
            case s.Announce():
                self.report(name)
            case s.TakeLease(cause=cause):
                self.take(name, cause)
            case s.DropLease():
                self.drop(name)
            case s.SendFinal(to=to, order=order):
                if self.holder == name:
                    self.broken(f"{name} sent the final frame while it held the lease")
                self.push(name, to, Final(order, 0))
                self.change(name, watch=to)
                self.counted(name)
            case s.SendTook(to=to, order=order):
                self.push(name, to, Took(seat.epoch, order))
                self.counted(name)
            case s.SendFailing():
                for other in self.followers(name):
                    self.push(name, other, Failing())
                self.counted(name)
            case s.Connect(leader=leader):
                watch = leader if self.holder == leader else self.worker(name).watch
                if name == "spare":
                    self.change(name, watch=watch)
                else:
                    self.change(name, live=False, number=FAR, watch=watch)
            case s.Cancel(order=order):
                self.push(name, SUPERVISOR, h.Withdrawn(name, order))
            case s.Hold(order=order, reason=reason):
                self.tell(f"{name} -> supervisor: Holding({order}, {reason!r})")
            case s.Suspects(leader=leader, reason=reason):
                decision = "enter" if self.worker(leader).decision else ""
                self.push(name, SUPERVISOR, h.Suspected(name, leader, reason, decision))
            case s.ArmSeatTimer(name=alarm):
                self.change(name, alarms=self.worker(name).alarms | {alarm})
            case s.DisarmSeatTimer(name=alarm):
                self.change(name, alarms=self.worker(name).alarms - {alarm})
            case s.StartLeading():
                if self.holder != name:
                    self.broken(f"{name} leads without the lease")
                self.tell(f"{name} leads under epoch {seat.epoch}")
            case s.ExitProcess(how=how, reason=reason):
                self.leave(name, how, reason)

    def seen(self, name: str) -> h.Seen:
        """What a worker says that it is."""
        worker, seat = self.worker(name), self.seat(name)
        return h.Seen(name, seat.role.value, seat.loaded, worker.ready, seat.epoch)

    def report(self, name: str) -> None:
        self.push(name, SUPERVISOR, self.seen(name))

    def take(self, name: str, cause: Cause) -> None:
        """Ask the kernel; the worker that gets the lease then reads the rest of the journal."""
        if self.holder:
            self.feed(name, s.LeaseRefused(self.holder, cause))
            return
        self.holder = name
        self.epoch += 1
        self.change(name, number=0)
        self.counted(name)
        if self.worker(name).life == "alive":
            self.feed(name, s.LeaseTaken(self.epoch, cause))

    def drop(self, name: str) -> None:
        if self.seat(name).role is Role.YIELDING:
            if self.worker(name).decision:
                self.broken(f"{name} yielded with a decision open")
            self.append(name, except_to=self.seat(name).leader)
        if self.holder == name:
            self.holder = ""
        self.counted(name)

    def leave(self, name: str, how: str, reason: str) -> None:
        if how != "fail":
            if self.worker(name).decision:
                self.broken(f"{name} left with a decision open")
            if how == "retire" and self.holder == name:
                self.broken(f"{name} retired while it led")
        else:
            self.push(name, SUPERVISOR, h.CannotRead(name, reason))
        self.tell(f"{name} leaves ({how})")

    def counted(self, name: str) -> None:
        """Others could notice this: a moment at which the worker may die."""
        self.done += 1
        if self.done == self._cut:
            self.tell(f"{name} is killed there")
            self.die(name)

    # processes and frames

    def die(self, name: str) -> None:
        """The process ends: the kernel frees the lease, and what is on its way to it is lost."""
        self.fails(name)
        worker, seat = self.worker(name), self.seat(name)
        if self.holder == name:
            self.holder = ""
        # All that is left of it is what its leader thinks.
        role, leader = (Role.FOLLOWING, seat.leader) if worker.live else (Role.JOINING, "")
        left = self.machines.number_of_seat(self.machines.seat(name, role, leader))
        self.workers[self.model.index[name]] = Worker(
            left, "dead", live=worker.live, number=FAR, dismissed=worker.dismissed
        )
        for at, (_, receiver) in enumerate(self.model.roads):
            if receiver == name:
                self.queues[at] = ()

    def fails(self, name: str) -> None:
        """Note when the leader fails while the bot has but one worker, or only the supervisor has yet to hear of it."""
        if self.model.spare:
            self.excused = self.excused or not self.covered(name)
            return
        phase = self.machines.handoff_of(self.handoff).phase
        others = [self.seat(other) for other in self.model.names if other != name]
        alone = phase in (Phase.PREPARING, Phase.REHEARSING, Phase.RETIRING) or not any(
            seat.loaded for seat in others
        )
        over = name == "old" and self.seat(name).settled >= FIRST_ORDER
        if self.holder == name and (alone or over):
            self.excused = True

    def covered(self, name: str) -> bool:
        """Whether another worker leads, or will take the lease or can be ordered to, once `name` is gone.

        When not, the supervisor starts the bot anew from its journal, which is not in the model.
        """
        others = [
            (other, self.seat(other))
            for other in self.model.names
            if other != name and self.worker(other).life == "alive"
        ]
        return any(
            seat.role in (Role.LEADING, Role.YIELDING)
            or (seat.role is Role.FOLLOWING and seat.loaded and (seat.guard or self.is_successor(other)))
            for other, seat in others
        )

    def is_successor(self, name: str) -> bool:
        phase = self.machines.handoff_of(self.handoff).phase
        return name == "new" and phase in (Phase.WAITING, Phase.CANCELLING, Phase.TRANSFERRING)

    def followers(self, name: str) -> list[str]:
        """Whom this leader serves."""
        return [
            other
            for other in self.model.names
            if self.worker(other).live
            and self.seat(other).leader == name
            and self.seat(other).role is Role.FOLLOWING
        ]

    def append(self, name: str, except_to: str = "") -> None:
        """Journal a frame and send it to the followers; all others are one further behind."""
        if self.holder != name:
            self.broken(f"{name} made a frame without the lease")
        if self.worker(name).number != 0:
            self.broken(f"{name} made a frame without having every frame before it")
        for at, worker in enumerate(self.workers):
            if self.model.names[at] not in (name, "spare"):
                self.workers[at] = worker._replace(number=max(FAR, worker.number - 1))
        self.queues = [tuple(_older(message) for message in queue) for queue in self.queues]
        for other in self.followers(name):
            if other not in (except_to, "spare"):
                self.push(name, other, Frame(0))


def _older(message: Any) -> Any:
    match message:
        case Frame(number=number):
            return Frame(max(FAR, number - 1))
        case Final(order=order, number=number):
            return Final(order, max(FAR, number - 1))
        case _:
            return message
