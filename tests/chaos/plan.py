"""The plan of an episode: its deployments, and which fault hits which target at which step. A function of the seed.

The seed decides the plan, but not the machine's scheduling: the same fault can come a millisecond earlier or later. A
failure that depends on such a millisecond may need several replays.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

__all__ = [
    "GENTLE",
    "HOW",
    "KINDS",
    "OF_A_PROCESS",
    "STEPS",
    "TARGETS",
    "UNFELT",
    "Episode",
    "Fault",
    "Kind",
    "Move",
    "Target",
    "plan",
]

Kind = Literal[
    "kill", "stop", "delay", "file-limit", "torn", "hang-up", "unplug",
    "full", "descriptors", "clock", "sockets", "logs-gone", "power-cut",
]  # fmt: skip
Target = Literal["leader", "new", "old", "supervisor", "standby", "exchange", "home", "all"]
Action = Literal["deploy", "undo", "rollback", "idle"]

KINDS: dict[Kind, tuple[Target, ...]] = {
    "kill": ("leader", "new", "old", "supervisor", "standby"),
    "stop": ("leader", "new", "old", "supervisor", "standby"),
    "delay": ("leader", "new", "old", "supervisor"),
    "file-limit": ("leader", "new", "old", "supervisor"),
    "torn": ("leader",),
    "hang-up": ("leader", "new", "old", "exchange"),
    "unplug": ("leader", "new", "old", "supervisor"),
    "full": ("home",),
    "descriptors": ("leader", "new", "old", "supervisor"),
    "clock": ("all",),
    "sockets": ("home",),
    "logs-gone": ("home",),
    "power-cut": ("all",),
}
"""Each kind of fault, and its possible targets.

kill: SIGKILL. stop: SIGSTOP, and SIGCONT later. delay: many short stops. file-limit: no file of the process may grow.
torn: a record at the journal's end that is half, zeros or has a flipped bit, as of a leader killed while writing.
hang-up: every connection is shut down. unplug: its socket is renamed for a while, so that no new client can connect.

full: the file system of the whole home has no block, or no inode, left. descriptors: a worker may open no further
descriptor, and a supervisor has a crowd of idle connections. clock: the wall clock is stepped, and stepped back or not.
sockets: all sockets in the home are removed. logs-gone: the home's logs are removed. power-cut: every process is killed
at once, and files are torn.
"""

OF_A_PROCESS: tuple[Kind, ...] = ("kill", "stop", "delay", "file-limit", "torn", "hang-up", "unplug")
"""Faults of one process. The other kinds hit all of the bot, or leave the process alive."""

GENTLE: frozenset[Kind] = frozenset({"full", "descriptors", "clock", "sockets", "logs-gone"})
"""Faults that end no process: a leader that dies during one is a violation."""

UNFELT: frozenset[Kind] = frozenset({"clock", "sockets", "logs-gone"})
"""Faults that do not justify refusing or rolling back a deployment of good code."""

HOW: dict[Kind, tuple[str, ...]] = {
    "full": ("blocks", "inodes"),
    "clock": ("+1h", "-1h", "+10y", "+2s", "-2s", "+300ms"),
    "power-cut": ("", "journal", "release"),
}
"""The variants of a kind: what the file system lacks; by how much the clock is stepped; which files are torn."""

TARGETS: tuple[Target, ...] = (
    "leader", "new", "old", "supervisor", "standby", "exchange", "home", "all",
)  # fmt: skip

STEPS = (
    "preparing", "rehearsing", "waiting", "transferring", "probation", "reverting", "retiring", "random",
)  # fmt: skip
"""When a fault starts: as the deployment enters this phase, or at a random moment of the episode."""

FLAWS = ("", "start", "tick", "hang")
"""The defect of the new code: none, it raises in `on_start`, it raises or hangs in its third tick."""

_STOPS = (30, 300, 1500)


class Fault(msgspec.Struct, frozen=True):
    """One fault: it starts `after` ms after the step, and lasts `lasts` ms."""

    kind: Kind
    target: Target
    step: str
    after: int
    lasts: int = 0
    how: str = ""
    """Which of the kind's variants (`HOW`)."""


class Move(msgspec.Struct, frozen=True):
    """What the operator does, and the faults meanwhile. `undo` deploys, and rolls back in the probation."""

    action: Action
    flaw: str
    faults: tuple[Fault, ...]


class Episode(msgspec.Struct, frozen=True):
    seed: int
    standby: bool
    moves: tuple[Move, ...]


def plan(
    seed: int, *, kinds: frozenset[str] = frozenset(KINDS), targets: frozenset[str] = frozenset(TARGETS)
) -> Episode:
    """The episode of a seed, with these kinds of fault and these targets.

    When all kinds are allowed, an even seed has only faults of one process, and an odd seed has any.
    """
    chance = random.Random(seed)
    if seed % 2 == 0 and not kinds.isdisjoint(OF_A_PROCESS):
        kinds = kinds & set(OF_A_PROCESS)
    pairs: list[tuple[Kind, Target]] = [(kind, target) for kind, whom in KINDS.items() for target in whom]
    possible: list[tuple[Kind, Target]] = [
        (kind, target) for kind, target in pairs if kind in kinds and target in targets
    ]
    standby = "standby" in targets and (chance.random() < 0.5 or len(targets) == 1)
    if not standby:
        possible = [item for item in possible if item[1] != "standby"]
    moves: list[Move] = []
    for _ in range(chance.choice((1, 2, 2, 3))):
        moves.append(_move(chance, possible, deployed=any(move.action != "idle" for move in moves)))
    return Episode(seed, standby, tuple(moves))


def _move(chance: random.Random, possible: list[tuple[Kind, Target]], *, deployed: bool) -> Move:
    action: Action = chance.choice(
        ("deploy", "undo", "rollback") if deployed else ("deploy", "deploy", "undo", "idle")
    )
    flaw = chance.choice(("", "", "", "", *FLAWS[1:])) if action == "deploy" else ""
    if flaw in ("tick", "hang"):
        # The old worker takes over from code that cannot tick. Without it the bot is down, and says so. That is
        # intended, not a violation.
        possible = [item for item in possible if item[1] not in ("leader", "old", "all")] or possible
    count = chance.choice((1, 1, 1, 2))
    faults = tuple(_fault(chance, possible, action) for _ in range(count))
    alone = next((fault for fault in faults if fault.kind in _ALONE), None)
    return Move(action, flaw, (alone,) if alone is not None else faults)


_ALONE: frozenset[Kind] = frozenset({"file-limit", "full", "power-cut"})
"""What a bot does while it cannot write is only in its process and its followers: a fault that ends those too loses it.
And after a power cut no other fault has a target."""


def _fault(chance: random.Random, possible: list[tuple[Kind, Target]], action: Action) -> Fault:
    # Surviving a kill of the leader matters most. A fault of the whole home has one target rather than four.
    again = [item for item in possible if item[0] == "kill"]
    whole = [item for item in possible if item[1] in ("home", "all")]
    kind, target = chance.choice(possible + again + whole * 3)
    if action == "idle" and target in ("new", "old"):
        target = "leader"
    # Deaths in a probation revert it too; the plan contains only requested rollbacks.
    steps = (*STEPS, "reverting") if action == "undo" else [step for step in STEPS if step != "reverting"]
    step = "random" if action == "idle" else chance.choice(steps)
    after = chance.randrange(0, 1500) if step == "random" else chance.choice((0, 0, 1, 5, 20, 60, 150))
    # The order matters: each choice is drawn for every kind, so that a seed's plan stays the same.
    lasts = {
        "kill": 0, "torn": 0, "hang-up": 0, "stop": chance.choice(_STOPS), "delay": chance.choice((200, 600)),
        "file-limit": chance.choice((50, 400)), "unplug": chance.choice((100, 400)),
    }.get(kind)  # fmt: skip
    if lasts is not None:
        return Fault(kind, target, step, after, lasts)
    how = chance.choice(HOW.get(kind, ("",)))
    lasts = {"full": chance.choice((400, 1500)), "descriptors": chance.choice((400, 1500))}.get(kind, 0)
    if kind == "clock":
        # A small step may stay; after a large one the bot would be in another year than its exchange.
        lasts = chance.choice((300, 1500, 4000)) if how[-1] in "hy" else chance.choice((0, 300, 1500))
    return Fault(kind, target, step, after, lasts, how)
