"""What an episode is to be: which deployments, and what the nemesis does to whom at which step. A function of the seed.

The seed decides the plan, not what the machine's scheduler makes of it: the same plan can meet the bot a millisecond
earlier or later. A failure that hangs on such a millisecond comes back after some replays, not surely at the first.
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
"""Each kind of fault, and whom it can befall.

kill: SIGKILL. stop: SIGSTOP, and SIGCONT later. delay: many short stops. file-limit: no file of the process may grow.
torn: a record at the journal's end that is half, zeros or has a bit flipped, as of a leader killed while it writes.
hang-up: every connection is shut down. unplug: its socket's name is away for a while, so that nobody new can connect.

full: the file system of the whole home has no block, or no inode, left. descriptors: a worker may open no further
descriptor, and a supervisor has a crowd of idle connections. clock: the wall clock is stepped, and stepped back or not.
sockets: all sockets in the home are removed. logs-gone: the home's logs are removed. power-cut: every process is killed
at once, and files are torn.
"""

OF_A_PROCESS: tuple[Kind, ...] = ("kill", "stop", "delay", "file-limit", "torn", "hang-up", "unplug")
"""What befalls one process. The other kinds befall everything the bot has, or leave the process alive."""

GENTLE: frozenset[Kind] = frozenset({"full", "descriptors", "clock", "sockets", "logs-gone"})
"""What ends no process: a leader that dies of it, or of anything else meanwhile, is a violation."""

UNFELT: frozenset[Kind] = frozenset({"clock", "sockets", "logs-gone"})
"""What is no reason to refuse a deployment of good code, or to take it back."""

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
"""When: as the deployment enters this phase, or at a random moment of the episode."""

FLAWS = ("", "start", "tick", "hang")
"""What is wrong with the new code: nothing, it raises in `on_start`, it raises or hangs in its third tick."""

_STOPS = (30, 300, 1500)


class Fault(msgspec.Struct, frozen=True):
    """One blow: `after` ms after the step it is struck, and `lasts` ms long."""

    kind: Kind
    target: Target
    step: str
    after: int
    lasts: int = 0
    how: str = ""
    """Which of the kind's variants (`HOW`)."""


class Move(msgspec.Struct, frozen=True):
    """What the operator does, and what happens meanwhile. `undo` deploys, and goes back in the probation."""

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
    """The episode of a seed, of these kinds of fault and those they may befall.

    Of all kinds, an even seed has those that befall one process, and an odd seed any.
    """
    chance = random.Random(seed)
    if seed % 2 == 0 and not kinds.isdisjoint(OF_A_PROCESS):
        kinds = kinds & set(OF_A_PROCESS)
    blows: list[tuple[Kind, Target]] = [(kind, target) for kind, whom in KINDS.items() for target in whom]
    possible: list[tuple[Kind, Target]] = [
        (kind, target) for kind, target in blows if kind in kinds and target in targets
    ]
    standby = "standby" in targets and (chance.random() < 0.5 or len(targets) == 1)
    if not standby:
        possible = [one for one in possible if one[1] != "standby"]
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
        # Code that cannot tick is gone back from by a worker on the old code: with that one gone, the bot is down, and
        # says so. That is how it is meant, and nothing to find.
        possible = [one for one in possible if one[1] not in ("leader", "old", "all")] or possible
    count = chance.choice((1, 1, 1, 2))
    faults = tuple(_fault(chance, possible, action) for _ in range(count))
    alone = next((fault for fault in faults if fault.kind in _ALONE), None)
    return Move(action, flaw, (alone,) if alone is not None else faults)


_ALONE: frozenset[Kind] = frozenset({"file-limit", "full", "power-cut"})
"""What a bot does while it can't write is in its process and in its followers: whoever takes those too has it all. And
a power cut leaves nothing for another fault to befall."""


def _fault(chance: random.Random, possible: list[tuple[Kind, Target]], action: Action) -> Fault:
    # Kills are what a leader must survive most of all; what befalls the whole home has one target, and not four.
    again = [one for one in possible if one[0] == "kill"]
    whole = [one for one in possible if one[1] in ("home", "all")]
    kind, target = chance.choice(possible + again + whole * 3)
    if action == "idle" and target in ("new", "old"):
        target = "leader"
    # Deaths in a probation revert it too; planned for is the way back that is asked for.
    steps = (*STEPS, "reverting") if action == "undo" else [step for step in STEPS if step != "reverting"]
    step = "random" if action == "idle" else chance.choice(steps)
    after = chance.randrange(0, 1500) if step == "random" else chance.choice((0, 0, 1, 5, 20, 60, 150))
    # In this order: the choices are drawn for each kind, so that a seed's plan stays what it was.
    lasts = {
        "kill": 0, "torn": 0, "hang-up": 0, "stop": chance.choice(_STOPS), "delay": chance.choice((200, 600)),
        "file-limit": chance.choice((50, 400)), "unplug": chance.choice((100, 400)),
    }.get(kind)  # fmt: skip
    if lasts is not None:
        return Fault(kind, target, step, after, lasts)
    how = chance.choice(HOW.get(kind, ("",)))
    lasts = {"full": chance.choice((400, 1500)), "descriptors": chance.choice((400, 1500))}.get(kind, 0)
    if kind == "clock":
        # A small step may stay; with a large one the bot would be in another year than its exchange.
        lasts = chance.choice((300, 1500, 4000)) if how[-1] in "hy" else chance.choice((0, 300, 1500))
    return Fault(kind, target, step, after, lasts, how)
