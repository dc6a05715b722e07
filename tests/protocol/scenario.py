"""Scenarios as text: a file says what happens, and shows under each line what follows from it.

A line that is not indented is a command, an indented one is what came of it, and `#` begins a comment. The commands:

    deploy [force]                the operator deploys: `new` is to take over from `old`, which leads; begins anew
    deploy beside a standby       the same, and `spare` stands by
    ready                         the new worker's code is imported and its `on_start` is done
    copy WORKER                   WORKER has caught up with its leader
    unreadable WORKER             WORKER could not read the state it was sent
    deliver [FROM->TO]            everything on the way arrives, and every end of a process is noticed; or one message
    drop FROM->TO                 the next message there is lost
    repeat FROM->TO               the next message there arrives, and later once more
    tick                          the leader runs a tick
    open decision, close decision the leader does
    boundary [in a window | without slack]
    alarm NAME                    an alarm rings, with the supervisor or the worker that armed it
    pulse WORKER                  WORKER reports what it is, as it does at a steady pace
    look WORKER                   WORKER asks the kernel who has the lease
    suspect WORKER                WORKER's leader has been silent for too long
    raise WORKER, hang WORKER, kill WORKER, kill supervisor
    return                        another supervisor comes, hears from both workers what they are, and goes on
    abort, rollback               the operator does
    roles                         show who is what
"""

from __future__ import annotations

from collections.abc import Callable

from .composed import SUPERVISOR, Model
from .explorer import roles, walk_fairly
from .machines import Machines
from .moves import Move, make, moves

__all__ = ["play"]

_PLENTY = 99
_BY_ITSELF = ("exit", "notice", "deliver", "gone")


def play(text: str) -> str:
    """Return `text` with what follows under each command. Raises `ValueError` for a command that cannot be."""
    stage, played = _Stage(), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" "):
            continue
        played.append(line)
        if line and not line.startswith("#"):
            try:
                played += [f"    {note}" for note in stage.command(line)]
            except ValueError as problem:
                raise ValueError(f"line {number}, {line!r}: {problem}") from None
    problem = stage.problem()
    if problem:
        raise ValueError(f"from where it ends: {problem}")
    return "\n".join(played) + "\n"


class _Stage:
    def __init__(self) -> None:
        self._model = Model(Machines())
        self._state = self._model.start()
        self._log: list[str] = []

    def problem(self) -> str:
        return self._state.wrong or walk_fairly(
            self._model, self._state._replace(crashes=0, losses=0, wishes=0, returns=0)
        )

    def command(self, line: str) -> list[str]:
        self._log = []
        verb, *rest = line.split(" ", 1)
        note = rest[0] if rest else ""
        commands: dict[str, Callable[[str], None]] = {
            "deploy": self._deploy,
            "ready": lambda _: self._make("start", "new"),
            "copy": lambda who: self._make("sync", who),
            "unreadable": lambda who: self._make("unreadable", who),
            "deliver": self._deliver,
            "drop": lambda road: self._on_road("drop", road),
            "repeat": lambda road: self._on_road("repeat", road),
            "tick": lambda _: self._make("tick", self._leader()),
            "open": lambda _: self._make("open", self._leader()),
            "close": lambda _: self._make("close", self._leader()),
            "boundary": self._boundary,
            "alarm": self._alarm,
            "pulse": lambda who: self._make("pulse", who),
            "look": lambda who: self._make("look", who, self._state.holder),
            "suspect": lambda who: self._make("silent", who),
            "raise": lambda who: self._make("fell", who),
            "hang": lambda who: self._make("hang", who),
            "kill": lambda who: self._make("kill", who),
            "return": lambda _: self._return(),
            "abort": lambda _: self._make("abort", SUPERVISOR),
            "rollback": lambda _: self._make("rollback", SUPERVISOR),
            "roles": lambda _: self._log.append(roles(self._model, self._state)),
        }
        if verb not in commands:
            raise ValueError("no such command")
        commands[verb](note)
        return self._log

    def _make(self, kind: str, who: str, what: str = "") -> None:
        if who != SUPERVISOR and who not in self._model.index:
            raise ValueError(f"no worker {who!r}")
        self._state = make(self._model, self._state, Move(kind, who, what), self._log.append)
        if self._state.wrong:
            raise ValueError(self._state.wrong)

    def _deploy(self, how: str) -> None:
        problem = self.problem()
        if problem:
            raise ValueError(f"from where the one before ends: {problem}")
        self._model = Model(Machines(), spare=how == "beside a standby")
        self._state = self._model.start(_PLENTY, _PLENTY, _PLENTY, _PLENTY, force=how == "force")
        self._log.append("new is started")

    def _deliver(self, road: str) -> None:
        if road:
            self._on_road("deliver", road)
            return
        while True:
            possible = [move for move in moves(self._model, self._state) if move.kind in _BY_ITSELF]
            if not possible:
                return
            move = min(possible, key=lambda move: _BY_ITSELF.index(move.kind))
            self._make(move.kind, move.who, move.what)

    def _return(self) -> None:
        for name in ("old", "new"):
            self._make("hear", SUPERVISOR, name)
        self._make("return", SUPERVISOR)

    def _on_road(self, kind: str, road: str) -> None:
        sender, _, receiver = road.partition("->")
        at = self._model.road.get((sender, receiver))
        if at is None or not self._state.queues[at]:
            raise ValueError("nothing is on the way there")
        self._make(kind, receiver, sender)

    def _boundary(self, how: str) -> None:
        kinds = {"": "", "in a window": "window", "without slack": "no slack"}
        if how not in kinds:
            raise ValueError(f"expected one of {', '.join(filter(None, kinds))}")
        self._make("boundary", self._leader(), kinds[how])

    def _alarm(self, name: str) -> None:
        for who, worker in zip(self._model.names, self._state.workers, strict=True):
            if name in worker.alarms:
                self._make("alarm", who, name)
                return
        if name not in self._state.alarms:
            raise ValueError("no worker has armed it")
        self._make("alarm", SUPERVISOR, name)

    def _leader(self) -> str:
        leaders = self._model.leaders(self._state)
        if not leaders:
            raise ValueError("no worker leads")
        return leaders[0]
