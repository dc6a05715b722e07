"""Watches the leader: reports one that is slow, and kills one that hangs.

It observes the leader at a fixed interval and carries out what `hang_rules` decides. A kill is handled like any other
death of a leader.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ...protocol.events import Slow
from ..config.hang_limits import HangLimits
from ..system.timers import Handle
from ..workers.registry import Member
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState
from .hang_rules import HangRules, Observation

__all__ = ["HangMonitor"]

_EVERY = 500_000_000
_OBSERVATIONS = 8
"""A leader is observed at least this often before it is killed."""


class HangMonitor:
    """Watches the leader within the limits of its release. `journal` is the directory that the leader writes."""

    def __init__(self, state: BotState, pool: WorkerPool, journal: Path) -> None:
        self.slow = ""
        """Why the leader is slow, "" when it is not."""
        self._state = state
        self._pool = pool
        self._journal = journal
        self._watched: tuple[str, int] = ("", 0)
        """The worker that leads, and its epoch."""
        self._rules: HangRules | None = None
        self._next: Handle | None = None

    def begin(self) -> None:
        """Watch from now on."""
        self._look()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _look(self) -> None:
        # Messages that arrived while this process was busy or stopped come first.
        self._pool.drain()
        member = self._state.leading
        every = _EVERY
        if member is None or not member.alive or not member.leads:
            self._rules = None
            self._publish(None, "", 0)
        else:
            limits = self._state.hang_limits(member.release)
            every = min(_EVERY, limits.hang_after // _OBSERVATIONS)
            self._judge(member, limits, every)
        self._next = self._state.platform.scheduler.call_later(every / 1e9, self._look)

    def _judge(self, member: Member, limits: HangLimits, every: int) -> None:
        leader = member.worker, member.epoch
        if self._rules is None or self._watched != leader:
            self._watched, self._rules = leader, HangRules(limits, every)
        report, hello = member.report, member.hello
        look = Observation(
            mono=self._state.platform.mono(),
            wall=self._state.platform.wall(),
            messages=member.messages,
            number=report.number if report is not None else 0,
            written=_written(self._journal),
            interval=hello.interval if hello is not None else 0,
            due=report.due if report is not None else 0,
            decision=member.open_decision,
            doing=None,
        )
        if not self._rules.moves(look):
            # Reading it takes two files of /proc, and only a leader without progress needs it.
            look = msgspec.structs.replace(look, doing=self._state.platform.doing(member.pid))
        verdict = self._rules.look(look)
        self._publish(member, verdict.reason, verdict.lasts)
        if verdict.what == "dead":
            self._pool.kill(member.worker, verdict.reason)

    def _publish(self, member: Member | None, reason: str, lasts: int) -> None:
        """Publish when the leader becomes slow, when the reason changes, and when it has recovered."""
        kind, before = _kind(reason), _kind(self.slow)
        self.slow = reason
        if member is None or kind == before:
            return
        self._state.bus.tell(
            Slow(
                worker=member.worker,
                release=member.release,
                reason=reason,
                lasts=lasts,
            )
        )


def _kind(reason: str) -> str:
    """The reason without its duration."""
    return reason.partition(": ")[2]


def _written(directory: Path) -> tuple[str, int]:
    """The name of the journal's newest segment, and its size in bytes."""
    try:
        newest = max((name for name in os.listdir(directory) if name.endswith(".journal")), default="")
        return newest, os.stat(os.path.join(directory, newest)).st_size
    except OSError:
        return "", 0
