"""The seat by itself: what each event makes of each role, and what the table promises about all of them."""

from __future__ import annotations

from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.link import CancelYield, Follow, Lead, Retire, Stop, YieldTo
from neverblink.protocol.seat import RULES, Seat
from neverblink.protocol.seat_events import (
    Announce,
    ArmSeatTimer,
    Boundary,
    Cancel,
    CaughtUp,
    Connect,
    DisarmSeatTimer,
    DropLease,
    ExitProcess,
    Fell,
    Hold,
    LeaderGone,
    LeaseRefused,
    LeaseTaken,
    LedBy,
    Received,
    Role,
    SeatCommand,
    SeatEvent,
    SeatTimerFired,
    SendFailing,
    SendFinal,
    SendTook,
    Silent,
    Stale,
    Started,
    StartLeading,
    StreamUnreadable,
    SuccessorDeclined,
    SuccessorTook,
    Suspects,
    TakeLease,
    YieldRefused,
)

J, F, L, Y, R = Role.JOINING, Role.FOLLOWING, Role.LEADING, Role.YIELDING, Role.RETIRED

EVENTS: list[SeatEvent] = [
    Started(),
    CaughtUp(),
    Stale(),
    StreamUnreadable("odd"),
    Boundary(),
    YieldRefused(5, "task reader"),
    Received(5, "old"),
    SuccessorTook("successor", 4),
    SuccessorDeclined(3),
    LeaseTaken(7, "handoff"),
    LeaseRefused("other", "handoff"),
    LeaderGone("old"),
    LedBy("other"),
    Silent("no tick"),
    Fell("raised"),
    SeatTimerFired("lease"),
    Follow("old"),
    Lead(),
    YieldTo(5, "successor", 2),
    CancelYield(5),
    Retire(),
    Stop(),
]
SEATS = {
    J: Seat("me"),
    F: Seat("me", F, "old", 2, loaded=True),
    L: Seat("me", L, "me", 3, loaded=True, settled=3),
    Y: Seat("me", Y, "successor", 3, loaded=True, settled=3),
    R: Seat("me", R, "old", 3),
}


def seat(role: Role, **fields: object) -> Seat:
    made = copy(SEATS[role])
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_every_kind_of_event_is_covered() -> None:
    known = {kind for rules in RULES.values() for kind in rules}
    assert {type(event) for event in EVENTS} == known


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("role", Role)
def test_an_event_without_a_rule_in_the_role_changes_nothing(role: Role, event: SeatEvent) -> None:
    before = seat(role)
    after = copy(before)
    commands = after.step(event)
    if type(event) in RULES[role]:
        assert after.role in RULES[role][type(event)].leads_to
    else:
        assert (commands, after) == ([], before)


TAKEN = [DisarmSeatTimer("lease"), DisarmSeatTimer("retry")]
ORDER = YieldTo(5, "successor", 2)


@pytest.mark.parametrize(
    ("what", "before", "event", "role", "commands"),
    [
        ("says that it is ready", seat(J), Started(), J, [Announce()]),
        ("follows whom it is told to", seat(J), Follow("old"), F, [Connect("old"), Announce()]),
        ("asks the kernel before it leads first", seat(J), Lead(), J, [TakeLease("first")]),
        (
            "leads when the kernel says so",
            seat(J),
            LeaseTaken(1, "first"),
            L,
            [*TAKEN, StartLeading("first"), Announce()],
        ),
        ("follows whom the kernel named", seat(J), LeaseRefused("x", "first"), F, [Connect("x"), Announce()]),
        ("does not connect twice", seat(F), Follow("old"), F, [Announce()]),
        ("turns to another leader", seat(F), Follow("x"), F, [Connect("x"), Announce()]),
        ("says once that it has the state", seat(F), CaughtUp(), F, []),
        ("says that it has lost the state", seat(F), Stale(), F, [Announce()]),
        ("leaves when it cannot read", seat(F), StreamUnreadable("odd"), R, [ExitProcess("fail", "odd")]),
        (
            "stays as the way back though it cannot read",
            seat(F, guard=True, keeps=True),
            StreamUnreadable("odd"),
            F,
            [],
        ),
        ("asks for the lease on the final frame", seat(F), Received(5, "old"), F, [TakeLease("handoff")]),
        ("takes over from its own leader only", seat(F), Received(5, "x"), F, []),
        ("takes over with the whole state only", seat(F, loaded=False), Received(5, "old"), F, []),
        ("does not promote itself", seat(F), LeaderGone("old"), F, [Announce()]),
        ("takes the lease as a guard", seat(F, guard=True), LeaderGone("old"), F, [TakeLease("failover")]),
        ("minds its own leader's death only", seat(F, guard=True), LeaderGone("x"), F, []),
        ("leads when told", seat(F), Lead(), F, [TakeLease("failover")]),
        ("cannot lead without the state", seat(F, loaded=False), Lead(), F, [Announce()]),
        (
            "asks again while the dead still hold it",
            seat(F),
            LeaseRefused("old", "failover"),
            F,
            [ArmSeatTimer("retry")],
        ),
        (
            "asks again when the alarm rings",
            seat(F, guard=True),
            SeatTimerFired("retry"),
            F,
            [TakeLease("failover")],
        ),
        (
            "reads on as a guard only if it can",
            seat(F, guard=True),
            StreamUnreadable("odd"),
            R,
            [ExitProcess("fail", "odd")],
        ),
        ("follows the worker that has the lease", seat(F), LedBy("x"), F, [Connect("x"), Announce()]),
        ("follows its leader already", seat(F), LedBy("old"), F, []),
        ("suspects as a guard", seat(F, guard=True), Silent("no tick"), F, [Suspects("old", "no tick")]),
        ("does not suspect while it lags", seat(F, guard=True, loaded=False), Silent("no tick"), F, []),
        (
            "tells the old leader that it took over",
            seat(F, heard=5),
            LeaseTaken(7, "handoff"),
            L,
            [*TAKEN, SendTook("old", 5), StartLeading("handoff"), Announce()],
        ),
        ("remembers an order", seat(L), ORDER, L, []),
        ("does not carry out an order twice", seat(L, settled=5), ORDER, L, [Announce()]),
        ("does not yield to itself", seat(L), YieldTo(5, "me"), L, [Announce()]),
        ("confirms that an order is taken back", seat(L, order=ORDER), CancelYield(5), L, [Cancel(5)]),
        ("ticks on without an order", seat(L), Boundary(), L, []),
        (
            "never yields in a decision",
            seat(L, order=ORDER),
            Boundary(decision="enter"),
            L,
            [Hold(5, "decision enter")],
        ),
        (
            "waits for a window to close",
            seat(L, order=ORDER),
            Boundary(window="5m"),
            L,
            [Hold(5, "window 5m")],
        ),
        (
            "waits for slack",
            seat(L, order=ORDER),
            Boundary(slack=False),
            L,
            [Hold(5, "too little time before the next tick")],
        ),
        (
            "waits for its successor",
            seat(L, order=ORDER),
            Boundary(successor=False),
            L,
            [Hold(5, "the new worker")],
        ),
        (
            "says once what holds it",
            seat(L, order=ORDER, held="too little time before the next tick"),
            Boundary(slack=False),
            L,
            [],
        ),
        (
            "yields at a boundary: the lease first",
            seat(L, order=ORDER),
            Boundary(),
            Y,
            [DropLease(), SendFinal("successor", 5, 2), ArmSeatTimer("lease"), Announce()],
        ),
        (
            "yields in a window only when forced",
            seat(L, order=YieldTo(5, "successor", 2, force=True)),
            Boundary(window="5m"),
            Y,
            [DropLease(), SendFinal("successor", 5, 2), ArmSeatTimer("lease"), Announce()],
        ),
        (
            "is not forced out of a decision",
            seat(L, order=YieldTo(5, "successor", 2, force=True)),
            Boundary(decision="enter"),
            L,
            [Hold(5, "decision enter")],
        ),
        (
            "waits for a task of the bot to end",
            seat(L, order=ORDER),
            Boundary(task="task reader, which must end first"),
            L,
            [Hold(5, "task reader, which must end first")],
        ),
        (
            "refuses an order for a task that does not end",
            seat(L, order=ORDER),
            YieldRefused(5, "task reader"),
            L,
            [Hold(5, "task reader"), Cancel(5)],
        ),
        ("refuses no other order", seat(L, order=ORDER), YieldRefused(4, "task reader"), L, []),
        ("waits for a turn to end", seat(L, order=ORDER), Boundary(turn="on_tick"), L, [Hold(5, "on_tick")]),
        ("does not stop in a turn", seat(L, stopping=True), Boundary(turn="on_tick"), L, []),
        ("does not stop in a decision", seat(L, stopping=True), Boundary(decision="enter"), L, []),
        ("stops at a boundary", seat(L, stopping=True), Boundary(), R, [ExitProcess("stop")]),
        ("does not retire while it leads", seat(L), Retire(), L, []),
        (
            "gives the lease up when it raises",
            seat(L),
            Fell("raised"),
            R,
            [DropLease(), SendFailing("raised"), ExitProcess("fail", "raised")],
        ),
        (
            "steps aside for its successor",
            seat(Y),
            SuccessorTook("successor", 4),
            F,
            [DisarmSeatTimer("lease"), Connect("successor"), Announce()],
        ),
        ("does not step aside for another", seat(Y), SuccessorTook("x", 4), Y, []),
        (
            "asks for the lease when its successor declines",
            seat(Y),
            SuccessorDeclined(3),
            Y,
            [TakeLease("takeback")],
        ),
        ("asks when its successor dies", seat(Y), LeaderGone("successor"), Y, [TakeLease("takeback")]),
        ("asks when no worker took it in time", seat(Y), SeatTimerFired("lease"), Y, [TakeLease("takeback")]),
        (
            "leads again when it was first",
            seat(Y),
            LeaseTaken(4, "takeback"),
            L,
            [*TAKEN, StartLeading("takeback"), Announce()],
        ),
        (
            "follows when its successor was first",
            seat(Y),
            LeaseRefused("successor", "takeback"),
            F,
            [DisarmSeatTimer("lease"), Connect("successor"), Announce()],
        ),
        (
            "asks again while no holder is known",
            seat(Y),
            LeaseRefused("", "takeback"),
            Y,
            [ArmSeatTimer("lease")],
        ),
        ("does not leave before another one leads", seat(Y), Retire(), Y, []),
        (
            "leaves, when it was ordered to, once its successor leads",
            seat(Y, dismissed=True),
            SuccessorTook("successor", 4),
            R,
            [DisarmSeatTimer("lease"), ExitProcess("retire")],
        ),
        (
            "leads again, when it was ordered to leave, if no worker led in between",
            seat(Y, dismissed=True),
            LeaseTaken(4, "takeback"),
            L,
            [*TAKEN, StartLeading("takeback"), Announce()],
        ),
        (
            "leaves, when it was ordered to, although its successor led and died before it could report it",
            seat(Y, dismissed=True),
            LeaseTaken(5, "takeback"),
            R,
            [DisarmSeatTimer("lease"), DropLease(), ExitProcess("retire")],
        ),
        (
            "leaves, when the bot is to stop, once its successor leads",
            seat(Y, stopping=True),
            LeaseRefused("successor", "takeback"),
            R,
            [DisarmSeatTimer("lease"), ExitProcess("retire")],
        ),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_worker_moves_between_its_roles_by_the_rules(
    what: str, before: Seat, event: SeatEvent, role: Role, commands: list[SeatCommand]
) -> None:
    after = copy(before)
    assert (after.step(event), after.role) == (commands, role)


def test_a_worker_whose_code_is_rolled_back_yields_and_does_not_promote_itself() -> None:
    worker = seat(L)
    worker.step(YieldTo(5, "old", 2, back=True))
    worker.step(Boundary(successor=True, slack=True))
    worker.step(SuccessorTook("old", 4))
    assert (worker.role, worker.guard, worker.keeps) == (F, False, False)
    assert TakeLease("failover") not in worker.step(LeaderGone("old"))
    assert worker.step(Lead()) == [TakeLease("failover")]


def test_a_worker_that_yields_guards_until_it_leads() -> None:
    worker = seat(Y)
    worker.step(SuccessorTook("successor", 4))
    assert (worker.guard, worker.epoch) == (True, 4)
    worker.step(LeaseTaken(5, "failover"))
    assert (worker.guard, worker.epoch) == (False, 5)


def test_a_worker_that_was_ordered_to_retire_and_leads_again_stays() -> None:
    worker = seat(Y)
    assert worker.step(Retire()) == []
    worker.step(LeaseTaken(4, "takeback"))
    assert (worker.role, worker.dismissed) == (L, False)


def test_a_worker_that_was_ordered_to_stop_and_leads_again_stops_the_bot() -> None:
    worker = seat(Y)
    assert worker.step(Stop()) == []
    worker.step(LeaseTaken(4, "takeback"))
    assert worker.step(Boundary()) == [ExitProcess("stop")]


orders = st.integers(1, 6)
names = st.sampled_from(["me", "old", "successor", "x"])
events = st.one_of(
    st.sampled_from(EVENTS),
    st.builds(YieldTo, orders, names, force=st.booleans()),
    st.builds(CancelYield, orders),
    st.builds(
        Boundary, st.sampled_from(["", "enter"]), st.sampled_from(["", "5m"]), st.booleans(), st.booleans()
    ),
    st.builds(Received, orders, names),
    st.builds(SuccessorTook, names, st.integers(1, 9)),
    st.builds(SuccessorDeclined, orders),
    st.builds(LeaderGone, names),
    st.builds(Follow, names, st.booleans()),
    st.builds(SeatTimerFired, st.sampled_from(["lease", "retry", "?"])),
    st.builds(
        LeaseRefused,
        st.sampled_from(["", "me", "old", "successor"]),
        st.sampled_from(["handoff", "failover"]),
    ),
)


@given(st.lists(events, max_size=60))
def test_any_events_lead_only_to_roles_of_the_table_and_orders_only_increase(coming: list[SeatEvent]) -> None:
    worker, epoch = Seat("me"), 0
    for event in coming:
        if isinstance(event, LeaseTaken):
            epoch = max(epoch, worker.epoch) + 1
            event = LeaseTaken(epoch, "failover")
        before = copy(worker)
        commands = worker.step(event)
        rule = RULES[before.role].get(type(event))
        assert worker.role in (rule.leads_to if rule is not None else (before.role,))
        assert worker.settled >= before.settled
        assert worker.epoch >= before.epoch
        if before.order is not None and worker.order is not None:
            assert worker.order.order >= before.order.order
        if worker.role is not before.role and worker.role is L:
            assert isinstance(event, LeaseTaken)
        for command in commands:
            if isinstance(command, SendFinal):
                assert command.order > before.settled
                assert commands.index(DropLease()) < commands.index(command)
