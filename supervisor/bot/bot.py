"""The live bot: handles its workers' messages, and starts, stops and ends the bot.

Each message of a worker and each end of a process comes through here. The registry is updated, the leader is
determined, and the message goes to the parts that wait for it (a handoff's driver, commands in flight, a start, a
stop).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ...protocol.events import Heartbeat
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import (
    Answered,
    Failed,
    Handed,
    Ready,
    Recovered,
    Report,
    Stop,
    Suspect,
    WorkerMessage,
)
from ..config.config import Config
from ..release.releases import Release
from ..store.history_thread import HistoryThread
from ..store.state_dir import Home
from ..system.event_bus import EventBus
from ..system.timers import REPEAT_AFTER
from ..workers.platform import Platform
from ..workers.registry import Member
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState
from .bring_up import BringUp, StartFailed
from .command_relay import CommandRelay
from .crash_recovery import CrashRecovery
from .handoffs import Handoffs
from .hang_monitor import HangMonitor
from .inbox_health import InboxHealth
from .journal_health import JournalHealth
from .leadership import Leadership
from .outages import Outages
from .standby import Standby
from .state_health import StateHealth
from .tasks_health import TasksHealth, unhealthy

__all__ = ["LiveBot"]

_REASON = 500
"""The maximum length of a failure's reason, in characters."""

_ABORTABLE = (Phase.PREPARING, Phase.REHEARSING, Phase.PREPARED, Phase.WAITING)


class LiveBot:
    """The bot `bus.bot` in `home`, with the parts that run it. They share `state`.

    `find(release)` repairs a damaged release, or returns another one when it is lost. It raises `NeverblinkError`.
    """

    def __init__(
        self,
        home: Home,
        bus: EventBus,
        platform: Platform,
        history_thread: HistoryThread,
        find: Callable[[str], Awaitable[tuple[Release, Config]]],
    ) -> None:
        self.bus = bus
        self.state = state = BotState(bus, platform)
        self.outages = Outages(state)
        self.pool = WorkerPool(home, state, history_thread, self._ended)
        self.relay = CommandRelay(state, self.pool)
        self.hang_monitor = HangMonitor(state, self.pool, home.journal)
        self.standby = Standby(state, self.pool)
        self._bring_up = BringUp(state, self.pool)
        self._recovery = CrashRecovery(state, self.pool, self._bring_up, self.standby, self.relay, find)
        self.leadership = Leadership(state, self.relay, self.outages, self.standby, self._recovery)
        self.handoffs = Handoffs(state, self.pool, self.standby, self.leadership)
        self._journal = JournalHealth(bus)
        self._state_health = StateHealth(bus)
        self._inbox_health = InboxHealth(bus, platform.mono)
        self._tasks_health = TasksHealth(bus)

    @property
    def replaceable(self) -> bool:
        """Whether no worker leads and the next start may run code that an operator names."""
        return not (self.state.starting or self.state.drivers) and self._recovery.replaceable

    def failing(self, release: str) -> bool:
        """Whether workers of this release have failed several times in a row."""
        return self._recovery.failing(release)

    # starting and stopping

    async def start(
        self, release: Release, config: Config, drop: tuple[str, ...] = (), *, recovers: bool = False
    ) -> None:
        """Start the first worker and have it lead. Raises `StartFailed`, and then no worker is left.

        `drop` and `recovers` are as in `WorkerPool.start`.
        """
        self.hang_monitor.begin()
        self._arrive()
        self.state.add_run(release, config)
        await self._bring_up.bring_up(release, config, drop=drop, recovers=recovers)
        self._begun()

    def keep_starting(self, release: str, reason: str) -> None:
        """The first worker did not come to lead: start the release again with growing pauses, as after a crash."""
        self.hang_monitor.begin()
        self._begun()
        self._recovery.begin(release, reason, self.leadership.look, failed=True)

    async def start_again(
        self, release: Release, config: Config, why: str, drop: tuple[str, ...] = ()
    ) -> bool:
        """Start a bot without a leader from its journal. Raises `StartFailed`, and then it still has no leader.

        `drop` is as in `WorkerPool.start`. Returns False when another worker leads by then.
        """
        self.state.add_run(release, config)
        try:
            started = await self._recovery.start_again(release, config, why, drop)
        except StartFailed:
            self.leadership.start_failed()
            raise
        self.standby.look()
        # The new leader may have died since.
        self.leadership.look()
        return started

    def adopted(self) -> None:
        """The bot continues with workers that were found alive."""
        self.state.starting = False
        self._arrive()
        self.hang_monitor.begin()
        self.leadership.look()
        self.standby.begin()

    async def stop(self, why: str) -> str:
        """Stop the bot for good, at a boundary: its `on_stop` runs. Returns what went wrong, "" when nothing did.

        A handoff in progress is aborted, or concluded when the new worker leads already. Takes as long as the bot
        does.
        """
        state = self.state
        state.stopping = why
        self.standby.close()
        state.changes.stir()
        await state.changes.until(lambda: not (state.recovering or self._recovery.busy))
        self.relay.give_up("the bot is being stopped")
        await self._end_handoffs(why)
        # A follower would take the lease when the leader leaves: the leader goes last.
        for member in state.registry.alive():
            if not member.leads:
                self.pool.dismiss(member.worker, why)
        await state.changes.until(lambda: all(member.leads for member in state.registry.alive()))
        leaders = state.registry.alive()
        # Of two workers that reported to lead, the one with the lower epoch was replaced and is about to end.
        last = max((member.epoch for member in leaders), default=0)
        while any(member.alive for member in leaders):
            for member in leaders:
                self.pool.send(member.worker, Stop())
            await state.changes.until(lambda: not any(member.alive for member in leaders), REPEAT_AFTER)
        state.stopped = True
        return "; ".join(
            member.ended.reason
            for member in leaders
            if member.ended is not None and member.ended_badly and member.epoch == last
        )

    async def _end_handoffs(self, why: str) -> None:
        while self.state.drivers:
            # The handoff that waits for another is aborted first.
            driver = self.state.drivers[-1]
            phase = driver.phase
            if phase in _ABORTABLE:
                driver.abort(why)
            elif phase is Phase.PROBATION:
                driver.conclude()
            await self.state.changes.until(
                lambda driver=driver, phase=phase: driver.ended or driver.phase is not phase
            )

    def kill(self, why: str) -> None:
        """Kill every worker at once, also in the middle of a tick or a decision."""
        for member in self.state.registry.alive():
            self.pool.kill(member.worker, why)

    def close(self) -> None:
        """Stop watching the bot. Workers that are alive run on."""
        self.relay.close()
        self.hang_monitor.close()
        self.standby.close()
        self._recovery.close()
        for driver in self.state.drivers:
            driver.close()
        self.pool.let_go()

    # messages of workers

    def heard(self, worker: str, message: WorkerMessage) -> None:
        """Handle a message of a worker, and pass it on."""
        member = self.state.registry.get(worker)
        if member is None or not member.alive:
            return
        if isinstance(message, Failed):
            message = msgspec.structs.replace(message, reason=_in_one_line(message.reason))
        led, before = member.leads, member.report
        member.take(message, self.state.platform.wall())
        match message:
            case Report():
                self._publish_heartbeat(member, message)
                self.leadership.reported(member, message)
                self.pool.remind(member)
                self._journal.reported(member, message)
                self._state_health.reported(member, message)
                self._inbox_health.reported(member, before, message)
                self._tasks_health.reported(member, before, message)
            case Suspect():
                # Messages of the suspected leader come first: the supervisor itself may have been stopped.
                self.pool.drain()
            case Recovered():
                self._journal.recovered(member, message)
            case Handed():
                self.outages.ticked(member, message)
            case Answered():
                self.relay.answered(message)
            case _:
                pass
        for driver in list(self.state.drivers):
            driver.heard(worker, message)
        if isinstance(message, Report):
            unhealthy(self.state, worker, message)
        if isinstance(message, Report | Ready):
            self.standby.look()
        if member.done:
            self.pool.expect_exit(member)
        if led and isinstance(message, Failed):
            self.leadership.failed(member)
        self.state.changes.stir()

    def _ended(self, member: Member) -> None:
        self.leadership.ended(member)

    def _publish_heartbeat(self, member: Member, report: Report) -> None:
        self.bus.tell(
            Heartbeat(
                worker=member.worker,
                release=member.release,
                role=report.role,
                epoch=report.epoch,
                seq=report.seq,
                ticks=report.ticks,
                skipped=report.skipped,
                late_max=report.late_max,
                paused=report.paused,
                turns=report.turns,
            )
        )

    def _arrive(self) -> None:
        self.state.arrived = True
        self.state.changes.stir()

    def _begun(self) -> None:
        self.state.starting = False
        self._arrive()
        self.standby.begin()


def _in_one_line(reason: str) -> str:
    """The reason of a failure as one line of bounded length. The worker's log has the whole text."""
    line = " ".join(reason.split())
    return line if len(line) <= _REASON else f"{line[:_REASON]}…"
