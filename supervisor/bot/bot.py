"""The bot: who leads it, and what the supervisor does to it.

Everything that workers say and every end of a process comes through here: the roster takes it in, who leads is read
from it, and it is handed on to those who wait for it (a deployment's driver, commands on their way, a start, a stop).

Who leads is believed from reports alone, and of two that say so the one with the higher epoch does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ...protocol.events import Heartbeat, LeaderChanged
from ...protocol.handoff.handoff import Handoff
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import (
    Answered,
    Failed,
    Handed,
    Ready,
    Recovered,
    Report,
    Stop,
    SupervisorMessage,
    Suspect,
    WorkerMessage,
)
from ..config.config import Config
from ..config.hang_limits import HangLimits
from ..handoff.driver import HandoffDriver
from ..handoff.interfaces import Finished, HandoffListener, HandoffRecord
from ..handoff.new_worker import NewWorker
from ..release.releases import Release
from ..store.state_dir import Home
from ..system.conditions import Conditions
from ..system.event_bus import EventBus
from ..system.timers import REPEAT_AFTER
from ..workers.platform import Platform
from ..workers.registry import Member, WorkerRegistry
from ..workers.worker_pool import WorkerLink, WorkerPool
from .bring_up import BringUp, StartFailed
from .command_relay import CommandRelay
from .crash_recovery import CrashRecovery, NextStart
from .hang_monitor import HangMonitor
from .journal_health import JournalHealth
from .outages import Outages
from .standby import Standby

__all__ = ["LiveBot"]

_ORDERS = 1000
"""Order numbers that a deployment has for itself: it counts up by two with each way back it tries."""

_REASON = 500

_NOT_YET = (Phase.PREPARING, Phase.REHEARSING, Phase.PREPARED, Phase.WAITING)
_CALM = (Phase.PROBATION, Phase.RETIRING)


class LiveBot:
    """The bot `news.bot` in `home`. `line()` is the way to its workers; `started` is told of each new worker.

    `next_worker()` makes an id that no worker of the home has had. `find(release)` makes a release runnable that may be
    damaged, and names another one when it is lost; it raises `NeverblinkError`.
    """

    def __init__(
        self,
        home: Home,
        bus: EventBus,
        outside: Platform,
        *,
        line: Callable[[], WorkerLink],
        next_worker: Callable[[], str],
        started: Callable[[Member], None],
        find: Callable[[str], Awaitable[tuple[Release, Config]]],
    ) -> None:
        self.bus = bus
        self.registry = WorkerRegistry()
        self.outages = Outages(bus, self._deployment_of)
        self.leader = ""
        self.starting = True
        self.arrived = False
        """What an earlier run left is known, and the bot is started or adopted: deployments can begin."""
        self.stopping = ""
        """Why it is being stopped, "" when it is not."""
        self.stopped = False
        """It was, and no worker is left."""
        self.drivers: list[HandoffDriver] = []
        """Of the deployments under way, the one that began first before the other."""
        self.waiting = Conditions(outside.scheduler)
        self.relay = CommandRelay(outside.scheduler, lambda: self.leader, self._send)
        self.pool = WorkerPool(
            home, self.registry, bus, outside, line=line, started=started, ended=self._ended
        )
        self.guard = HangMonitor(
            bus,
            outside,
            home.journal,
            leader=lambda: self.leading,
            bounds=self._bounds,
            drain=lambda: line().drain(),
            kill=self.pool.kill,
        )
        self.standby = Standby(
            self.pool,
            self.registry,
            bus,
            outside,
            leader=lambda: self.leading,
            drivers=lambda: self.drivers,
            runs=lambda release: self._runs.get(release),
            next_worker=next_worker,
        )
        self._outside = outside
        self._journal = JournalHealth(bus)
        self._next_worker = next_worker
        self._find = find
        self._epoch = 0
        self._led_last = ""
        """The worker that led last before this supervisor came, dead or alive."""
        self._lost: Member | None = None
        """The leader that was lost and has no successor yet."""
        self._goes_on_with = ""
        """The release to succeed it, when that is not its own: the new one was rolled back, and nobody leads."""
        self._starter = BringUp(
            self.pool,
            bus,
            outside,
            self.waiting,
            leader=lambda: self.leader,
            stopping=lambda: self.stopping,
            next_worker=next_worker,
        )
        self._recovery = CrashRecovery(
            self._starter,
            self.standby,
            self.pool,
            bus,
            outside,
            self.waiting,
            leader=lambda: self.leader,
            stopping=lambda: self.stopping,
            runs=lambda release: self._runs.get(release),
            find=self._found,
            down=self._is_down,
        )
        self._runs: dict[str, tuple[Release, Config]] = {}
        """What each release is run as."""

    @property
    def leading(self) -> Member | None:
        """The worker that leads, as far as is known."""
        return self.registry.get(self.leader)

    @property
    def down(self) -> str:
        """Why nobody leads, "" when somebody does or is about to."""
        return self._recovery.down

    @property
    def recovering(self) -> str:
        """Why the bot is being started again from its journal, "" when it is not."""
        return self._recovery.recovering

    @property
    def next_start(self) -> NextStart | None:
        """The next attempt to start the bot, None when none is planned."""
        return self._recovery.next

    @property
    def calm(self) -> bool:
        """Nothing is under way that is about to change who leads."""
        beginning = self.starting or self.recovering
        return not beginning and all(driver.phase in _CALM for driver in self.drivers)

    @property
    def replaceable(self) -> bool:
        """No worker leads, and the next start may run code that an operator names."""
        return not (self.starting or self.drivers) and self._recovery.replaceable

    def failing(self, release: str) -> bool:
        """Whether workers of this release have failed several times in a row."""
        return self._recovery.failing(release)

    def driver_of(self, deployment: int) -> HandoffDriver | None:
        """The driver of a deployment under way, None when it has none yet, or no more."""
        return next((driver for driver in self.drivers if driver.handoff.deployment == deployment), None)

    # starting, handing over, stopping

    async def start(self, release: Release, config: Config) -> None:
        """Start the first worker and have it lead. Raises `StartFailed`, and then no worker is left."""
        self.guard.begin()
        self._arrive()
        self._runs[release.id] = release, config
        await self._starter.bring_up(release, config)
        self._begun()

    def keep_starting(self, release: str, reason: str) -> None:
        """The first worker did not come to lead: start the release again and again, as after a death."""
        self.guard.begin()
        self._begun()
        self._recovery.begin(release, reason, self._look_for_leader, failed=True)

    async def start_again(self, release: Release, config: Config, why: str) -> bool:
        """Start a bot without a leader from its journal. Raises `StartFailed`, and then it has none as before.

        Returns False when another worker has come to lead meanwhile.
        """
        self._runs[release.id] = release, config
        try:
            started = await self._recovery.start_again(release, config, why)
        except StartFailed:
            self._lost = None
            raise
        self.standby.look()
        # It may have died since.
        self._look_for_leader()
        return started

    def recall(self, leader: str, epoch: int) -> None:
        """This worker led last, as far as is known; a report of a higher epoch is news."""
        member = self.registry.get(leader)
        self.leader = leader if member is not None and member.alive else ""
        self._epoch = epoch
        self._led_last = leader

    def config_of(self, release: str) -> Config | None:
        """What a release is run as, None when that is not known."""
        run = self._runs.get(release)
        return run[1] if run is not None else None

    def know(self, release: Release, config: Config) -> None:
        """What a release is run as, of which workers were found running."""
        self._runs[release.id] = release, config

    def adopted(self) -> None:
        """The bot goes on with workers that were found."""
        self.starting = False
        self._arrive()
        self.guard.begin()
        self._look_for_leader()
        self.standby.begin()

    def hand_over(
        self,
        deployment: int,
        release: Release,
        config: Config,
        *,
        force: bool,
        rehearse_only: bool,
        told: HandoffListener,
    ) -> None:
        """Begin a handoff from the leader to a new worker on `release`; behind the one that is in its probation."""
        new = self._next_worker()
        # A worker settles orders in their sequence, and deployments that waited begin out of theirs.
        given = [member.report.order for member in self.registry.alive() if member.report is not None]
        given += [driver.handoff.order for driver in self.drivers]
        order = max(deployment, max(given, default=0) // _ORDERS + 1) * _ORDERS
        handoff = Handoff(deployment, self.leader, new, order, force, rehearse_only, granted=self._epoch)
        handoff.after = self.drivers[-1].handoff.deployment if self.drivers else 0
        self._drive(handoff, release, config, told).begin()

    def take_up(self, kept: HandoffRecord, release: Release, config: Config, told: HandoffListener) -> None:
        """Go on with a handoff that an earlier supervisor began."""
        handoff = kept.handoff
        cleared = self.driver_of(handoff.after) is None
        driver = self._drive(handoff, release, config, told)
        leader = self.registry.leader()
        beside = leader is not None and leader.worker not in (handoff.old, handoff.new)
        third = leader if beside else self.standby.guarding
        driver.take_up(kept, third, self._led_last, cleared=cleared)

    def _drive(
        self, handoff: Handoff, release: Release, config: Config, told: HandoffListener
    ) -> HandoffDriver:
        def kept(what: HandoffRecord) -> None:
            told.kept(what)
            # Who may guard hangs on the phase. Not now: the machine is in the middle of a step.
            self._outside.scheduler.call_later(0, self.standby.look)

        def done(how: Finished) -> None:
            self.drivers.remove(driver)
            old = self.registry.get(handoff.old)
            if how.back and not how.leader and old is not None:
                self._goes_on_with = old.release
            told.finished(how)
            for other in [one for one in self.drivers if one.handoff.after == handoff.deployment]:
                other.cleared(self.leader, self._epoch)
            self._look_for_leader()
            self.standby.look()
            self.waiting.stir()

        self._runs[release.id] = release, config
        driver = HandoffDriver(
            handoff,
            config.handoff,
            NewWorker(self.pool, release, config, handoff),
            self.registry,
            self.bus,
            self._outside,
            msgspec.structs.replace(told, kept=kept, finished=done),
        )
        self.drivers.append(driver)
        self.standby.look()
        return driver

    async def stop(self, why: str) -> str:
        """Stop the bot for good, at a boundary: its `on_stop` runs. Returns what went wrong, "" when nothing did.

        A handoff under way is given up, or concluded when the new worker leads already. Takes as long as the bot does.
        """
        self.stopping = why
        self.standby.close()
        self.waiting.stir()
        await self.waiting.until(lambda: not (self.recovering or self._recovery.busy))
        self.relay.give_up("the bot is being stopped")
        while self.drivers:
            # One that is behind another is given up first.
            driver = self.drivers[-1]
            phase = driver.phase
            if phase in _NOT_YET:
                driver.abort(why)
            elif phase is Phase.PROBATION:
                driver.conclude()
            await self.waiting.until(
                lambda driver=driver, phase=phase: driver.ended or driver.phase is not phase
            )
        # A follower would take the lease when the leader leaves: the leader goes last.
        for member in self.registry.alive():
            if not member.leads:
                self.pool.dismiss(member.worker, why)
        await self.waiting.until(lambda: all(member.leads for member in self.registry.alive()))
        leaders = self.registry.alive()
        # Of two that said that they lead, the one with the lower epoch was replaced, and is just ending.
        last = max((member.epoch for member in leaders), default=0)
        while any(member.alive for member in leaders):
            for member in leaders:
                self.pool.send(member.worker, Stop())
            await self.waiting.until(lambda: not any(member.alive for member in leaders), REPEAT_AFTER)
        self.stopped = True
        return "; ".join(
            member.ended.reason
            for member in leaders
            if member.ended is not None and member.ended_badly and member.epoch == last
        )

    def kill(self, why: str) -> None:
        """End every worker where it stands. What it was about to do is cut off."""
        for member in self.registry.alive():
            self.pool.kill(member.worker, why)

    def close(self) -> None:
        """Look after nothing any more. Workers that are alive run on."""
        self.relay.close()
        self.guard.close()
        self.standby.close()
        self._recovery.close()
        for driver in self.drivers:
            driver.close()
        self.pool.let_go()

    # what is heard

    def heard(self, worker: str, message: WorkerMessage) -> None:
        """A worker has said something."""
        member = self.registry.get(worker)
        if member is None or not member.alive:
            return
        if isinstance(message, Failed):
            message = msgspec.structs.replace(message, reason=_in_one_line(message.reason))
        led = member.leads
        member.take(message, self._outside.wall())
        match message:
            case Report():
                self._pulse(member, message)
                self._judge(member, message)
                self.pool.remind(member)
                self._journal.reported(member, message)
            case Suspect():
                # What the suspected leader has said meanwhile comes first: we may have been stopped ourselves.
                self.pool.drain()
            case Recovered():
                self._journal.recovered(member, message)
            case Handed():
                self.outages.ticked(member, message)
            case Answered():
                self.relay.answered(message)
            case _:
                pass
        for driver in list(self.drivers):
            driver.heard(worker, message)
        if isinstance(message, Report | Ready):
            self.standby.look()
        if member.done:
            self.pool.expect_exit(member)
        if led and isinstance(message, Failed):
            self._leader_failed(member)
        self.waiting.stir()

    def _leader_failed(self, member: Member) -> None:
        """The leader has dropped the lease and is about to exit: the bot goes on before its process has ended."""
        if not self.stopping:
            self._leader_died(member)
        if member.worker == self.leader:
            self.leader = ""
            self._lost = member
        for driver in list(self.drivers):
            driver.exited(member.worker, member.failed.reason if member.failed is not None else "")
        self._look_for_leader()

    def _ended(self, member: Member) -> None:
        reason = member.ended.reason if member.ended else ""
        self.outages.explained(member)
        self.standby.ended(member)
        if member.failed_as == "leading":
            pass  # that was dealt with when it failed
        elif member.report is not None and member.report.role == "leading" and not self.stopping:
            self._leader_died(member)
        elif member.worker == self.leader:
            self._recovery.left()
        if member.worker == self.leader:
            self.leader = ""
            self._lost = member
        if member.failed_as != "leading":
            for driver in list(self.drivers):
                driver.exited(member.worker, reason)
        self._look_for_leader()
        self.waiting.stir()

    def _leader_died(self, member: Member) -> None:
        self._recovery.died(member)
        if member.worker == self.leader:
            self.outages.lost(member)

    def _judge(self, member: Member, report: Report) -> None:
        """Note who leads now."""
        if report.role != "leading" or report.epoch < self._epoch:
            return
        if member.worker == self.leader and report.epoch == self._epoch:
            return
        self.outages.succeeded(self._lost or self.leading, member, report)
        self.leader = member.worker
        self._epoch = report.epoch
        self._recovery.led()
        self._lost, self._goes_on_with = None, ""
        self._changed(member.worker, member.release, report.cause, report.seq + 1)
        self.relay.resend()

    def _look_for_leader(self) -> None:
        """Say so when nobody leads, and nothing is under way that would change it."""
        lost = self._lost
        if self.leader or self.drivers or self.starting or lost is None or self._recovery.busy:
            return
        self._lost = None
        if lost.failed is not None:
            reason = f"worker {lost.worker} failed: {lost.failed.reason}"
        else:
            reason = f"worker {lost.worker} ended: {lost.ended.reason if lost.ended else ''}"
        if self.stopping:
            self._recovery.give_up(self.stopping)
            return
        if self.standby.guarding is None:
            self._changed("", "", reason, 0)
        self._recovery.begin(self._goes_on_with or lost.release, reason, self._look_for_leader)

    def _changed(self, worker: str, release: str, cause: str, seq: int) -> None:
        self.bus.tell(
            LeaderChanged(
                bot=self.bus.bot,
                at=self.bus.now(),
                worker=worker,
                release=release,
                epoch=self._epoch,
                cause=cause,
                seq=seq,
            )
        )

    def _pulse(self, member: Member, report: Report) -> None:
        self.bus.tell(
            Heartbeat(
                bot=self.bus.bot,
                at=self.bus.now(),
                worker=member.worker,
                release=member.release,
                role=report.role,
                epoch=report.epoch,
                seq=report.seq,
                ticks=report.ticks,
                skipped=report.skipped,
                late_max=report.late_max,
                paused=report.paused,
            )
        )

    def _deployment_of(self, worker: str) -> int:
        return next((one.handoff.deployment for one in self.drivers if one.handoff.new == worker), 0)

    def _bounds(self, member: Member) -> HangLimits:
        run = self._runs.get(member.release)
        return run[1].watchdog if run is not None else HangLimits()

    def _send(self, worker: str, message: SupervisorMessage) -> bool:
        return self.pool.send(worker, message)

    def _arrive(self) -> None:
        self.arrived = True
        self.waiting.stir()

    def _begun(self) -> None:
        self.starting = False
        self._arrive()
        self.standby.begin()

    async def _found(self, release: str) -> tuple[Release, Config]:
        found = await self._find(release)
        self._runs[found[0].id] = found
        return found

    def _is_down(self, why: str) -> None:
        self.relay.give_up(f"the bot is down: {why}")
        self._changed("", "", why, 0)
        self.waiting.stir()


def _in_one_line(reason: str) -> str:
    """Why a worker failed, as it said. An exception's text can be of any length; its log has it whole."""
    line = " ".join(reason.split())
    return line if len(line) <= _REASON else f"{line[:_REASON]}…"
