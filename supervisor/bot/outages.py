"""Outages: the time from the death of a leader to its successor's first tick. Reported until acknowledged.

An outage ends with the next tick that runs, on any worker: leaders that die before they have ticked belong to the same
outage. The successor reports missed ticks with its first tick; the affected windows are computed here. Each change is
one event, and the history records it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from ...protocol import duration
from ...protocol.events import Outage, OutageChanged, WindowMissed
from ...protocol.link import Doubt, Handed, Report
from ...protocol.window import Window
from ..store.history_thread import HistoryThread
from ..system.errors import Refusal
from ..workers.registry import Member
from .bot_state import BotState

__all__ = ["Outages", "describe_outage", "windows_missed"]

_MOST = 1000
"""The most unacknowledged outages in memory; the history has all."""
_OCCURRENCES = 10_000


class Outages:
    """The outages of one bot. Those not acknowledged are in `unacknowledged`, oldest first."""

    def __init__(self, state: BotState) -> None:
        self._state = state
        self._bus = state.bus
        self._on_probation = 0
        """The deployment that the current outage belongs to, 0 for none."""
        self._known: dict[int, Outage] = {}
        self._newest = 0
        self._current = 0
        """The number of the outage that is not over, 0 for none."""

    @property
    def unacknowledged(self) -> tuple[Outage, ...]:
        return tuple(self._known.values())

    async def recall(self, history_thread: HistoryThread) -> None:
        """Load what earlier supervisors left."""
        newest = await history_thread.ask(lambda history: history.outages(1))
        left = await history_thread.ask(lambda history: history.outages(_MOST, unacknowledged=True))
        self._newest = newest[0].id if newest else 0
        self._known = {outage.id: outage for outage in reversed(left)}
        self._current = next((outage.id for outage in left if outage.until is None), 0)

    # events

    def found(self, since: int, worker: str, release: str, cause: str) -> None:
        """Begin the outage of a bot that ended without being stopped, while no supervisor ran."""
        if not self._current:
            self._begin(Outage(self._newest + 1, since, worker=worker, release=release, cause=cause))

    def lost(self, leader: Member) -> None:
        """The leader has failed, or its process has ended unexpectedly."""
        ended, failed = leader.ended, leader.failed
        # No tick can run after that, though the process may take a while to exit.
        since = leader.failed_at or (ended.at if ended is not None else self._bus.now())
        cause = failed.reason if failed is not None else ended.reason if ended is not None else ""
        doubts = _doubts_of(leader)
        current = self._known.get(self._current)
        if current is None:
            self._begin(
                Outage(
                    self._newest + 1,
                    since,
                    worker=leader.worker,
                    release=leader.release,
                    cause=cause,
                    in_doubt=doubts,
                    heartbeats=leader.event_driven,
                )
            )
        elif current.worker != leader.worker:
            self._change(
                current,
                deaths=current.deaths + 1,
                in_doubt=_both(current.in_doubt, doubts),
                successor="",
                epoch=0,
            )

    def succeeded(self, before: Member | None, successor: Member, report: Report) -> None:
        """Another worker leads. Its report can arrive before the death of the leader is known."""
        current = self._known.get(self._current)
        if current is None and report.cause == "failover":
            worker, release = (before.worker, before.release) if before is not None else ("", "")
            doubts = _doubts_of(before) if before is not None else ()
            current = Outage(
                self._newest + 1, self._bus.now(), worker=worker, release=release, in_doubt=doubts
            )
            self._begin(current)
        if current is not None:
            self._change(current, successor=successor.worker, epoch=report.epoch)

    def explained(self, ended: Member) -> None:
        """A worker's process has ended, which may explain an outage that has just begun."""
        for outage in reversed(self._known.values()):
            if outage.worker == ended.worker:
                if not outage.cause and ended.ended is not None:
                    self._change(outage, cause=ended.ended.reason)
                return

    def ticked(self, leader: Member, handed: Handed) -> None:
        """The first tick of a new leader has run."""
        current = self._known.get(self._current)
        if current is None:
            return
        interval = leader.hello.interval if leader.hello is not None else 0
        due = handed.due or handed.seq * interval
        slot = due // interval if interval else 0
        self._current = 0
        windows = windows_missed(leader.windows, interval, slot - handed.missed, slot - 1)
        in_doubt = _both(current.in_doubt, handed.in_doubt)
        known: dict[str, object] = {}
        if self._on_probation and current.deaths == 1 and not (handed.missed or windows or in_doubt):
            # The deployment reports the rollback, and nothing else happened.
            why = f"deployment {self._on_probation} was rolled back, and nothing was missed"
            known = {"acknowledged": self._bus.now(), "who": "neverblink", "why": why}
        self._change(
            current,
            until=max(current.since, due + handed.late) if interval else self._bus.now(),
            missed=handed.missed,
            windows=windows,
            in_doubt=in_doubt,
            successor=leader.worker,
            epoch=handed.epoch,
            heartbeats=leader.event_driven,
            **known,
        )

    def acknowledge(self, outage: int, who: str, why: str) -> list[Outage]:
        """Acknowledge one outage, or with 0 all that are over; return them as they are now. Raises `Refusal`."""
        if outage:
            found = self._known.get(outage)
            if found is None:
                raise Refusal(
                    "not-found",
                    f"outage {outage} is not waiting to be acknowledged: see `neverblink status` and `history`",
                )
            if found.until is None:
                raise Refusal(
                    "busy",
                    f"outage {outage} is not over: no tick has run since worker {found.worker} ended",
                )
        chosen = [each for each in self.unacknowledged if outage in (0, each.id) and each.until is not None]
        return [self._change(each, acknowledged=self._bus.now(), who=who, why=why) for each in chosen]

    # parts

    def _begin(self, outage: Outage) -> None:
        self._newest = self._current = outage.id
        self._on_probation = self._state.deployment_of(outage.worker)
        self._tell(outage)

    def _change(self, outage: Outage, **fields: object) -> Outage:
        changed = msgspec.structs.replace(outage, **fields)
        self._tell(changed)
        return changed

    def _tell(self, outage: Outage) -> None:
        if outage.acknowledged is None:
            self._known[outage.id] = outage
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
        else:
            self._known.pop(outage.id, None)
        self._bus.tell(OutageChanged(outage=outage))


def windows_missed(
    windows: Iterable[Window], interval: int, first: int, last: int
) -> tuple[WindowMissed, ...]:
    """The protected windows that contained one of the slots `first` to `last`, counted from the UTC epoch.

    `interval` in ns.
    """
    if interval <= 0 or last < first:
        return ()
    found: list[WindowMissed] = []
    for window in windows:
        if not window.protected:
            continue
        spans = [
            span
            for span in islice(window.spans(first * interval, last * interval + 1), _OCCURRENCES)
            if max(-(-span.opens // interval), first) * interval < span.closes
        ]
        if spans:
            found.append(WindowMissed(window.name, len(spans), spans[0].opens, spans[-1].closes))
    return tuple(found)


def describe_outage(outage: Outage, now: int) -> str:
    """An outage in one line, as of wall time `now`."""
    who = f"worker {outage.worker}" if outage.worker else "the leader"
    again = f" (and {outage.deaths - 1} after it)" if outage.deaths > 1 else ""
    died = f"{who} died{again}" + (f": {outage.cause}" if outage.cause else "")
    unit = "heartbeat" if outage.heartbeats else "tick"
    if outage.until is None:
        next_ = f"{outage.successor} leads, no {unit} has run yet" if outage.successor else "no worker leads"
        parts = [f"{next_} since {duration.about(now - outage.since)}"]
    else:
        missed = (
            f"{outage.missed:,} {unit}{'' if outage.missed == 1 else 's'}" if outage.missed else f"no {unit}"
        )
        parts = [
            f"{outage.successor} went on after {duration.about(outage.until - outage.since)}",
            f"{missed} missed",
        ]
    parts += [
        f"window {part.window} missed" + (f" {part.times:,} times" if part.times > 1 else "")
        for part in outage.windows
    ]
    parts += [f"decision {part.name} ({part.id}) in doubt" for part in outage.in_doubt]
    return f"outage {outage.id}: {died}; {', '.join(parts)}"


def _doubts_of(leader: Member) -> tuple[Doubt, ...]:
    return tuple(Doubt(decision.id, decision.name, decision.at) for decision in leader.decisions.values())


def _both(some: tuple[Doubt, ...], more: tuple[Doubt, ...]) -> tuple[Doubt, ...]:
    return tuple({doubt.id: doubt for doubt in (*some, *more)}.values())
