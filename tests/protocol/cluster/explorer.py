"""The explorer of the term machine: every state that two hosts and their engine can reach, and the rules in each.

It goes breadth first, so the way to the first broken rule is a shortest one. From every state a fair run is made, in
which nothing fails any more: at its end a turn may begin on a host, unless the engine lost acknowledged records.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from itertools import pairwise

import msgspec

from neverblink.protocol.cluster.term_events import TermRole

from .model import HOSTS, Budget, Cluster, Model, Move

__all__ = ["RuleBroken", "Walked", "fair_move", "settled", "walk", "wander"]


class RuleBroken(AssertionError):
    """A rule is broken; the message tells the whole way there."""


class Walked(msgspec.Struct):
    states: int
    moves: int
    depth: int


def walk(model: Model, start: Cluster, depth: int = 10_000, most: int = 5_000_000) -> Walked:
    """Visit every state within `depth` moves of `start`. Raises `RuleBroken`."""
    gc.disable()
    try:
        return _walk(model, start, depth, most)
    finally:
        gc.enable()


def _walk(model: Model, start: Cluster, depth: int, most: int) -> Walked:
    came_from: dict[Cluster, Cluster | None] = {start: None}
    frontier, seen = [start], Walked(1, 0, 0)
    fair: dict[Cluster, str] = {}
    while frontier and seen.depth < depth:
        seen.depth += 1
        reached: list[Cluster] = []
        for state in frontier:
            for move in model.moves(state):
                seen.moves += 1
                after = model.make(state, move)
                if after in came_from:
                    continue
                came_from[after] = state
                problem = after.wrong or _unfair(model, after, fair)
                if problem:
                    raise RuleBroken(_trace(model, came_from, after, problem))
                reached.append(after)
        if len(came_from) > most:
            raise AssertionError(f"more than {most} states: tighten the bounds")
        frontier = reached
    seen.states = len(came_from)
    return seen


def settled(model: Model, budget: Budget) -> Cluster:
    """The state in which host a holds the first term, and host b has read its TERM."""
    state = model.start(Budget(time=0))
    while (move := fair_move(model, state)) is not None:
        state = model.make(state, move)
    assert model.ticking(state) == ["a"]
    return state._replace(budget=budget)


# --- fair runs --------------------------------------------------------------------------------------------------------

_URGENT = ("restart", "answer", "arrive", "read", "push", "wake")


def _unfair(model: Model, state: Cluster, known: dict[Cluster, str]) -> str:
    """What is wrong at the end of the fair run from `state`; "" when nothing is."""
    passed: list[Cluster] = []
    # What may fail or be asked for plays no part any more, so states that differ in it alone are one.
    state = state._replace(budget=Budget(time=12), confirmed=(), lied=True)
    verdict = None
    while verdict is None:
        if state in known:
            verdict = known[state]
            break
        passed.append(state)
        lost = any(model.machine(state, host).role is TermRole.LOST for host in range(len(HOSTS)))
        if lost or (model.ticking(state) and not (state.appends or state.reads or state.answers)):
            verdict = ""
        else:
            move = fair_move(model, state)
            if move is None:
                verdict = "nothing fails any more, and no turn begins on any host"
            else:
                state = model.make(state, move)
    for each in passed:
        known[each] = verdict
    return verdict


def fair_move(model: Model, state: Cluster) -> Move | None:
    """What happens next when nothing fails; None when nothing does."""
    best, rank = None, len(_URGENT)
    for move in model.moves(state):
        at = _URGENT.index(move[0]) if move[0] in _URGENT else rank
        if at < rank:
            best, rank = move, at
    if best is None and state.budget.time:
        return "pass", 0
    return best


# --- random walks -----------------------------------------------------------------------------------------------------

_USUAL = ("answer", "arrive", "read", "push", "wake", "restart")


def wander(model: Model, seed: int, budget: Budget, most: int = 400) -> Cluster:
    """Make random moves from the beginning, deeper than `walk` can go. Raises `RuleBroken`; returns the last state."""
    chance = random.Random(seed)
    state = model.start(budget)
    way: list[tuple[Cluster, Move]] = []
    for _ in range(most):
        usual, rare = list[Move](), list[Move]()
        for move in model.moves(state):
            (usual if move[0] in _USUAL else rare).append(move)
        if not usual and not rare:
            break
        move = chance.choice(usual if usual and (not rare or chance.random() < 0.6) else rare)
        way.append((state, move))
        state = model.make(state, move)
        if state.wrong:
            raise RuleBroken(_story(model, way, state))
    return state


# --- telling ----------------------------------------------------------------------------------------------------------


def _trace(model: Model, came_from: dict[Cluster, Cluster | None], state: Cluster, problem: str) -> str:
    states = [state]
    while (before := came_from[states[-1]]) is not None:
        states.append(before)
    states.reverse()
    way = [
        (before, next(move for move in model.moves(before) if model.make(before, move) == after))
        for before, after in pairwise(states)
    ]
    return _story(model, way, state._replace(wrong=problem))


def _story(model: Model, way: list[tuple[Cluster, Move]], last: Cluster) -> str:
    lines = [last.wrong, ""]
    after = [state for state, _ in way[1:]] + [last]
    for number, ((before, move), state) in enumerate(zip(way, after, strict=True), 1):
        lines.append(f"{number:3} {_told(before, move)}\n        [{_situation(model, state)}]")
    return "\n".join(lines)


def _told(state: Cluster, move: Move) -> str:
    kind, index = move
    if kind in ("arrive", "arrive twice", "lose the append", "lose its answer", "time out"):
        append = state.appends[index]
        return (
            f"{kind}: {append.entry.record.kind.value} by {HOSTS[append.host]} behind record {append.expect}"
        )
    if kind == "read":
        return f"{HOSTS[state.reads[index].host]}'s read is served"
    if kind == "answer":
        answer = state.answers[index]
        return f"{HOSTS[answer.host]} gets: {answer.kind} {[entry.number for entry in answer.entries]} end {answer.end}"
    if kind in ("pass", "forget"):
        return {"pass": "time passes", "forget": "the engine forgets its last record"}[kind]
    return f"{kind}: {HOSTS[index]}"


def _situation(model: Model, state: Cluster) -> str:
    parts: list[str] = []
    for at, host in enumerate(state.hosts):
        role = model.machine(state, at).role.value if host.alive else "dead"
        parts.append(f"{HOSTS[at]} {role}, fence {host.fence} at {host.clock}")
    log = " ".join(f"{entry.record.kind.value}:{entry.record.writer}" for entry in state.log)
    return "; ".join(parts) + f"; log {log or 'empty'}"


if __name__ == "__main__":
    wanted = Budget(*(int(word) for word in sys.argv[2:]))
    shipped = Model()
    began = time.monotonic()
    print(walk(shipped, settled(shipped, wanted), int(sys.argv[1])), f"{time.monotonic() - began:.1f} s")
