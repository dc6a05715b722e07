"""How the driver carries out the state machine's commands, with recorded workers and a manual clock."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from neverblink.protocol.events import PhaseChanged, StepDone
from neverblink.protocol.handoff.handoff import Handoff
from neverblink.protocol.handoff.handoff_events import Phase
from neverblink.protocol.link import (
    Cancelled,
    DecisionOpened,
    Failed,
    Handed,
    Holding,
    Ready,
    Rehearsed,
    Suspect,
    WorkerMessage,
)
from neverblink.supervisor.config.config import Config, HandoffSettings
from neverblink.supervisor.handoff.driver import HandoffDriver
from neverblink.supervisor.handoff.progress import Finished, HandoffListener, HandoffRecord
from neverblink.supervisor.release.releases import Release

from ..fake_bot_context import FakeBotContext, RecordingWorkerPool, hello, report

SECOND = 1_000_000_000
RELEASE = Release("r2", Path("/releases/r2"), 0, "", "", 0, 0)
CONFIG = Config(Path("/p/neverblink.toml"), "fox", "bot:B", "python3")


class Listener(HandoffListener):
    """Records what a driver reports."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    def recorded(self, record: HandoffRecord) -> None:
        self.drive.kept.append(record)
        self.drive.kept_after.append(len(self.drive.pool.did))

    def turned(self, worker: str) -> None:
        self.drive.notified.append(f"turned to {worker}")

    def committed(self) -> None:
        self.drive.notified.append("committed")

    def reverted(self) -> None:
        self.drive.notified.append("reverted")

    def finished(self, how: Finished) -> None:
        self.drive.ends.append(how)


class Drive:
    """One driver, from worker `old` to `new`."""

    def __init__(self, *, rehearse_only: bool = False) -> None:
        self.context = FakeBotContext()
        self.pool = RecordingWorkerPool(self.context.registry)
        self.notified: list[str] = []
        self.kept: list[HandoffRecord] = []
        self.kept_after: list[int] = []
        """How much had been done by then."""
        self.ends: list[Finished] = []
        self.pool.start("old")
        self.driver = HandoffDriver(
            Handoff(7, "old", "new", 7000, rehearse_only=rehearse_only, granted=1),
            (RELEASE, CONFIG),
            self.pool,
            self.context.state,
            (Listener(self),),
        )
        self.pool.take()

    def hear(self, worker: str, *messages: WorkerMessage) -> None:
        for message in messages:
            member = self.context.registry.get(worker)
            assert member is not None
            member.take(message, self.context.clock.now)
            self.driver.heard(worker, message)

    def to_waiting(self) -> None:
        self.driver.begin()
        self.hear("new", Ready(10, 20), report("following"), Rehearsed(312, 3, 40, "newest"))
        self.hear("new", report("following", loaded=True))

    def to_probation(self) -> None:
        self.to_waiting()
        self.hear("old", report("yielding"))
        self.hear("new", report("leading", loaded=True, epoch=2), Handed(2, 7000, "handoff", 11, 60, 250, 0))
        self.pool.take()

    @property
    def end(self) -> Finished:
        (end,) = self.ends
        return end

    def steps(self) -> list[tuple[str, int]]:
        return [(event.step, event.took) for event in self.context.events if isinstance(event, StepDone)]


@pytest.fixture
def drive() -> Drive:
    return Drive()


def test_a_handoff_runs_from_start_to_done(drive: Drive) -> None:
    drive.driver.begin()
    assert drive.pool.take() == [("start", "new")]
    drive.context.clock.advance(2 * SECOND)
    drive.hear("new", Ready(10, 20))
    assert drive.pool.take() == [("follow", "new")]
    drive.hear("new", report("following"), Rehearsed(312, 3, 40, "newest"))
    assert drive.pool.take() == []
    drive.hear("new", report("following", loaded=True))
    assert drive.pool.take() == [("free", "new"), ("yield", "old")]
    drive.context.clock.advance(SECOND // 2)
    assert drive.pool.take() == [("yield", "old")]
    drive.hear("old", report("yielding"))
    drive.hear("new", report("leading", loaded=True, epoch=2))
    assert drive.notified == ["committed"]
    drive.hear("new", Handed(2, 7000, "handoff", 11, 60, 250, 0))
    drive.hear("old", report("following", loaded=True, epoch=2))
    drive.context.clock.advance(20 * SECOND)
    assert drive.pool.take() == [("retire", "old")]
    drive.driver.exited("old", "exit 0")
    assert drive.end == Finished(Phase.DONE, "", "new", True, 11, 250, 60, 0, "newest")
    assert drive.context.clock.waiting == 0
    assert drive.driver.ended
    changes = [event for event in drive.context.events if isinstance(event, PhaseChanged)]
    assert [(event.before, event.phase, event.took) for event in changes] == [
        ("preparing", "rehearsing", 2 * SECOND),
        ("rehearsing", "waiting", 0),
        ("waiting", "transferring", SECOND // 2),
        ("transferring", "probation", 0),
        ("probation", "retiring", 20 * SECOND),
        ("retiring", "done", 0),
    ]
    steps = drive.steps()
    assert steps[:6] == [
        ("spawned", 0), ("imported", 10), ("ready", 20), ("rehearsed", 40), ("probation", 0), ("handed", 0),
    ]  # fmt: skip
    assert [step for step, _ in steps[6:]] == ["first-tick"] + ["probation"] * 19


def test_a_worker_that_cannot_start_ends_the_handoff_at_once(drive: Drive) -> None:
    drive.pool.missing.add("new")
    drive.driver.begin()
    assert (drive.end.phase, drive.end.reason) == (Phase.ABORTED, "there is no interpreter 'python9.9'")
    assert drive.context.clock.waiting == 0


def test_a_report_before_ready_does_not_count_as_ready(drive: Drive) -> None:
    drive.driver.begin()
    drive.hear("new", report("joining"))
    assert drive.driver.phase is Phase.PREPARING
    drive.hear("new", Ready(1, 1))
    assert drive.driver.phase is Phase.REHEARSING


def test_messages_of_other_workers_are_ignored(drive: Drive) -> None:
    drive.driver.begin()
    drive.pool.start("third")
    drive.hear("third", Ready(1, 1), report("following", epoch=9), Failed("tick", "it broke", ""))
    drive.driver.exited("third", "exit 1")
    assert drive.driver.phase is Phase.PREPARING


def test_a_failure_is_reported_with_its_reason(drive: Drive) -> None:
    drive.driver.begin()
    drive.hear("new", Failed("import", "no module named numpyy", "Traceback…"))
    assert drive.end.reason == "no module named numpyy"
    assert drive.pool.take()[-1] == ("dismiss", "new", "no module named numpyy")


def test_the_next_report_replaces_a_lost_ready(drive: Drive) -> None:
    drive.driver.begin()
    drive.hear("new", msgspec.structs.replace(report("joining"), imported=10, prepared=20))
    assert drive.pool.take() == [("start", "new"), ("follow", "new")]
    steps = [(event.step, event.took) for event in drive.context.events if isinstance(event, StepDone)]
    assert steps[1:] == [("imported", 10), ("ready", 20)]
    # The message itself may come all the same, and once is enough.
    drive.hear("new", Ready(10, 20))
    assert drive.pool.take() == []


def test_a_worker_that_is_not_ready_in_time_is_aborted(drive: Drive) -> None:
    drive.driver.begin()
    drive.context.clock.advance(60 * SECOND)
    assert drive.end.reason == "the new worker was not ready in time"


def test_no_boundary_in_time_names_the_last_obstacle(drive: Drive) -> None:
    drive.to_waiting()
    drive.hear(
        "old",
        Holding(7000, "window 5m"),
        Holding(6000, "an older order's reason"),
        Holding(7000, "decision enter"),
    )
    assert drive.driver.progress.holding == "decision enter"
    drive.context.clock.advance(60 * SECOND)
    assert drive.driver.phase is Phase.CANCELLING
    drive.hear("old", Cancelled(7000))
    assert drive.end.reason == "no boundary in time: held by decision enter"
    assert drive.end.leader == "old"
    assert drive.notified == []


def test_a_suspicion_counts_unless_a_decision_is_open(drive: Drive) -> None:
    drive.to_probation()
    drive.hear("new", DecisionOpened("2-11-0", "enter", 1))
    drive.hear("old", Suspect("new", "silent for 2s"))
    assert drive.pool.take() == []
    drive.hear("new", report("leading", epoch=2))
    member = drive.context.registry.get("new")
    assert member is not None
    member.decisions.clear()
    drive.hear("old", Suspect("new", "silent for 2s"))
    assert drive.pool.take() == [("kill", "new", "silent for 2s")]
    drive.driver.exited("new", "silent for 2s")
    drive.hear("old", report("leading", epoch=3))
    assert drive.notified == ["committed", "reverted"]
    assert (drive.end.phase, drive.end.reason, drive.end.leader) == (
        Phase.ROLLED_BACK,
        "silent for 2s",
        "old",
    )


def test_a_probation_does_not_succeed_with_a_silent_leader(drive: Drive) -> None:
    drive.to_probation()
    drive.hear("new", hello(interval=SECOND // 10))

    def ticks() -> None:
        seq = drive.context.clock.now * 10 // SECOND
        drive.hear("new", msgspec.structs.replace(report("leading", epoch=2), seq=seq, ticks=seq))

    ticks()
    drive.context.clock.advance(19 * SECOND)
    ticks()
    # It hangs in the last second, which is less than `hang_after`.
    drive.context.clock.advance(3 * SECOND // 2)
    assert drive.driver.phase is Phase.PROBATION
    ticks()
    drive.context.clock.advance(SECOND // 2)
    assert drive.driver.phase is Phase.RETIRING


class Late:
    """A leader that catches up and is ever later: each tick takes longer than its interval of 100 ms."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._ticks = 0
        drive.to_probation()
        drive.hear("new", hello(interval=SECOND // 10))

    def tick(self, *, late: int) -> None:
        self._ticks += 1
        self.report(late=late)

    def report(self, *, late: int) -> None:
        due = max(1, self._drive.context.clock.now - late)
        seen = msgspec.structs.replace(
            report("leading", epoch=2), seq=self._ticks, ticks=self._ticks, due=due
        )
        self._drive.hear("new", seen)


def test_the_probation_of_a_bot_that_catches_up_and_is_always_late_ends_in_time(drive: Drive) -> None:
    bot = Late(drive)
    for second in range(40):
        bot.tick(late=second * SECOND // 3)
        drive.context.clock.advance(SECOND // 2)
    bot.tick(late=14 * SECOND)
    drive.context.clock.advance(SECOND // 10)
    assert drive.driver.phase is Phase.RETIRING


def test_the_probation_of_a_late_bot_that_no_longer_ticks_does_not_end(drive: Drive) -> None:
    bot = Late(drive)
    drive.context.clock.advance(19 * SECOND)
    bot.tick(late=10 * SECOND)
    for _ in range(10):
        drive.context.clock.advance(SECOND // 5)
        bot.report(late=11 * SECOND)
    assert drive.driver.phase is Phase.PROBATION


def test_a_suspicion_of_a_leader_that_is_late_but_ticks_is_dropped_and_counts_once_it_stops(
    drive: Drive,
) -> None:
    bot = Late(drive)
    drive.context.clock.advance(5 * SECOND)
    bot.tick(late=10 * SECOND)
    drive.context.clock.advance(SECOND)
    drive.hear("old", Suspect("new", "silent for 11s"))
    assert drive.pool.take() == []
    drive.context.clock.advance(2 * SECOND)
    bot.report(late=13 * SECOND)
    drive.hear("old", Suspect("new", "silent for 13s"))
    assert drive.pool.take() == [("kill", "new", "silent for 13s")]


def test_a_suspicion_of_a_leader_that_has_ticked_since_is_dropped(drive: Drive) -> None:
    drive.to_probation()
    drive.hear("new", hello(interval=SECOND // 10))
    tick = drive.context.clock.now * 10 // SECOND
    drive.hear("new", msgspec.structs.replace(report("leading", epoch=2), seq=tick))
    drive.hear("old", Suspect("new", "silent for 2s"))
    assert drive.pool.take() == []
    # By its own word it has not ticked for longer than `hang_after` now.
    drive.context.clock.advance(3 * SECOND)
    drive.hear("old", Suspect("new", "silent for 5s"))
    assert drive.pool.take() == [("kill", "new", "silent for 5s")]


def test_an_abort_in_the_probation_rolls_back(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.abort("cancelled by anna")
    assert drive.pool.take() == [("yield", "new")]
    drive.hear("new", report("yielding", epoch=2))
    drive.hear("old", report("leading", epoch=3))
    assert (drive.end.phase, drive.end.reason) == (Phase.ROLLED_BACK, "cancelled by anna")
    assert drive.notified == ["committed", "reverted"]


def test_a_rollback_without_a_boundary_begins_the_probation_again(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.revert("rolled back by anna")
    drive.context.clock.advance(60 * SECOND)
    assert drive.driver.phase is Phase.PROBATION
    assert drive.pool.take()[-1] == ("cancel", "new")
    assert any("begins again" in event.text for event in drive.context.events if isinstance(event, StepDone))


def test_a_probation_can_be_concluded_early(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.conclude()
    assert drive.pool.take() == [("retire", "old")]
    drive.driver.exited("old", "exit 0")
    assert drive.end.phase is Phase.DONE


def test_the_end_of_the_leader_is_distinguished_from_the_end_of_the_new_worker(drive: Drive) -> None:
    drive.driver.begin()
    drive.driver.exited("old", "killed by SIGKILL")
    assert (drive.end.reason, drive.end.leader) == ("worker old ended: killed by SIGKILL", "")


def test_a_probation_lasts_until_the_first_tick_at_least(drive: Drive) -> None:
    drive.to_waiting()
    drive.hear("old", report("yielding"))
    drive.hear("new", report("leading", loaded=True, epoch=2))
    drive.context.clock.advance(3600 * SECOND)
    assert drive.driver.phase is Phase.PROBATION
    drive.hear("new", Handed(2, 7000, "handoff", 11, 60, 250, 0))
    assert drive.driver.phase is Phase.RETIRING


def test_an_old_worker_that_does_not_retire_is_killed(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.conclude()
    drive.context.clock.advance(10 * SECOND)
    assert ("kill", "old", "it did not retire in time") in drive.pool.take()


def test_a_dry_run_ends_before_the_order_to_yield() -> None:
    drive = Drive(rehearse_only=True)
    drive.to_waiting()
    assert (drive.end.phase, drive.end.leader, drive.end.rollback) == (Phase.DONE, "old", "newest")
    assert "yield" not in {did[0] for did in drive.pool.take()}
    assert drive.context.clock.waiting == 0


def test_a_standby_that_leads_ends_the_deployment(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.stands_by("third")
    drive.pool.start("third")
    drive.driver.exited("new", "exit 1")
    drive.hear("third", report("leading", epoch=9))
    assert (drive.end.phase, drive.end.leader) == (Phase.ROLLED_BACK, "third")
    assert drive.notified == ["committed", "reverted"]


def test_no_worker_leads_when_both_are_dead(drive: Drive) -> None:
    drive.to_probation()
    drive.driver.exited("new", "exit 1")
    drive.driver.exited("old", "exit 1")
    assert (drive.end.leader, drive.end.reason) == ("", "exit 1")
    # The old code continues from the journal, which it can read.
    assert drive.notified == ["committed", "reverted"]


def test_a_change_is_recorded_before_its_effect(drive: Drive) -> None:
    drive.to_waiting()
    assert [kept.handoff.phase for kept in drive.kept][-2:] == [Phase.REHEARSING, Phase.WAITING]
    drive.pool.take()
    drive.driver.abort("cancelled")
    assert (drive.kept[-1].handoff.phase, drive.kept_after[-1]) == (Phase.CANCELLING, 0)
    assert drive.pool.take() == [("cancel", "old")]


def test_a_new_driver_continues_an_interrupted_handoff(drive: Drive) -> None:
    drive.to_waiting()
    kept = drive.kept[-1]
    drive.driver.close()
    # No driver runs while the new worker takes over.
    registry = drive.context.registry
    old, new = registry.get("old"), registry.get("new")
    assert old is not None
    assert new is not None
    old.take(report("following", epoch=2), 0)
    new.take(report("leading", loaded=True, epoch=2), 0)
    new.take(Handed(2, 7000, "handoff", 11, 60, 250, 0), 0)
    drive.context.clock.advance(5 * SECOND)
    other = HandoffDriver(
        kept.handoff,
        (RELEASE, msgspec.structs.replace(CONFIG, handoff=HandoffSettings(probation=SECOND))),
        drive.pool,
        drive.context.state,
        (Listener(drive),),
    )
    other.take_up(kept, None, "", cleared=True)
    assert other.phase is Phase.PROBATION
    assert drive.notified == ["committed"]
    moved = [event for event in drive.context.events if isinstance(event, PhaseChanged)][-1]
    assert (moved.before, moved.phase, moved.took) == ("waiting", "probation", 5 * SECOND)
    assert drive.kept[-1].took_over
    drive.hear("new", msgspec.structs.replace(report("leading", loaded=True, epoch=2), ticks=3))
    drive.context.clock.advance(SECOND)
    other.exited("old", "exit 0")
    assert (drive.end.phase, drive.end.seq, drive.end.blackout) == (Phase.DONE, 11, 250)
