"""Two hosts never run one bot at once, whatever the network, the engine's answers and the clocks do.

The bounds are what an ordinary run of the tests affords. `python -m tests.protocol.cluster.explorer DEPTH TIME CRASHES
LOST DOUBLED LIES SKEWS PARTS YIELDS` walks further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from neverblink.protocol.cluster.log_record import LogEntry, LogKind, LogRecord, entry_of, log_codec
from neverblink.protocol.cluster.term import Flight, Term, TermBounds
from neverblink.protocol.cluster.term_events import (
    AppendLanded,
    AppendRecord,
    AppendUnknown,
    BeginTerm,
    ConfirmParts,
    KeepAside,
    LogRead,
    OpenFence,
    ReplicatorStarted,
    ReportLost,
    Ship,
    ShutFence,
    TermCommand,
    TermEvent,
    TermRole,
    YieldReceived,
    YieldTerm,
)

from .explorer import RuleBroken, fair_move, settled, walk, wander
from .model import BOUNDS, Budget, Model

EVERYTHING = Budget(time=40, crashes=3, lost=6, doubled=3, skews=1, parts=5, yields=3)


@pytest.mark.parametrize(
    ("budget", "depth"),
    [
        pytest.param(Budget(time=6), 10, id="time passes"),
        pytest.param(Budget(time=6, crashes=1), 8, id="a replicator dies"),
        pytest.param(Budget(time=6, lost=1), 8, id="an answer is lost"),
        pytest.param(Budget(time=6, parts=1, yields=1), 8, id="the host yields"),
        pytest.param(Budget(time=7), 13, id="time passes, deeper", marks=pytest.mark.deep),
        pytest.param(Budget(time=6, crashes=1), 10, id="a replicator dies, deeper", marks=pytest.mark.deep),
        pytest.param(Budget(time=6, lost=1, parts=1, yields=1), 8, id="all, deeper", marks=pytest.mark.deep),
    ],
)
def test_no_interleaving_lets_two_hosts_tick_or_loses_an_acknowledged_record(
    budget: Budget, depth: int, say: Callable[[str], None]
) -> None:
    model = Model()
    began = time.monotonic()
    seen = walk(model, settled(model, budget), depth)
    say(
        f"term machine: {seen.states} states, {seen.moves} moves, {seen.depth} deep, {time.monotonic() - began:.1f} s"
    )
    assert seen.states > 500


@pytest.mark.parametrize(
    "first", [pytest.param(n, marks=[pytest.mark.deep] * (n > 0)) for n in range(0, 1500, 150)]
)
def test_no_long_walk_with_every_failure_does_either(first: int) -> None:
    model = Model()
    terms = sum(
        entry.record.kind is LogKind.TERM
        for seed in range(first, first + 150)
        for entry in wander(model, seed, EVERYTHING).log
    )
    assert terms > 250, "the walks change the holder"


# --- machines with one rule broken: the walks must find every one of them ---------------------------------------------


class BeginsWithTheMessage(Term):
    """Opens its fence when it is told that the other host yielded, before its TERM is acknowledged."""

    def step(self, event: TermEvent) -> list[TermCommand]:
        commands = super().step(event)
        if isinstance(event, YieldReceived) and self.role is TermRole.CLAIMING:
            commands.append(OpenFence(event.now + self.bounds.open_for))
        return commands


class Pipelines(Term):
    """Sends a second append before the first one is answered, and believes the answers."""

    second: Flight | None = None

    def step(self, event: TermEvent) -> list[TermCommand]:
        first, second = self.flight, self.second
        if isinstance(event, Ship) and first is not None and second is None and self.role is TermRole.HOLDING:
            self.flight = None
            known, self.known = self.known, first.entry.position
            commands = super().step(event)
            self.flight, self.second, self.known = first, self.flight, known
            return commands
        if isinstance(event, AppendLanded) and second is not None and event.digest == second.entry.digest:
            self.second = None
            self.known = second.entry.position
            return [
                ConfirmParts(len(second.entry.record.parts)),
                OpenFence(second.since + self.bounds.open_for),
            ]
        return super().step(event)


class TakesARefusalAsProof(Term):
    """What was not acknowledged was not written, it believes, and appends it again as another record."""

    def step(self, event: TermEvent) -> list[TermCommand]:
        flight = self.flight
        if isinstance(event, AppendUnknown) and flight is not None and flight.entry.digest == event.digest:
            self.flight = None
            self.waiting = flight.entry.record.parts + self.waiting
            if self.role is TermRole.CLAIMING:
                self.role = TermRole.WAITING
            return self._request()
        return super().step(event)


class CountsFromTheLastSending(Term):
    """Keeps its fence open from the last sending of a record that was sent twice."""

    def step(self, event: TermEvent) -> list[TermCommand]:
        commands = super().step(event)
        resent = isinstance(event, LogRead) and any(isinstance(command, AppendRecord) for command in commands)
        if self.flight is not None and resent:
            self.flight = msgspec.structs.replace(self.flight, since=event.now)
        return commands


class YieldsWithAnOpenFence(Term):
    """Sends the YIELD and lets its worker go on until it is acknowledged."""

    def step(self, event: TermEvent) -> list[TermCommand]:
        commands = super().step(event)
        if isinstance(event, YieldTerm):
            return [command for command in commands if not isinstance(command, ShutFence)]
        return commands


WAITS_TOO_SHORT = msgspec.structs.replace(BOUNDS, wait_for=1)
MUTANTS: list[tuple[type[Term], TermBounds, Budget]] = [
    (BeginsWithTheMessage, BOUNDS, EVERYTHING),
    (Pipelines, BOUNDS, EVERYTHING),
    (TakesARefusalAsProof, BOUNDS, EVERYTHING),
    (CountsFromTheLastSending, BOUNDS, Budget(time=60, lost=9)),
    (YieldsWithAnOpenFence, BOUNDS, EVERYTHING),
    (Term, WAITS_TOO_SHORT, EVERYTHING),
]


@pytest.mark.parametrize(
    ("machine", "bounds", "budget"), MUTANTS, ids=[mutant[0].__name__ for mutant in MUTANTS]
)
def test_a_machine_with_one_rule_broken_is_found_with_the_way_there(
    machine: type[Term], bounds: TermBounds, budget: Budget, say: Callable[[str], None]
) -> None:
    model = Model(machine, bounds)
    tried = iter(range(5_000))
    with pytest.raises(RuleBroken) as found:
        _wander_until_broken(model, tried, budget)
    said = str(found.value)
    say(f"{machine.__name__}: {said.splitlines()[0]}, in walk {next(tried) - 1}")
    assert "fence" in said, "the message tells the way"


def _wander_until_broken(model: Model, seeds: Iterator[int], budget: Budget) -> None:
    for seed in seeds:
        wander(model, seed, budget)


# --- what random walks do not come to ---------------------------------------------------------------------------------


def term(me: str = "b", writer: str = "b1") -> Term:
    return Term(me=me, writer=writer, log_id="log", bounds=BOUNDS)


def entry(after: LogEntry | None, kind: LogKind, term: int, writer: str, to: str = "") -> LogEntry:
    number, prev = (after.number, after.digest) if after else (0, b"")
    record = LogRecord(1, "log", term, writer[0], writer, prev, kind, to=to)
    return entry_of(number + 1, log_codec.encode(record))


def read(machine: Term, *entries: LogEntry, now: int) -> list[TermCommand]:
    return machine.step(LogRead(entries, entries[-1].number, now))


def started(machine: Term, *entries: LogEntry) -> list[TermCommand]:
    machine.step(ReplicatorStarted(0))
    return read(machine, *entries, now=0)


def appended(commands: list[TermCommand]) -> AppendRecord:
    found = [command for command in commands if isinstance(command, AppendRecord)]
    assert len(found) == 1
    return found[0]


def test_a_term_behind_a_yield_that_came_directly_opens_no_fence_until_the_yield_was_read() -> None:
    machine, first = term(), entry(None, LogKind.TERM, 1, "a1")
    started(machine, first)
    yields = entry(first, LogKind.YIELD, 1, "a1", to="b")
    claim = appended(machine.step(YieldReceived(yields, 1)))
    assert claim.expect == yields.number
    acknowledged = machine.step(AppendLanded(3, claim.digest, 1))
    assert not any(isinstance(command, OpenFence | BeginTerm) for command in acknowledged)
    begun = read(machine, yields, now=1)
    begun += read(machine, entry_of(3, claim.data), now=1)
    assert BeginTerm(2) in begun
    assert OpenFence(1 + BOUNDS.open_for) in begun


def test_a_term_behind_another_record_than_the_yield_that_came_directly_is_void() -> None:
    """The host that yielded died before its YIELD was in the log, came back, and claimed the place."""
    machine, first = term(), entry(None, LogKind.TERM, 1, "a1")
    started(machine, first)
    claim = appended(machine.step(YieldReceived(entry(first, LogKind.YIELD, 1, "a1", to="b"), 1)))
    machine.step(AppendLanded(3, claim.digest, 1))
    back = entry(first, LogKind.TERM, 2, "a2")
    commands = read(machine, back, entry_of(3, claim.data), now=1)
    assert not any(isinstance(command, OpenFence | BeginTerm) for command in commands)
    assert (machine.role, machine.term, machine.holder) == (TermRole.WAITING, 2, "a")


def test_a_record_of_an_earlier_process_of_this_host_is_not_taken_for_one_of_its_own() -> None:
    """It was sent earlier, so it must not keep the fence open from now on."""
    machine, first = term("a", "a2"), entry(None, LogKind.TERM, 1, "a1")
    claim = appended(started(machine, first))
    assert entry_of(2, claim.data).record.term == 2
    earlier = entry(first, LogKind.TERM, 2, "a1")
    machine.step(AppendUnknown(claim.digest, 5))
    commands = read(machine, earlier, now=5)
    assert not any(isinstance(command, OpenFence) for command in commands)
    assert appended(commands).expect == 2, "it claims a term of its own"


def test_an_engine_that_loses_acknowledged_records_is_noticed_and_shuts_the_fence() -> None:
    machine = term("a", "a1")
    machine.step(ReplicatorStarted(0))
    claim = appended(machine.step(LogRead((), 0, 0)))
    machine.step(AppendLanded(1, claim.digest, 0))
    assert machine.role is TermRole.HOLDING
    machine.step(Ship((b"1",), 1))
    shipped = machine.flight
    assert shipped is not None
    confirmed = machine.step(AppendLanded(2, shipped.entry.digest, 1))
    assert ConfirmParts(1) in confirmed
    lost = machine.step(LogRead((), 0, 1))
    assert [type(command) for command in lost] == [ShutFence, ReportLost]
    assert machine.step(Ship((b"2",), 1)) == [KeepAside((b"2",))], "what comes later is kept"


@pytest.mark.parametrize("seed", range(20))
def test_an_engine_that_forgets_records_ends_in_a_report_or_in_one_holder(seed: int) -> None:
    """From then on exclusion is not promised, but that the hosts notice: at the end at most one believes its term."""
    model = Model()
    first = wander(model, seed, EVERYTHING._replace(lies=2), most=150)
    calm = first._replace(budget=Budget(time=12))
    while (move := fair_move(model, calm)) is not None:
        calm = model.make(calm, move)
    assert len(model.ticking(calm)) <= 1


def test_more_than_one_record_holds_is_shipped_in_several_and_the_yield_comes_last() -> None:
    machine = term("a", "a1")
    machine.step(ReplicatorStarted(0))
    claim = appended(machine.step(LogRead((), 0, 0)))
    machine.step(AppendLanded(1, claim.digest, 0))
    parts = tuple(bytes([n]) * 200_000 for n in range(5))
    commands = machine.step(YieldTerm("b", parts, 1))
    number, seen, kinds = 1, list[bytes](), list[LogKind]()
    while machine.flight is not None:
        sent = entry_of(number + 1, appended(commands).data)
        seen += sent.record.parts
        kinds.append(sent.record.kind)
        number += 1
        commands = machine.step(AppendLanded(number, sent.digest, 1))
    assert tuple(seen) == parts
    assert kinds == [LogKind.BATCH, LogKind.BATCH, LogKind.YIELD]
