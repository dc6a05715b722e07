"""The worker pool: the worker processes of one bot, from start to end.

Starts workers, sends messages to them, asks them to leave and kills those that don't. It does not decide who leads.

The end of a process is known from two sources: the worker's last message, over its socket, and the exit status, from
the kernel. The kernel is usually faster. So when a process ends, its messages that have arrived are read first, and
when it failed without having sent a reason, the pool waits a moment for it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from ...protocol.assignment import Assignment
from ...protocol.events import WorkerExited, WorkerStarted
from ...protocol.feed_named import FeedNamed
from ...protocol.link import (
    EXIT_GRACE,
    ExpectFollower,
    Follow,
    Hello,
    Retire,
    Stop,
    SupervisorMessage,
)
from ..config.config import Config
from ..release.releases import Release
from ..store.history_thread import HistoryThread
from ..store.identity import id_of
from ..store.state_dir import Home
from ..system.cpu_affinity import CpuAffinity
from ..system.presence import key_of
from ..system.process import describe_exit
from ..system.timers import REPEAT_AFTER, TimerSet
from .platform import BotContext, Child, Launch
from .records import WorkerRecords
from .registry import Ended, Member
from .spawn import why_it_ended

__all__ = ["WorkerLink", "WorkerPool"]

_LEAVE_WITHIN = 5_000_000_000
"""The time for `on_retire`. A dismissed worker that runs longer is killed."""
_LAST_MESSAGE_WITHIN = 100_000_000
_EXIT_WITHIN = EXIT_GRACE + 1_000_000_000
"""A worker exits within `EXIT_GRACE` of its last message. One that can't is killed after this time."""


class WorkerLink(Protocol):
    """Sends to the workers: see `WorkerSocket`."""

    def send(self, worker: str, message: SupervisorMessage) -> bool: ...
    def drain(self) -> None: ...
    def forget(self, worker: str) -> None: ...


class WorkerPool:
    """The workers of the bot in `home`. Calls `ended(member)` once for each whose process has ended."""

    def __init__(
        self,
        home: Home,
        context: BotContext,
        history_thread: HistoryThread,
        ended: Callable[[Member], None],
    ) -> None:
        self._home = home
        self._context = context
        self._registry = context.registry
        self._bus = context.bus
        self._platform = context.platform
        self.records = WorkerRecords(home, context.registry, history_thread)
        self._ended = ended
        self._link: WorkerLink = _NotConnected()
        self._children: dict[str, Child] = {}
        self._launches: dict[str, Launch] = {}
        self._affinities: dict[str, CpuAffinity] = {}
        self._killed: dict[str, str] = {}
        self._leave_timers: dict[str, TimerSet] = {}
        self._exit_timers: dict[str, TimerSet] = {}

    def connect(self, link: WorkerLink) -> None:
        """Send to the workers over this link from now on."""
        self._link = link

    def next_worker(self) -> str:
        """A new worker id, never used in this home."""
        return self.records.next_worker()

    def start(
        self,
        worker: str,
        release: Release,
        config: Config,
        leader: str = "",
        deployment: int = 0,
        drop: tuple[str, ...] = (),
        *,
        recovers: bool = False,
    ) -> Member:
        """Start `worker` on `release` for `deployment`, on other cores than `leader`. Raises `SpawnError`.

        `drop` and `recovers` say what it may lose of another release's state: see `protocol.assignment`.
        """
        log = self._home.logs / f"{worker}.log"
        launch = Launch(
            config.python,
            release.path,
            config.bot,
            log,
            msgspec.structs.replace(
                self._assignment(worker, release, config, deployment, log), drop=drop, recovers=recovers
            ),
            config.data or self._home.data,
            config.env_file,
            config.sockets,
            config.command,
        )
        member = Member(worker, release.id, log, self._platform.wall())
        child = self._platform.spawn(launch, lambda code: self._exited(member, code))
        member.pid, member.started = child.pid, child.started
        self._children[worker] = child
        self._launches[worker] = launch
        self._registry.add(member)
        led_by = self._registry.get(leader)
        if led_by is not None and led_by.alive:
            self._affinities[worker] = CpuAffinity(child.pid, led_by.pid)
        self.records.started(member)
        self._bus.tell(WorkerStarted(worker=worker, release=release.id, pid=child.pid))
        return member

    def adopt(self, member: Member) -> bool:
        """Watch a worker that an earlier supervisor started; return False when its process has ended."""
        try:
            child = self._platform.adopt(member.pid, member.started, lambda code: self._exited(member, code))
        except ProcessLookupError:
            return False
        self._children[member.worker] = child
        self._affinities[member.worker] = CpuAffinity.found(member.pid)
        self._registry.add(member)
        return True

    def forget(self, worker: str) -> None:
        """Stop watching a worker. It runs on."""
        child = self._children.pop(worker, None)
        if child is not None:
            child.let_go()

    def admit(self, hello: Hello) -> str:
        """Why the sender of `hello` is not a worker of the pool, "" when it is."""
        member = self._registry.get(hello.worker)
        if member is None:
            return f"there is no worker {hello.worker!r} here: workers are started by `neverblink up` and `deploy`"
        if (member.pid, member.started) != (hello.pid, hello.started):
            return (
                f"worker {hello.worker!r} is pid {member.pid}, not pid {hello.pid}: if `python` in neverblink.toml is "
                "a script, let it exec the interpreter"
            )
        return ""

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        """Send to a worker; False when it is not connected, and the message is lost."""
        member = self._registry.get(worker)
        if member is not None and isinstance(message, Retire | Stop):
            member.asked_to_end = True
        if isinstance(message, Follow):
            # First: a leader that is short of file descriptors accepts only announced connections.
            self._link.send(message.leader, ExpectFollower(worker))
        return self._link.send(worker, message)

    def drain(self) -> None:
        """Read the messages that have arrived from workers."""
        self._link.drain()

    def free(self, worker: str) -> None:
        """Let the worker use the leader's core too: its heavy work is done."""
        affinity = self._affinities.pop(worker, None)
        if affinity is not None:
            affinity.free()

    def dismiss(self, worker: str, why: str) -> None:
        """Ask the worker to retire until it has, and kill it when it takes too long. Ignores a dead worker."""
        member = self._registry.get(worker)
        if member is None or not member.alive or member.leaving:
            return
        member.leaving = why
        self.free(worker)
        timers = TimerSet(
            self._platform.scheduler,
            {"repeat": REPEAT_AFTER, "leave": _LEAVE_WITHIN},
            lambda name: self._still_here(member, name),
        )
        self._leave_timers[worker] = timers
        timers.arm("leave")
        self._still_here(member, "repeat")

    def remind(self, member: Member) -> None:
        """A worker has reported its role.

        A yielding worker reads no messages: ask it to leave as soon as it follows.
        """
        if member.leaving and self._registry.leader() is member:
            self._stay(member)
        elif member.leaving and member.role == "following":
            self.send(member.worker, Retire())

    def expect_exit(self, member: Member) -> None:
        """A worker has sent its last message: kill its process if it does not exit soon."""
        if member.worker in self._exit_timers or not member.alive:
            return
        reason = member.leaving or "it had left"
        timers = TimerSet(
            self._platform.scheduler,
            {"exit": _EXIT_WITHIN},
            lambda _: self.kill(member.worker, f"{reason}, and its process did not exit"),
        )
        self._exit_timers[member.worker] = timers
        timers.arm("exit")

    def kill(self, worker: str, reason: str) -> None:
        """Kill the worker's process now. `reason` is recorded unless the worker has sent one itself."""
        child = self._children.get(worker)
        if child is not None:
            member = self._registry.get(worker)
            if member is None or member.failed is None:
                self._killed.setdefault(worker, reason)
            child.signal(signal.SIGKILL)

    def let_go(self) -> None:
        """Stop watching all workers. They run on."""
        for timers in (*self._leave_timers.values(), *self._exit_timers.values()):
            timers.close()
        for child in self._children.values():
            child.let_go()
        self._children.clear()

    def logs(self) -> Iterable[Path]:
        """The logs of the living workers."""
        return (launch.log for launch in self._launches.values())

    def _assignment(
        self, worker: str, release: Release, config: Config, deployment: int, log: Path
    ) -> Assignment:
        return Assignment(
            bot=self._bus.bot,
            worker=worker,
            release=release.id,
            run=str(self._home.run),
            lease=str(self._home.lease),
            journal=str(self._home.journal),
            durability=config.durability,
            journal_segment=config.journal.segment,
            journal_keep=config.journal.keep,
            journal_keep_for=config.journal.keep_for,
            lease_within=config.handoff.lease_within,
            hang_after=config.handoff.hang_after,
            deployment=deployment,
            known=self._registry.known_frame(),
            last_readable=self._context.last_readable,
            log=config.log.format,
            log_file=str(log),
            log_size=config.log.size,
            log_keep=config.log.keep,
            home_key=key_of(self._home.path),
            home_id=id_of(self._home),
            feeds=tuple(FeedNamed(feed.name, feed.stale_after) for feed in config.feeds),
        )

    def _still_here(self, member: Member, timer: str) -> None:
        if self._registry.leader() is member:
            self._stay(member)
            return
        if timer == "leave":
            self.kill(member.worker, f"{member.leaving}; it did not leave in time")
            return
        self.send(member.worker, Retire())
        self._leave_timers[member.worker].arm("repeat")

    def _stay(self, member: Member) -> None:
        """Keep a dismissed worker that got the lease from the kernel all the same: it is the bot now."""
        member.leaving = ""
        self._leave_timers.pop(member.worker).close()

    def _exited(self, member: Member, code: int | None) -> None:
        self._children.pop(member.worker, None)
        self._platform.end_group(member.worker, member.pid, member.started)
        self._link.drain()
        if (code is None or code > 0 or _unasked(member, code)) and member.failed is None:
            timers = TimerSet(
                self._platform.scheduler,
                {"last-message": _LAST_MESSAGE_WITHIN},
                lambda _: self._note_end(member, code),
            )
            timers.arm("last-message")
            return
        self._note_end(member, code)

    def _note_end(self, member: Member, code: int | None) -> None:
        worker = member.worker
        self._link.drain()
        for pending in (self._leave_timers, self._exit_timers):
            timers = pending.pop(worker, None)
            if timers is not None:
                timers.close()
        self._link.forget(worker)
        self._affinities.pop(worker, None)
        reason = self._reason(member, code)
        member.ended = Ended(code, reason, self._platform.wall())
        self._bus.tell(
            WorkerExited(
                at=member.ended.at,
                worker=worker,
                release=member.release,
                pid=member.pid,
                code=code,
                reason=reason,
            )
        )
        self._ended(member)
        member.decisions.clear()

    def _reason(self, member: Member, code: int | None) -> str:
        killed = self._killed.pop(member.worker, "")
        launch = self._launches.pop(member.worker, None)
        if killed:
            return killed
        if member.failed is not None:
            return member.failed.reason
        if code is None or launch is None:
            return "it ended, and how is not known: an earlier supervisor started it"
        if _unasked(member, code):
            return why_it_ended(launch, "it ended by itself with exit 0 and gave no reason")
        status = describe_exit(code)
        return status if code == 0 else why_it_ended(launch, status)


class _NotConnected:
    """The link before `connect`: no worker can be reached."""

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        return False

    def drain(self) -> None:
        pass

    def forget(self, worker: str) -> None:
        pass


def _unasked(member: Member, code: int | None) -> bool:
    """Whether it exited with 0 without being asked to: the bot's code may have called `os._exit`."""
    return code == 0 and not member.asked_to_end
