"""The standby: a spare worker on the leading release that is always caught up, and takes over when the leader dies.

A standby is a follower with `guard`: it notices the leader's death itself and asks the kernel for the lease, so this
module is not in the path of a failover. The module keeps a standby ready: it starts one beside the leader, has it
follow the leader, keeps it through a deployment, replaces it with one on the new release when the deployment is done,
and starts it again, with growing pauses, when it dies. `look` does all of that: it compares the actual workers with
the wanted ones, and is called whenever either may have changed.
"""

from __future__ import annotations

from ...protocol import duration
from ...protocol.events import StandbyChanged
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import Follow
from ...protocol.status import StandbyState
from ..config.config import Config
from ..handoff.driver import HandoffDriver
from ..release.releases import Release
from ..system.crash_backoff import CrashBackoff, settled
from ..system.timers import REPEAT_AFTER, TimerSet
from ..workers.registry import Member
from ..workers.spawn import SpawnError
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState

__all__ = ["Standby"]

_MANY = 1000
"""The number of ticks with which a standby counts as settled, once it had the state."""
_BEHIND = 500_000_000
"""A standby that applies a frame this long after its boundary cannot keep up."""
_SETTLED = (Phase.PREPARING, Phase.REHEARSING, Phase.PREPARED, Phase.WAITING, Phase.PROBATION, Phase.RETIRING)
"""The phases in which the leader is known and will not change soon."""


class Standby:
    """Keeps the standby of one bot. `worker`, `status` and `reason` describe it."""

    def __init__(self, state: BotState, pool: WorkerPool) -> None:
        self.worker = ""
        self.status: StandbyState = "none"
        self.reason = ""
        self._last = ""
        """Why the last standby that failed ended."""
        self._state = state
        self._pool = pool
        self._begun = False
        self._closed = False
        self._ours: set[str] = set()
        self._requested: dict[str, tuple[Follow, int]] = {}
        """The last message to each, and when it was sent (CLOCK_MONOTONIC)."""
        self._loaded_at: dict[str, int] = {}
        self._failures = CrashBackoff()
        """Of standbys."""
        self._deaths = CrashBackoff()
        """Of leaders."""
        self._not_before = 0
        """No standby is started before this time, CLOCK_MONOTONIC."""
        self._timers = TimerSet(state.platform.scheduler, {"look": REPEAT_AFTER}, lambda _: self.look())

    @property
    def guarding(self) -> Member | None:
        """The standby that takes the lease when the leader dies, None when there is none."""
        return next((member for member in self._spares() if _guards(member)), None)

    def successor(self, release: str) -> Member | None:
        """The worker to lead when the leader has died: the standby, or a spare on this release that has the state."""
        if (guarding := self.guarding) is not None:
            return guarding
        return next((spare for spare in self._spares() if spare.release == release and _follows(spare)), None)

    # events

    def begin(self) -> None:
        """The bot runs. Before that, a spare looks the same as a worker of a deployment that is yet to be resumed."""
        self._begun = True
        self.look()

    def adopt(self, member: Member) -> None:
        """Keep a standby that an earlier supervisor started. It may not be ready yet."""
        self._ours.add(member.worker)

    def leader_died(self, release: str, lived: int, ticks: int) -> None:
        """A leader on the release has died, after it had led for `lived` ns and `ticks` ticks."""
        self._deaths.failed(release, lived, ticks)
        self._pause(self._deaths.pause(release, self._state.longest_pause(release)))

    def ended(self, member: Member) -> None:
        """A worker's process has ended."""
        if member.worker not in self._ours:
            return
        self._ours.discard(member.worker)
        self._requested.pop(member.worker, None)
        loaded = self._loaded_at.pop(member.worker, 0)
        reported = member.report is not None and member.report.role == "leading"
        led = reported or member.failed_as == "leading"
        leader = self._state.leading
        if led or member.leaving or self._closed or leader is None or leader.release != member.release:
            # It led (which is handled elsewhere), was not needed, or could not read the state of other code.
            return
        lived = self._state.platform.mono() - loaded if loaded else 0
        self._failures.failed(member.release, lived, _MANY if loaded else 0)
        self._failed(member.release, member.ended.reason if member.ended is not None else "")

    def look(self) -> None:
        """Compare the actual standby with the wanted one, and do what is missing."""
        leader = self._state.leading
        if not self._begun or self._closed or leader is None or not leader.alive:
            return
        run, drivers = self._state.runs.get(leader.release), self._state.drivers
        if run is None:
            return
        wanted = run[1].standby
        spares = self._spares()
        for driver in list(drivers):
            self._report_to_driver(driver)
        if wanted:
            for member in spares:
                self._guide(member, leader, guard=self._proven(member.release))
        right = [member for member in spares if member.release == leader.release]
        if all(driver.phase is Phase.RETIRING for driver in drivers):
            self._thin_out(spares, right, wanted)
        calm = all(driver.phase in _SETTLED for driver in drivers)
        if wanted and not right and calm and self._may_start(leader):
            self._start(*run, leader)
            right = [member for member in self._spares() if member.release == leader.release]
        self._publish(leader, wanted, right[0] if right else None)

    def close(self) -> None:
        """Stop keeping a standby. A living one runs on."""
        self._closed = True
        self._timers.close()

    # parts

    def _spares(self) -> list[Member]:
        """Workers that neither lead nor belong to a deployment: standbys, and those left over from a deployment."""
        leader = self._state.leading
        taken = {
            worker for driver in self._state.drivers for worker in (driver.handoff.old, driver.handoff.new)
        }
        if leader is not None:
            taken.add(leader.worker)
        return [
            member
            for member in self._state.registry.alive()
            if member.worker not in taken
            and not member.leaving
            and member.role in ("joining", "following")
            and (member.worker in self._ours or (member.report is not None and member.report.loaded))
        ]

    def _proven(self, release: str) -> bool:
        """Whether this code may take the lease by itself.

        Until a deployment has ended, only the old worker's code may.
        """
        driver = next(iter(self._state.drivers), None)
        if driver is None:
            return True
        old = self._state.registry.get(driver.handoff.old)
        return old is None or old.release == release

    def _guide(self, member: Member, leader: Member, *, guard: bool) -> None:
        """Have the worker follow the leader, and guard it if `guard`."""
        self._ours.add(member.worker)
        report = member.report
        if member.ready is None and member.role == "joining":
            return
        if report is not None and report.leader == leader.worker and report.guard >= guard:
            if report.loaded and report.guard and member.worker not in self._loaded_at:
                self._loaded_at[member.worker] = self._state.platform.mono()
                self._pool.free(member.worker)
            # Otherwise it copies the state, and reports when it has it.
            return
        requested, at = self._requested.get(member.worker, (None, 0))
        wish, now = Follow(leader.worker, guard=guard), self._state.platform.mono()
        if requested != wish or now - at >= REPEAT_AFTER:
            self._requested[member.worker] = (wish, now)
            self._pool.send(member.worker, wish)
        self._timers.arm("look")

    def _thin_out(self, spares: list[Member], right: list[Member], wanted: int) -> None:
        """Dismiss the spares beyond the wanted number, and those on other code than the leader's."""
        ready = [member for member in right if _guards(member)]
        keep = (ready or right)[:wanted]
        for member in spares:
            if member not in keep:
                self._pool.dismiss(member.worker, "it is not needed as a standby")

    def _may_start(self, leader: Member) -> bool:
        report = leader.report
        if self._deaths.crash_loop(leader.release):
            # Leaders are in a crash loop: start no standby before a leader has settled.
            led = self._state.platform.wall() - leader.leads_since if leader.leads_since else 0
            if not settled(led, report.ticks if report is not None else 0):
                self._timers.arm("look")
                return False
        if self._state.platform.mono() < self._not_before:
            self._timers.arm("look")
            return False
        return True

    def _start(self, release: Release, config: Config, leader: Member) -> None:
        worker = self._pool.next_worker()
        self._ours.add(worker)
        try:
            self._pool.start(worker, release, config, leader.worker)
        except SpawnError as problem:
            self._ours.discard(worker)
            self._failures.failed(release.id)
            self._failed(release.id, problem.message)

    def _failed(self, release: str, reason: str) -> None:
        """A standby on the release has failed; `reason` says how."""
        self.reason = self._last = reason
        self._pause(self._failures.pause(release, self._state.longest_pause(release)))

    def _failing(self, release: str) -> str:
        times, pause = (
            self._failures.failures(release),
            self._failures.pause(release, self._state.longest_pause(release)),
        )
        return f"it died {times} times in a row, and the next one is started after {duration.show(pause)}: {self._last}"

    def _pause(self, pause: int) -> None:
        """Start no standby for so long, ns."""
        self._not_before = max(self._not_before, self._state.platform.mono() + pause)

    def _report_to_driver(self, driver: HandoffDriver) -> None:
        # Between two leaders the standby may still follow the old leader. It will follow the new one.
        guarding = self.guarding
        driver.stands_by(guarding.worker if guarding is not None else "")

    def _publish(self, leader: Member, wanted: int, member: Member | None) -> None:
        """Publish the state of the standby when it has changed."""
        lag = member.report.lag if member is not None and member.report is not None else 0
        state: StandbyState = "none"
        reason = ""
        if not wanted:
            pass
        elif member is None:
            state, reason = "starting", self.reason
            if self._failures.crash_loop(leader.release):
                state, reason = "failing", self._failing(leader.release)
            elif self._state.drivers:
                state, reason = "none", "a deployment is under way"
        elif not _guards(member):
            was_there = member.worker in self._loaded_at
            state = "behind" if was_there else "starting"
            reason = "it has lost the stream and copies the state again" if was_there else ""
            if not was_there and self._failures.crash_loop(leader.release):
                state, reason = "failing", self._failing(leader.release)
        elif lag > (_BEHIND // 2 if self.status == "behind" else _BEHIND):
            state, reason = "behind", f"it applies frames {lag / 1e9:.1f} s after they were made"
        else:
            state = "ready"
        worker = member.worker if member is not None else ""
        before = (self.worker, self.status)
        self.worker, self.status, self.reason = worker, state, reason
        if (worker, state) != before:
            self._state.bus.tell(
                StandbyChanged(
                    worker=worker,
                    release=leader.release,
                    state=state,
                    reason=reason,
                )
            )


def _follows(member: Member) -> bool:
    """Whether it has the state."""
    report = member.report
    return report is not None and report.role == "following" and report.loaded


def _guards(member: Member) -> bool:
    """Whether it has the state and takes the lease when its leader dies."""
    return _follows(member) and member.report is not None and member.report.guard
