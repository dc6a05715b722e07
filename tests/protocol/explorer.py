"""The explorer: every state that a composed model can reach, and what must be true in each.

`explore` goes breadth first, so the way to the first broken rule is a shortest one. In every state the rules are looked
at that need no future; and from every state a fair run is made, in which nothing fails any more, every message arrives
and every alarm rings in its time: it must come to rest with a worker leading, the deployment ended, and its word about
who leads true.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from .composed import Model, State
from .machines import Machines
from .moves import Move, cuts, make, moves

__all__ = ["Explored", "Violation", "explore", "walk_fairly"]


class Violation(AssertionError):
    """A rule is broken; the message tells the whole way there."""


class Explored(msgspec.Struct):
    states: int
    moves: int
    depth: int
    at_rest: int
    """How many different situations the fair runs came to rest in."""


def explore(model: Model, start: State, depth: int = 10_000, most: int = 10_000_000) -> Explored:
    """Visit every state within `depth` moves of `start`. Raises `Violation`."""
    # Millions of tuples and not one cycle among them: looking for some would take a third of the time.
    gc.disable()
    try:
        return _explore(model, start, depth, most)
    finally:
        gc.enable()


def _explore(model: Model, start: State, depth: int, most: int) -> Explored:
    fair = Fair(model)
    came_from: dict[State, State | None] = {start: None}
    frontier = [start]
    seen, level = Explored(1, 0, 0, 0), 0
    while frontier and level < depth:
        level += 1
        reached: list[State] = []
        for state in frontier:
            for after in successors(model, state):
                seen.moves += 1
                if after in came_from:
                    continue
                came_from[after] = state
                if after.wrong:
                    raise Violation(trace(model, came_from, after, after.wrong))
                problem = fair.problem(after)
                if problem:
                    raise Violation(trace(model, came_from, after, problem, fair.way(after)))
                if not model.ended(after):
                    reached.append(after)
            if len(came_from) > most:
                raise AssertionError(f"more than {most} states: tighten the bounds")
        frontier = reached
    seen.states, seen.depth, seen.at_rest = len(came_from), level, fair.at_rest
    return seen


def successors(model: Model, state: State) -> Iterator[State]:
    for move in moves(model, state):
        yield make(model, state, move)
        if state.crashes > 0:
            for cut in cuts(model, state, move):
                yield make(model, state, cut)


# --- fair runs --------------------------------------------------------------------------------------------------------


class Fair:
    """What becomes of a state when nothing fails any more. Remembers what it has found out."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._calm: dict[State, State] = {}
        self._verdicts: dict[State, str] = {}

    @property
    def at_rest(self) -> int:
        return len(self._verdicts)

    def problem(self, state: State) -> str:
        """What is wrong at the end of the fair run from `state`; "" when nothing is."""
        calm, passed = self.calm(state), list[State]()
        while calm not in self._verdicts:
            if calm in passed:
                verdict = "no decision is reached: the same things happen for ever"
                break
            passed.append(calm)
            after = self.nudged(calm)
            if after is None:
                verdict = at_rest(self._model, calm)
                break
            calm = after
        else:
            verdict = self._verdicts[calm]
        for each in passed:
            self._verdicts[each] = verdict
        return verdict

    def way(self, state: State) -> list[State]:
        """The fair run from `state`, state by state."""
        way = [state]
        while True:
            move = self._urgent(way[-1])
            if move is not None:
                way.append(make(self._model, way[-1], move))
                continue
            alarm = self._alarm(way[-1])
            if alarm is None:
                return way
            after = make(self._model, way[-1], alarm)
            if after in way:
                return way
            way.append(after)

    def calm(self, state: State) -> State:
        """What is left when everything has happened that does not wait for an alarm."""
        passed = list[State]()
        while state not in self._calm:
            move = self._urgent(state)
            if move is None:
                self._calm[state] = state
                break
            passed.append(state)
            state = make(self._model, state, move)
            assert len(passed) < 1000, "what is urgent does not end"
        rest = self._calm[state]
        for each in passed:
            self._calm[each] = rest
        return rest

    def nudged(self, state: State) -> State | None:
        """What is left after the first pulse or alarm that changes anything; None when none does."""
        alarm = self._alarm(state)
        return None if alarm is None else self.calm(make(self._model, state, alarm))

    def _urgent(self, state: State) -> Move | None:
        best, rank = None, len(_URGENT)
        for move in moves(self._model, state):
            at = _URGENT.get(move.kind, rank)
            if at < rank:
                best, rank = move, at
        return best

    def _alarm(self, state: State) -> Move | None:
        waiting = [
            move for move in moves(self._model, state) if move.kind in ("pulse", "alarm", "silent", "vacant")
        ]
        for move in sorted(waiting, key=lambda move: _ALARMS.index(move.what or move.kind)):
            if self.calm(make(self._model, state, move)) != state:
                return move
        return None


_URGENT = {
    kind: at
    for at, kind in enumerate(
        ("exit", "end", "notice", "deliver", "gone", "start", "look", "sync", "close", "boundary")
    )
}
_ALARMS = [
    "pulse",
    "silent",
    "retry",
    "lease",
    "vacant",
    "repeat",
    "start",
    "rehearse",
    "succeed",
    "boundary",
    "probation",
    "retire",
]
"""In the order of how long they take, the shortest first."""


def at_rest(model: Model, state: State) -> str:
    """What is wrong with a state in which nothing moves any more; "" when nothing is."""
    if state.wrong:
        return state.wrong
    leaders = model.leaders(state)
    names = " and ".join(leaders) or "no worker"
    phase = model.handoff(state).phase
    stands = _hung_leader(model, state) or (not leaders and excused(model, state))
    if state.supervised and not model.ended(state) and not stands:
        return f"the deployment stays {phase.value} for ever ({names} leads)"
    outrun = bool(state.claim) and model.worker(state, state.claim or "").life != "alive"
    if state.claim is not None and not outrun and leaders != [state.claim][: len(state.claim)]:
        return f"the deployment ended {phase.value} saying that {state.claim or 'no worker'} leads, but {names} does"
    if not leaders and not excused(model, state) and not _unjudged(model, state):
        return "no worker leads, and none ever will"
    return ""


def excused(model: Model, state: State) -> bool:
    """Whether no worker can be asked to lead: more than one party failed, or the only one that could."""
    failed = sum(worker.life != "unborn" and worker.life != "alive" for worker in state.workers)
    return state.excused or failed + (not state.supervised) >= len(model.names)


def _hung_leader(model: Model, state: State) -> bool:
    """A hung process holds the lease and no other process may judge it: the operator has to."""
    return bool(state.holder) and model.worker(state, state.holder).life == "hung"


def _unjudged(model: Model, state: State) -> bool:
    """The hung process is none that the old worker, in the probation, may have killed. (A standby may not.)"""
    if not _hung_leader(model, state):
        return False
    watched = state.supervised and not model.ended(state) and model.worker(state, "old").life == "alive"
    return state.holder != "new" or not watched


# --- telling ----------------------------------------------------------------------------------------------------------


def trace(
    model: Model,
    came_from: dict[State, State | None],
    state: State,
    problem: str,
    then: list[State] | None = None,
) -> str:
    """Tell the way to `state`: what happened in each step, the messages and the roles."""
    way = [state]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    way.reverse()
    lines = [problem, ""]
    lines += [f"{number:3} {line}" for number, line in enumerate(_told(model, way), 1)]
    if then is not None and len(then) > 1:
        lines += ["", "    and then, though nothing fails any more:", ""]
        lines += [f"    {line}" for line in _told(model, then)]
    return "\n".join(lines)


def _told(model: Model, way: list[State]) -> Iterator[str]:
    for before, after in pairwise(way):
        move = _between(model, before, after)
        log: list[str] = []
        make(model, before, move, log.append)
        yield "".join(
            [str(move), *(f"\n        {line}" for line in log), f"\n        [{roles(model, after)}]"]
        )


def _between(model: Model, before: State, after: State) -> Move:
    for move in moves(model, before):
        for each in (move, *cuts(model, before, move)):
            if make(model, before, each) == after:
                return each
    raise AssertionError("no move leads from one state to the next")


def roles(model: Model, state: State) -> str:
    """Say in one line who is what."""
    parts = [f"handoff {model.handoff(state).phase.value}" if state.supervised else "no supervisor"]
    for name in model.names:
        worker, seat = model.worker(state, name), model.seat(state, name)
        role = seat.role.value if worker.life in ("alive", "hung") else ""
        life = "" if worker.life == "alive" else worker.life
        parts.append(" ".join(filter(None, (name, role, life))))
    return ", ".join(parts) + f"; lease: {state.holder or 'free'}, epoch {state.epoch}"


def walk_fairly(model: Model, state: State) -> str:
    """What is wrong at the end of the fair run from `state`."""
    return Fair(model).problem(state)


if __name__ == "__main__":
    shipped = Model(Machines(plain=True), spare="spare" in sys.argv)
    bounds = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    print(explore(shipped, shipped.start(*bounds[:4]), *bounds[4:]))
