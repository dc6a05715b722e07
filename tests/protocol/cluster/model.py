"""Two hosts with the shipped term machine, and an engine that delays, loses, doubles and, if it is let, lies.

Everything is a value, so that a state can be kept in a set. Time is a small whole number, and passes only in a move of
its own: whatever can happen may happen before or after it. A host whose wake-up is not delivered is one that was
stopped. Its fence stands in shared memory, so it outlives the replicator and runs out by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import NamedTuple, TypeVar

import msgspec

from neverblink.protocol.cluster.log_record import LogEntry, LogKind, entry_of
from neverblink.protocol.cluster.term import Term, TermBounds
from neverblink.protocol.cluster.term_events import (
    AppendLanded,
    AppendRecord,
    AppendUnknown,
    ConfirmParts,
    KeepAside,
    LogRead,
    OpenFence,
    ReadLog,
    ReplicatorStarted,
    SendYield,
    Ship,
    ShutFence,
    TermCommand,
    TermEvent,
    TermRole,
    TimePassed,
    YieldReceived,
    YieldTerm,
)

__all__ = ["BOUNDS", "HOSTS", "Budget", "Cluster", "Model", "Move", "valid_entries"]

T = TypeVar("T")
BOUNDS = TermBounds(open_for=2, wait_for=3, renew=1, lease_within=1)
HOSTS = ("a", "b")


class Append(NamedTuple):
    """An append on its way to the engine."""

    host: int
    life: int
    expect: int
    entry: LogEntry


class Read(NamedTuple):
    """A read on its way to the engine, or its answer on the way back."""

    host: int
    life: int
    after: int


class Answer(NamedTuple):
    """On its way to a host. `kind`: what the driver makes of it."""

    host: int
    life: int
    kind: str
    entries: tuple[LogEntry, ...] = ()
    end: int | None = None


class Budget(NamedTuple):
    """What may still go wrong, and what may still be asked for."""

    time: int = 8
    crashes: int = 0
    lost: int = 0
    """Answers that do not come, or appends that do not arrive."""
    doubled: int = 0
    lies: int = 0
    """Acknowledged records that the engine forgets."""
    skews: int = 0
    """How often a clock stands still, or goes on twice, for one unit."""
    parts: int = 0
    yields: int = 0


class Host(NamedTuple):
    """A host: its replicator, and what is in shared memory."""

    alive: bool
    life: int
    machine: int
    fence: int
    clock: int
    shipped: tuple[bytes, ...] = ()
    """Parts that were shipped, and neither confirmed nor set aside, in order."""


class Cluster(NamedTuple):
    log: tuple[LogEntry, ...]
    hosts: tuple[Host, ...]
    appends: tuple[Append, ...]
    reads: tuple[Read, ...]
    answers: tuple[Answer, ...]
    confirmed: tuple[bytes, ...]
    budget: Budget
    next_part: int = 0
    lied: bool = False
    """The engine forgot a record. From then on, only detection is promised."""
    wrong: str = ""


Move = tuple[str, int]


class Model:
    """What can happen in a state, and what becomes of it then."""

    def __init__(self, machine: type[Term] = Term, bounds: TermBounds = BOUNDS) -> None:
        self._class = machine
        self._bounds = bounds
        self._machines: list[Term] = []
        self._numbers: dict[object, int] = {}
        self._steps: dict[tuple[int, TermEvent], tuple[int, list[TermCommand]]] = {}

    def start(self, budget: Budget) -> Cluster:
        state = Cluster((), (), (), (), (), (), budget)
        for host in range(len(HOSTS)):
            state = state._replace(hosts=(*state.hosts, Host(True, 1, self._new(host, 1), 0, 0)))
        for host in range(len(HOSTS)):
            state = self._event(state, host, ReplicatorStarted(0))
        return state

    def machine(self, state: Cluster, host: int) -> Term:
        return self._machines[state.hosts[host].machine]

    def ticking(self, state: Cluster) -> list[str]:
        """The hosts on which a turn may begin now."""
        return [name for name, host in zip(HOSTS, state.hosts, strict=True) if host.clock < host.fence]

    # what can happen

    def moves(self, state: Cluster) -> Iterator[Move]:
        budget = state.budget
        for index in range(len(state.appends)):
            yield "arrive", index
            if budget.lost:
                yield "lose the append", index
                yield "lose its answer", index
                if not self._is_answered(state, state.appends[index]):
                    yield "time out", index
            if budget.doubled:
                yield "arrive twice", index
        for index in range(len(state.reads)):
            yield "read", index
        for index in range(len(state.answers)):
            if not any(self._before(state, index, other) for other in range(index)):
                yield "answer", index
        if budget.time:
            yield "pass", 0
            if budget.skews:
                for host in range(len(state.hosts)):
                    yield "stand still", host
                    yield "go on twice", host
        if budget.lies and state.log:
            yield "forget", 0
        for number, host in enumerate(state.hosts):
            if not host.alive:
                yield "restart", number
                continue
            machine = self._machines[host.machine]
            if machine.role is TermRole.LOST:
                continue
            if machine.wake_at() <= host.clock:
                yield "wake", number
            if machine.read.number < len(state.log) and not self._is_pushed(state, number):
                yield "push", number
            if budget.crashes:
                yield "kill", number
            if machine.role is TermRole.HOLDING:
                if budget.parts:
                    yield "ship", number
                if budget.yields:
                    yield "yield", number

    def make(self, state: Cluster, move: Move) -> Cluster:
        kind, index = move
        budget = state.budget
        match kind:
            case "arrive" | "lose its answer" | "arrive twice":
                append = state.appends[index]
                rest = _without(state.appends, index)
                if kind == "arrive twice":
                    rest = (*rest, append)
                    budget = budget._replace(doubled=budget.doubled - 1)
                if kind == "lose its answer":
                    budget = budget._replace(lost=budget.lost - 1)
                state = state._replace(appends=rest, budget=budget)
                return self._arrive(state, append, answered=kind != "lose its answer")
            case "lose the append":
                append = state.appends[index]
                state = state._replace(
                    appends=_without(state.appends, index), budget=budget._replace(lost=budget.lost - 1)
                )
                return self._answer(state, Answer(append.host, append.life, "unknown", (append.entry,)))
            case "time out":
                append = state.appends[index]
                state = state._replace(budget=budget._replace(lost=budget.lost - 1))
                return self._answer(state, Answer(append.host, append.life, "unknown", (append.entry,)))
            case "read":
                read = state.reads[index]
                state = state._replace(reads=_without(state.reads, index))
                found = Answer(read.host, read.life, "read", state.log[read.after :], len(state.log))
                return self._answer(state, found)
            case "answer":
                answer = state.answers[index]
                return self._take(state._replace(answers=_without(state.answers, index)), answer)
            case "pass" | "stand still" | "go on twice":
                by = {"pass": 1, "stand still": 0, "go on twice": 2}[kind]
                if kind != "pass":
                    budget = budget._replace(skews=budget.skews - 1)
                hosts = tuple(
                    host._replace(clock=host.clock + (by if kind != "pass" and at == index else 1))
                    for at, host in enumerate(state.hosts)
                )
                state = state._replace(hosts=hosts, budget=budget._replace(time=budget.time - 1))
                return self._judge(state)
            case "forget":
                return state._replace(
                    log=state.log[:-1], budget=budget._replace(lies=budget.lies - 1), lied=True
                )
            case "wake":
                return self._event(state, index, TimePassed(state.hosts[index].clock))
            case "push":
                entry = state.log[self.machine(state, index).read.number]
                return self._answer(state, Answer(index, state.hosts[index].life, "push", (entry,)))
            case "kill":
                host = state.hosts[index]._replace(alive=False, shipped=())
                return _with(state, index, host)._replace(
                    budget=budget._replace(crashes=budget.crashes - 1),
                    reads=tuple(each for each in state.reads if each.host != index),
                    answers=tuple(each for each in state.answers if each.host != index),
                )
            case "restart":
                host = state.hosts[index]
                life = host.life + 1
                host = host._replace(alive=True, life=life, machine=self._new(index, life))
                return self._event(_with(state, index, host), index, ReplicatorStarted(host.clock))
            case "ship":
                part = b"%d" % state.next_part
                state = state._replace(
                    budget=budget._replace(parts=budget.parts - 1), next_part=state.next_part + 1
                )
                host = state.hosts[index]
                state = _with(state, index, host._replace(shipped=(*host.shipped, part)))
                return self._event(state, index, Ship((part,), host.clock))
            case "yield":
                state = state._replace(budget=budget._replace(yields=budget.yields - 1))
                to = HOSTS[1 - index]
                return self._event(state, index, YieldTerm(to, (), state.hosts[index].clock))
            case _:
                raise AssertionError(kind)

    # the engine

    def _arrive(self, state: Cluster, append: Append, *, answered: bool) -> Cluster:
        landed = append.expect == len(state.log)
        if landed:
            state = state._replace(log=(*state.log, append.entry))
        kind = "landed" if landed and answered else "unknown"
        return self._judge(self._answer(state, Answer(append.host, append.life, kind, (append.entry,))))

    def _answer(self, state: Cluster, answer: Answer) -> Cluster:
        host = state.hosts[answer.host]
        if not host.alive or host.life != answer.life:
            return state
        return state._replace(answers=(*state.answers, answer))

    def _before(self, state: Cluster, index: int, other: int) -> bool:
        """Whether answer `other` comes before answer `index`: what the engine sends by itself is in order."""
        first, second = state.answers[other], state.answers[index]
        return first.host == second.host and first.kind == second.kind == "push"

    def _is_answered(self, state: Cluster, append: Append) -> bool:
        return any(each.host == append.host and append.entry in each.entries for each in state.answers)

    def _is_pushed(self, state: Cluster, host: int) -> bool:
        return any(each.host == host and each.kind == "push" for each in state.answers)

    # the hosts

    def _take(self, state: Cluster, answer: Answer) -> Cluster:
        now = state.hosts[answer.host].clock
        match answer.kind:
            case "landed":
                entry = answer.entries[0]
                event: TermEvent = AppendLanded(entry.number, entry.digest, now)
            case "unknown":
                event = AppendUnknown(answer.entries[0].digest, now)
            case "direct":
                event = YieldReceived(answer.entries[0], now)
            case _:
                event = LogRead(answer.entries, answer.end, now)
        return self._event(state, answer.host, event)

    def _event(self, state: Cluster, number: int, event: TermEvent) -> Cluster:
        host = state.hosts[number]
        machine, commands = self._step(host.machine, event)
        state = _with(state, number, host._replace(machine=machine))
        for command in commands:
            state = self._carry_out(state, number, command)
        return self._judge(state)

    def _carry_out(self, state: Cluster, number: int, command: TermCommand) -> Cluster:
        host = state.hosts[number]
        match command:
            case ReadLog():
                return state._replace(reads=(*state.reads, Read(number, host.life, command.after)))
            case AppendRecord():
                entry = entry_of(command.expect + 1, command.data)
                append = Append(number, host.life, command.expect, entry)
                if append in state.appends:
                    return state
                return state._replace(appends=(*state.appends, append))
            case SendYield():
                other = HOSTS.index(command.to)
                entry = entry_of(command.number, command.data)
                return self._answer(state, Answer(other, state.hosts[other].life, "direct", (entry,)))
            case OpenFence():
                return _with(state, number, host._replace(fence=command.until))
            case ShutFence():
                return _with(state, number, host._replace(fence=0))
            case ConfirmParts():
                done, rest = host.shipped[: command.count], host.shipped[command.count :]
                state = _with(state, number, host._replace(shipped=rest))
                return state._replace(confirmed=state.confirmed + done)
            case KeepAside():
                rest = host.shipped[len(command.parts) :]
                if host.shipped[: len(command.parts)] != command.parts:
                    return state._replace(wrong=f"{HOSTS[number]} sets other records aside than were left")
                return _with(state, number, host._replace(shipped=rest))
            case _:
                return state

    # what must be true

    def _judge(self, state: Cluster) -> Cluster:
        if state.wrong:
            return state
        problem = self._problem(state)
        return state._replace(wrong=problem) if problem else state

    def _problem(self, state: Cluster) -> str:
        if state.lied:
            return ""
        if len(self.ticking(state)) > 1:
            return "two hosts may begin a turn"
        valid = list(valid_entries(state.log))
        parts = [part for entry in valid for part in entry.record.parts]
        if len(set(parts)) != len(parts):
            return "a journal record is in the log twice"
        if not set(state.confirmed) <= set(parts):
            return "an acknowledged journal record is lost"
        if any(parts != sorted(parts) for parts in _by_writer(valid)):
            return "journal records are in the log in another order than they were written"
        if any(self.machine(state, host).role is TermRole.LOST for host in range(len(HOSTS))):
            return "a host believes that the engine lost records, and it lost none"
        return ""

    # the machines

    def _new(self, host: int, life: int) -> int:
        return self._number(
            self._class(me=HOSTS[host], writer=f"{HOSTS[host]}{life}", log_id="log", bounds=self._bounds)
        )

    def _number(self, machine: Term) -> int:
        key = msgspec.structs.astuple(machine)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._machines)
            self._machines.append(machine)
        return number

    def _step(self, number: int, event: TermEvent) -> tuple[int, list[TermCommand]]:
        known = self._steps.get((number, event))
        if known is None:
            machine = copy(self._machines[number])
            commands = machine.step(event)
            known = self._steps[number, event] = self._number(machine), commands
        return known


def valid_entries(log: tuple[LogEntry, ...]) -> Iterator[LogEntry]:
    """The records that count, as any reader of the log would find them. Written without the machine."""
    prev, term, writer, ended = b"", 0, "", False
    for entry in log:
        record = entry.record
        chained = record.prev == prev
        prev = entry.digest
        if record.kind is LogKind.TERM:
            if chained and record.term == term + 1:
                term, writer, ended = record.term, record.writer, False
                yield entry
        elif chained and record.term == term and record.writer == writer and not ended:
            ended = record.kind is LogKind.YIELD
            yield entry


def _by_writer(entries: list[LogEntry]) -> Iterator[list[int]]:
    for writer in {entry.record.writer for entry in entries}:
        yield [int(part) for entry in entries if entry.record.writer == writer for part in entry.record.parts]


def _without(items: tuple[T, ...], index: int) -> tuple[T, ...]:
    return items[:index] + items[index + 1 :]


def _with(state: Cluster, number: int, host: Host) -> Cluster:
    return state._replace(hosts=(*state.hosts[:number], host, *state.hosts[number + 1 :]))
