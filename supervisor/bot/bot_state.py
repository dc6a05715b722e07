"""The state of one bot as the supervisor knows it: the leader, what is in progress, and how each release is run.

One object that every part of the bot gets. `LiveBot` and its parts write it; deployments and the status only read it.
"""

from __future__ import annotations

import msgspec

from ...protocol.events import LeaderChanged
from ...protocol.handoff.handoff_events import Phase
from ..config.config import Config
from ..config.hang_limits import HangLimits
from ..handoff.driver import HandoffDriver
from ..release.releases import Release
from ..system.crash_backoff import AT_MOST
from ..system.event_bus import EventBus
from ..system.timers import Conditions
from ..workers.platform import BotContext, Platform
from ..workers.registry import Member

__all__ = ["BotState", "NextStart"]

_STABLE = (Phase.PROBATION, Phase.RETIRING)
"""The phases of a handoff in which the new worker leads and stays the leader if nothing goes wrong."""


class NextStart(msgspec.Struct, frozen=True):
    """The next attempt to start the bot: of which release, at what wall time (ns; 0: now), after how many failures."""

    release: str
    at: int
    failures: int


class BotState(BotContext):
    """What the parts of a bot read. A part that changes it calls `changes.stir()`."""

    def __init__(self, bus: EventBus, platform: Platform) -> None:
        super().__init__(bus, platform)
        self.leader = ""
        """The worker that leads, "" for none."""
        self.epoch = 0
        """The highest epoch that a leader has reported."""
        self.starting = True
        """The bot has not been started or adopted yet."""
        self.arrived = False
        """The state of an earlier supervisor is loaded, and the bot is started or adopted: deployments can begin."""
        self.stopping = ""
        """Why the bot is being stopped, "" when it is not."""
        self.stopped = False
        """The bot was stopped, and no worker is left."""
        self.down = ""
        """Why no worker leads, "" when one leads or is about to."""
        self.recovering = ""
        """Why the bot is being started again from its journal, "" when it is not."""
        self.next_start: NextStart | None = None
        """The next attempt to start the bot, None when none is planned."""
        self.drivers: list[HandoffDriver] = []
        """Of the handoffs in progress, oldest first."""
        self.runs: dict[str, tuple[Release, Config]] = {}
        """Each known release with the configuration to run it."""
        self.feed_processes: dict[str, int] = {}
        """The releases that feeds run on, each with the pid of a feed."""
        self.changes = Conditions(platform.scheduler)
        """Lets coroutines wait for a change of this state."""

    @property
    def leading(self) -> Member | None:
        """The worker that leads, None when none is known to."""
        return self.registry.get(self.leader)

    @property
    def leading_pid(self) -> int:
        """The pid of the leader, 0 when no worker leads."""
        leader = self.leading
        return leader.pid if leader is not None and leader.alive else 0

    @property
    def calm(self) -> bool:
        """Whether nothing in progress is about to change the leader."""
        beginning = self.starting or self.recovering
        return not beginning and all(driver.phase in _STABLE for driver in self.drivers)

    def driver_of(self, deployment: int) -> HandoffDriver | None:
        """The driver of a deployment in progress, None before its handoff begins and after it has ended."""
        return next((driver for driver in self.drivers if driver.handoff.deployment == deployment), None)

    def deployment_of(self, worker: str) -> int:
        """The deployment in progress whose new code the worker runs, 0 for none."""
        return next((driver.handoff.deployment for driver in self.drivers if driver.handoff.new == worker), 0)

    def config_of(self, release: str) -> Config | None:
        """The configuration of a release, None when it is not known."""
        run = self.runs.get(release)
        return run[1] if run is not None else None

    def hang_limits(self, release: str) -> HangLimits:
        """When a leader on this release counts as slow, and when it is killed."""
        config = self.config_of(release)
        return config.watchdog if config is not None else HangLimits()

    def longest_pause(self, release: str) -> int:
        """The longest pause between two starts of this release, ns."""
        config = self.config_of(release)
        return config.restart.pause_at_most if config is not None else AT_MOST

    def add_run(self, release: Release, config: Config) -> None:
        """Record the configuration to run a release with."""
        self.runs[release.id] = release, config

    def publish_leader(self, worker: str, release: str, cause: str, seq: int) -> None:
        """Publish that this worker leads now, "" for none; `seq` is its first tick."""
        self.bus.tell(LeaderChanged(worker=worker, release=release, epoch=self.epoch, cause=cause, seq=seq))
