"""The guard: watches over the leader, in whatever the bot is about.

It looks at the leader steadily and does what the watchdog's rules say: tells of one that is slow, and kills one that
will do nothing any more. What comes after that is the same as after any death.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...protocol.events import Slow
from ..config.hang_limits import HangLimits
from ..system.event_bus import EventBus
from ..system.timers import Handle
from ..workers.platform import Platform
from ..workers.registry import Member
from .hang_rules import HangRules, Observation

__all__ = ["HangMonitor"]

_EVERY = 500_000_000
_LOOKS = 8
"""At least so many looks before anybody is killed."""


class HangMonitor:
    """Watches whom `leader()` names, within the bounds that `bounds(member)` gives; `kill(worker, reason)` ends one.

    `drain()` takes in what workers have said and nobody has read yet. `journal` is where the leader writes.
    """

    def __init__(
        self,
        bus: EventBus,
        outside: Platform,
        journal: Path,
        *,
        leader: Callable[[], Member | None],
        bounds: Callable[[Member], HangLimits],
        drain: Callable[[], None],
        kill: Callable[[str, str], None],
    ) -> None:
        self.slow = ""
        """What the leader's trouble is, "" when it has none."""
        self._bus = bus
        self._outside = outside
        self._journal = journal
        self._leader = leader
        self._bounds = bounds
        self._drain = drain
        self._kill = kill
        self._watched: tuple[str, int] = ("", 0)
        self._watchdog: HangRules | None = None
        self._next: Handle | None = None

    def begin(self) -> None:
        """Watch from now on."""
        self._look()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _look(self) -> None:
        # What it said while we were busy, or stopped ourselves, comes first.
        self._drain()
        member = self._leader()
        every = _EVERY
        if member is None or not member.alive or not member.leads:
            self._watchdog = None
            self._tell(None, "", 0)
        else:
            bounds = self._bounds(member)
            every = min(_EVERY, bounds.hang_after // _LOOKS)
            self._judge(member, bounds, every)
        self._next = self._outside.scheduler.call_later(every / 1e9, self._look)

    def _judge(self, member: Member, bounds: HangLimits, every: int) -> None:
        who = member.worker, member.epoch
        if self._watchdog is None or self._watched != who:
            self._watched, self._watchdog = who, HangRules(bounds, every)
        report, hello = member.report, member.hello
        look = Observation(
            mono=self._outside.mono(),
            wall=self._outside.wall(),
            words=member.words,
            number=report.number if report is not None else 0,
            written=_written(self._journal),
            interval=hello.interval if hello is not None else 0,
            due=report.due if report is not None else 0,
            decision=member.open_decision,
            doing=None,
        )
        if not self._watchdog.moves(look):
            # That takes two files of /proc, and matters only now.
            look = msgspec.structs.replace(look, doing=self._outside.doing(member.pid))
        verdict = self._watchdog.look(look)
        self._tell(member, verdict.reason, verdict.lasts)
        if verdict.what == "dead":
            self._kill(member.worker, verdict.reason)

    def _tell(self, member: Member | None, reason: str, lasts: int) -> None:
        """Say so when trouble begins, when it is another one, and when it is over."""
        kind, before = _kind(reason), _kind(self.slow)
        self.slow = reason
        if member is None or kind == before:
            return
        self._bus.tell(
            Slow(
                bot=self._bus.bot,
                at=self._bus.now(),
                worker=member.worker,
                release=member.release,
                reason=reason,
                lasts=lasts,
            )
        )


def _kind(reason: str) -> str:
    """The reason without how long."""
    return reason.partition(": ")[2]


def _written(directory: Path) -> tuple[str, int]:
    """The journal's newest segment, and how long it is."""
    try:
        newest = max((name for name in os.listdir(directory) if name.endswith(".journal")), default="")
        return newest, os.stat(os.path.join(directory, newest)).st_size
    except OSError:
        return "", 0
