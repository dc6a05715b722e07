"""What can happen next: the moves of a composed model, and what each does.

`moves` lists all that a state allows, `make` makes one. Whatever is not the machines' to decide is a move of its own:
which message arrives first, whether one is lost, when an alarm rings, when a process ends, hangs or raises. Failures
are counted by the state's budget and end with the deployment, after which the bot is as it was before one.

Two things are taken from how the real parts work. A process's end comes to the supervisor after everything that has
arrived from that process; and to a worker only when it watches. The supervisor's last alarms, at which it kills an old
worker that does not retire (10 s), or the only one that is left and does not lead (2 s), do not overtake the news that
a process has ended, nor one that does its work (microseconds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from neverblink.protocol import seat_events as s
from neverblink.protocol.handoff import handoff_events as h
from neverblink.protocol.handoff.handoff_events import Phase
from neverblink.protocol.link import Follow, Lead, YieldTo
from neverblink.protocol.seat_events import Role

from .composed import FAR, SUPERVISOR, Model, State, World
from .model_messages import Declined, Failing, Final, Frame, Took

__all__ = ["Move", "cuts", "make", "moves"]


class Move(NamedTuple):
    kind: str
    who: str = ""
    what: str = ""
    cut: int = 0
    """Killed after so many commands that others can notice."""

    def __str__(self) -> str:
        text = " ".join(filter(None, (self.kind, self.who, self.what)))
        return f"{text}, killed half-way" if self.cut else text


def moves(model: Model, state: State) -> Iterator[Move]:
    """All moves of `state`."""
    ended = model.ended(state)
    yield from _deliveries(model, state, may_lose=state.losses > 0 and not ended)
    for name in model.names:
        yield from _of_worker(model, state, name, may_fail=state.crashes > 0 and not ended)
    if not state.supervised:
        yield from _of_who_comes_back(model, state)
        return
    for alarm in state.alarms:
        if _may_ring(model, state, alarm):
            yield Move("alarm", SUPERVISOR, alarm)
    if state.wishes and not ended:
        yield Move("abort", SUPERVISOR)
        yield Move("rollback", SUPERVISOR)
    if state.crashes > 0 and not ended:
        yield Move("kill", SUPERVISOR)
        if state.kept >= 0:
            yield Move("kill", SUPERVISOR, "unwritten")


def _of_who_comes_back(model: Model, state: State) -> Iterator[Move]:
    """A supervisor hears from one worker after the other, and then knows where the deployment is."""
    if not state.returns:
        return
    heard = [name for name, _, _ in state.looked]
    for name in ("old", "new"):
        if name not in heard:
            yield Move("hear", SUPERVISOR, name)
    if len(heard) == 2:
        yield Move("return", SUPERVISOR)


def _may_ring(model: Model, state: State, alarm: str) -> bool:
    match alarm:
        case "retire":
            return not any(worker.life == "dead" and not worker.noticed for worker in state.workers)
        case "succeed" if model.handoff(state).phase is not Phase.SUCCEEDING:
            return any(worker.life == "hung" for worker in state.workers)
        case _:
            return True


def _deliveries(model: Model, state: State, *, may_lose: bool) -> Iterator[Move]:
    for at, queue in enumerate(state.queues):
        if not queue:
            continue
        sender, receiver = model.roads[at]
        if receiver == SUPERVISOR or model.worker(state, receiver).life == "alive":
            yield Move("deliver", receiver, sender)
        if may_lose:
            yield Move("drop", receiver, sender)
            if isinstance(queue[0], Follow | Lead | YieldTo):
                yield Move("repeat", receiver, sender)


def _of_worker(model: Model, state: State, name: str, *, may_fail: bool) -> Iterator[Move]:
    worker = model.worker(state, name)
    if worker.life == "dead" and not worker.noticed and state.supervised:
        yield Move("notice", SUPERVISOR, name)
    if worker.life == "hung" and worker.dismissed:
        yield Move("end", SUPERVISOR, name)
    if worker.life != "alive":
        return
    seat = model.seat(state, name)
    if may_fail:
        yield Move("kill", name)
        yield Move("kill", name, "unheard")
    if seat.role is Role.RETIRED:
        yield Move("exit", name)
        return
    if not worker.ready:
        yield Move("start", name)
    if state.supervised and not state.queues[model.road[name, SUPERVISOR]] and _tells(model, state, name):
        yield Move("pulse", name)
    for alarm in worker.alarms:
        yield Move("alarm", name, alarm)
    if worker.watch and model.worker(state, worker.watch).life == "dead":
        yield Move("gone", name, worker.watch)
    if may_fail:
        yield Move("fell", name)
        if seat.role is not Role.LEADING or _guarded(model, state, name):
            yield Move("hang", name)
    if seat.role is Role.LEADING:
        if not model.spare and _followed(model, state, name):
            yield Move("tick", name)
        if worker.decision:
            yield Move("close", name)
        elif seat.order is not None and not model.spare:
            yield Move("open", name)
        if seat.order is not None and _serves(model, state, name, seat.order.to):
            yield Move("boundary", name)
            if may_fail:
                yield Move("refuse", name)
    elif seat.role is Role.FOLLOWING:
        if _can_sync(model, state, name):
            yield Move("sync", name)
            if may_fail:
                yield Move("unreadable", name)
        if state.holder and state.holder not in (name, seat.leader):
            yield Move("look", name, state.holder)
        elif not state.holder and seat.guard and seat.loaded:
            yield Move("vacant", name)
        if seat.leader in model.index and model.worker(state, seat.leader).life == "hung":
            yield Move("silent", name)
        if state.losses and worker.live and not model.ended(state) and seat.leader in model.leaders(state):
            yield Move("stale", name)


def _serves(model: Model, state: State, name: str, successor: str) -> bool:
    follower, seat = model.worker(state, successor), model.seat(state, successor)
    return follower.live and seat.role is Role.FOLLOWING and seat.leader == name


def _tells(model: Model, state: State, name: str) -> bool:
    """Whether a report, sent again, can make a difference: it says something new, or will be old news soon."""
    seat = model.seat(state, name)
    report = h.Seen(name, seat.role.value, seat.loaded, model.worker(state, name).ready, seat.epoch)
    if seat.role is Role.LEADING and model.handoff(state).phase not in (Phase.PREPARING, Phase.REHEARSING):
        return not model.machines.is_old_news(state.handoff, report)
    after, commands = model.machines.step_handoff(state.handoff, report)
    return after != state.handoff or bool(commands)


def _followed(model: Model, state: State, name: str) -> bool:
    """Whether a frame would reach anybody, who has read everything before it."""
    live = [other for other in model.names if other != name and model.worker(state, other).live]
    return bool(live) and not any(state.queues[model.road[name, other]] for other in live)


def _guarded(model: Model, state: State, name: str) -> bool:
    seats = [model.seat(state, other) for other in model.names if model.worker(state, other).life == "alive"]
    return any(
        seat.role is Role.FOLLOWING and seat.leader == name and seat.guard and seat.loaded for seat in seats
    )


def _can_sync(model: Model, state: State, name: str) -> bool:
    leader = model.seat(state, name).leader
    return (
        leader in model.index
        and not model.worker(state, name).live
        and model.worker(state, leader).life == "alive"
        and model.seat(state, leader).role is Role.LEADING
        and not state.queues[model.road[leader, name]]
    )


def make(model: Model, state: State, move: Move, log: Callable[[str], None] | None = None) -> State:
    """Make a move."""
    world = World(model, state, log, move.cut)
    _MAKE[move.kind](world, move)
    if move.cut:
        # What falls and is killed in that has failed once.
        world.crashes = state.crashes - 1
    return _judged(model, world)


def cuts(model: Model, state: State, move: Move) -> Iterator[Move]:
    """The same move, with the worker killed in the middle of it."""
    if state.crashes <= 0 or model.ended(state) or move.kind not in _CAN_BE_CUT:
        return
    world = World(model, state)
    _MAKE[move.kind](world, move)
    for cut in range(1, world.done):
        yield move._replace(cut=cut)


_CAN_BE_CUT = ("deliver", "alarm", "boundary", "gone", "vacant", "fell")


def _judged(model: Model, world: World) -> State:
    """The state after a move, with the rules looked at that need no history."""
    state = world.state()
    leaders = model.leaders(state)
    if len(leaders) > 1:
        world.broken(f"{' and '.join(leaders)} tick at the same time")
    elif leaders and state.holder != leaders[0]:
        world.broken(f"{leaders[0]} ticks without the lease")
    if state.epoch < world.before.epoch:
        world.broken("the epoch went back")
    return state if world.wrong == state.wrong else world.state()


def _deliver(world: World, move: Move) -> None:
    message = world.pop(world.model.road[move.what, move.who])
    if move.who == SUPERVISOR:
        world.decide(message)
        if isinstance(message, h.Seen) and message.role == "leading":
            world.keep_standby(message)
    elif move.what == SUPERVISOR:
        world.feed(move.who, message)
    else:
        _hear(world, move.who, move.what, message)


def _hear(world: World, name: str, sender: str, message: object) -> None:
    """A worker heard from another: what `worker.follower` and the engine make of it."""
    seat, worker = world.seat(name), world.worker(name)
    match message:
        case Took(epoch=epoch):
            world.feed(name, s.SuccessorTook(sender, epoch))
        case Declined(order=order):
            world.feed(name, s.SuccessorDeclined(order))
        case _ if seat.role is not Role.FOLLOWING or seat.leader != sender:
            pass
        case Failing():
            world.feed(name, s.LeaderGone(sender))
        case Frame(number=number):
            if worker.live and number > worker.number:
                fits = number == worker.number + 1
                world.change(name, live=fits, number=number if fits else FAR)
        case Final(order=order, number=number):
            fits = worker.live and number - 1 <= worker.number and seat.loaded
            if fits:
                world.change(name, number=max(number, worker.number))
                world.feed(name, s.Received(order, sender))
            else:
                world.change(name, live=False, number=FAR)
                world.push(name, sender, Declined(order))
        case _:
            raise AssertionError(message)


def _drop(world: World, move: Move) -> None:
    world.pop(world.model.road[move.what, move.who])
    world.losses -= 1


def _repeat(world: World, move: Move) -> None:
    """A copy of the message comes late."""
    at = world.model.road[move.what, move.who]
    first = world.queues[at][0]
    _deliver(world, move)
    world.queues[at] = (*world.queues[at], first)
    world.losses -= 1


def _kill(world: World, move: Move) -> None:
    world.crashes -= 1
    if move.who == SUPERVISOR:
        world.supervised = False
        if move.what:
            world.handoff = world.kept
        world.alarms = frozenset()
        for at, (_, receiver) in enumerate(world.model.roads):
            if receiver == SUPERVISOR:
                world.queues[at] = ()
        return
    if move.what:
        for at, (sender, _) in enumerate(world.model.roads):
            if sender == move.who:
                world.queues[at] = ()
    world.die(move.who)


def _hear_again(world: World, move: Move) -> None:
    """A worker tells a supervisor that comes back what it is; one that hangs, only the kernel tells of."""
    name = move.what
    worker = world.worker(name)
    seen: h.Seen | None = None
    if worker.life in ("dead", "unborn"):
        world.change(name, noticed=True)
    elif worker.life == "alive":
        seen = world.seen(name)
    else:
        holds = world.holder == name
        seen = h.Seen(name, "leading" if holds else "joining", False, False, world.epoch if holds else 0)
    world.looked = (*world.looked, (name, seen, world.seat(name).settled if worker.life == "alive" else 0))


def _return(world: World, move: Move) -> None:
    found = {name: (seen, settled) for name, seen, settled in world.looked}
    world.supervised = True
    world.returns -= 1
    world.looked = ()
    world.decide(h.HandoffResumed(found["old"][0], found["new"][0], found["old"][1]))


def _notice(world: World, move: Move) -> None:
    at = world.model.road[move.what, SUPERVISOR]
    while world.queues[at]:
        message = world.pop(at)
        world.decide(message)
    world.change(move.what, noticed=True)
    world.decide(h.Exited(move.what, f"{move.what} ended"))


def _alarm(world: World, move: Move) -> None:
    if move.who == SUPERVISOR:
        world.alarms -= {move.what}
        world.decide(h.TimerFired(move.what))
    else:
        world.change(move.who, alarms=world.worker(move.who).alarms - {move.what})
        world.feed(move.who, s.SeatTimerFired(move.what))


def _start(world: World, move: Move) -> None:
    world.change(move.who, ready=True)
    world.feed(move.who, s.Started())


def _sync(world: World, move: Move) -> None:
    world.change(move.who, live=True, number=0)
    world.feed(move.who, s.CaughtUp())


def _leader_gone(world: World, move: Move) -> None:
    world.change(move.who, watch="")
    world.feed(move.who, s.LeaderGone(move.what))


def _look(world: World, move: Move) -> None:
    world.feed(move.who, s.LedBy(move.what))


def _vacant(world: World, move: Move) -> None:
    """It has seen for a while that the lease is free."""
    world.feed(move.who, s.LeaderGone(world.seat(move.who).leader))


def _boundary(world: World, move: Move) -> None:
    seat, worker = world.seat(move.who), world.worker(move.who)
    successor = seat.order is None or seat.order.to in world.followers(move.who)
    decision = "enter" if worker.decision else ""
    window = "5m" if move.what == "window" else ""
    world.feed(move.who, s.Boundary(decision, window, move.what != "no slack", successor))


def _refuse(world: World, move: Move) -> None:
    """A task of the bot does not end."""
    world.crashes -= 1
    order = world.seat(move.who).order
    assert order is not None
    world.feed(move.who, s.YieldRefused(order.order, "task reader"))


def _fell(world: World, move: Move) -> None:
    world.crashes -= 1
    world.fails(move.who)
    # What raised has unwound the decision too; a successor hears of it from the journal.
    world.change(move.who, decision=False)
    world.feed(move.who, s.Fell("on_tick raised"))


def _unreadable(world: World, move: Move) -> None:
    world.crashes -= 1
    keeps = world.seat(move.who).keeps
    world.change(move.who, live=keeps, number=0 if keeps else FAR)
    world.feed(move.who, s.StreamUnreadable("positions: expected int, got str"))


def _hang(world: World, move: Move) -> None:
    world.crashes -= 1
    world.change(move.who, life="hung")


def _stale(world: World, move: Move) -> None:
    world.losses -= 1
    world.change(move.who, live=False, number=FAR)
    world.feed(move.who, s.Stale())


def _tick(world: World, move: Move) -> None:
    world.append(move.who)


def _open(world: World, move: Move) -> None:
    world.change(move.who, decision=True)


def _close(world: World, move: Move) -> None:
    world.change(move.who, decision=False)


def _pulse(world: World, move: Move) -> None:
    world.report(move.who)


def _exit(world: World, move: Move) -> None:
    world.die(move.who)


def _silent(world: World, move: Move) -> None:
    world.feed(move.who, s.Silent("no tick for 2s"))


def _abort(world: World, move: Move) -> None:
    world.wishes -= 1
    world.decide(h.AbortRequested("cancelled"))


def _rollback(world: World, move: Move) -> None:
    world.wishes -= 1
    world.decide(h.RollbackRequested("rolled back"))


_MAKE: dict[str, Callable[[World, Move], None]] = {
    "deliver": _deliver,
    "drop": _drop,
    "repeat": _repeat,
    "kill": _kill,
    "hear": _hear_again,
    "return": _return,
    "end": lambda world, move: world.die(move.what),
    "notice": _notice,
    "alarm": _alarm,
    "start": _start,
    "sync": _sync,
    "gone": _leader_gone,
    "look": _look,
    "vacant": _vacant,
    "boundary": _boundary,
    "refuse": _refuse,
    "fell": _fell,
    "unreadable": _unreadable,
    "hang": _hang,
    "stale": _stale,
    "tick": _tick,
    "open": _open,
    "close": _close,
    "pulse": _pulse,
    "exit": _exit,
    "silent": _silent,
    "abort": _abort,
    "rollback": _rollback,
}
