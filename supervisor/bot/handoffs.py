"""The handoffs of one bot: begins and resumes them, and keeps the bot's state in step with them.

Two can be in progress: one in its probation, and a second that waits for the probation to end.
"""

from __future__ import annotations

import msgspec

from ...protocol.handoff.handoff import Handoff
from ..config.config import Config
from ..handoff.driver import HandoffDriver
from ..handoff.progress import Finished, HandoffListener, HandoffRecord
from ..release.releases import Release
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState
from .leadership import Leadership
from .standby import Standby

__all__ = ["Handoffs"]

_ORDERS = 1000
"""The range of order numbers of one deployment. Each attempt of a rollback takes two."""


class Handoffs:
    """Begins and resumes handoffs of the bot. Each one is in `state.drivers` until it has ended."""

    def __init__(self, state: BotState, pool: WorkerPool, standby: Standby, leadership: Leadership) -> None:
        self._state = state
        self._pool = pool
        self._standby = standby
        self._leadership = leadership

    def begin(
        self,
        deployment: int,
        release: Release,
        config: Config,
        listener: HandoffListener,
        *,
        force: bool,
        rehearse_only: bool,
        drop: tuple[str, ...] = (),
        again: bool = False,
    ) -> None:
        """Begin a handoff from the leader to a new worker on `release`; it waits for a handoff in its probation.

        `drop` names the fields whose values may be lost; `again` says that the release is a kept one.
        """
        state = self._state
        # A worker handles orders by increasing number, and queued deployments can begin out of sequence.
        given = [member.report.order for member in state.registry.alive() if member.report is not None]
        given += [driver.handoff.order for driver in state.drivers]
        order = max(deployment, max(given, default=0) // _ORDERS + 1) * _ORDERS
        handoff = Handoff(
            deployment,
            state.leader,
            self._pool.next_worker(),
            order,
            force,
            rehearse_only,
            granted=state.epoch,
        )
        handoff.after = state.drivers[-1].handoff.deployment if state.drivers else 0
        if rehearse_only:
            config = _without_accepting(config)
        driver = self._add_driver(handoff, release, config, listener)
        driver.progress.again = release.id if again else ""
        driver.begin(drop)

    def take_up(
        self, record: HandoffRecord, release: Release, config: Config, listener: HandoffListener
    ) -> None:
        """Resume a handoff that an earlier supervisor began."""
        handoff = record.handoff
        cleared = self._state.driver_of(handoff.after) is None
        driver = self._add_driver(handoff, release, config, listener)
        leader = self._state.registry.leader()
        beside = leader is not None and leader.worker not in (handoff.old, handoff.new)
        third = leader if beside else self._standby.guarding
        driver.take_up(record, third, self._leadership.led_before, cleared=cleared)

    def finished(self, handoff: Handoff, how: Finished) -> None:
        """A handoff has ended: the one that waits for it may continue, and the bot may have no leader."""
        state = self._state
        state.drivers = [driver for driver in state.drivers if driver.handoff is not handoff]
        old = state.registry.get(handoff.old)
        if how.back and not how.leader and old is not None:
            self._leadership.next_release = old.release
        for waiting in [driver for driver in state.drivers if driver.handoff.after == handoff.deployment]:
            waiting.cleared(state.leader, state.epoch)
        self._leadership.look()
        self._standby.look()
        state.changes.stir()

    def recorded(self) -> None:
        """The phase of a handoff may have changed, and with it who may guard the leader."""
        # Later: the handoff is in the middle of a step.
        self._state.platform.scheduler.call_later(0, self._standby.look)

    def _add_driver(
        self, handoff: Handoff, release: Release, config: Config, listener: HandoffListener
    ) -> HandoffDriver:
        state = self._state
        state.add_run(release, config)
        driver = HandoffDriver(
            handoff,
            (release, config),
            self._pool,
            state,
            # The deployment first: it records a change before the change takes effect.
            (listener, _StateListener(self, handoff)),
        )
        state.drivers.append(driver)
        self._standby.look()
        return driver


class _StateListener(HandoffListener):
    """Keeps the bot's state in step with one handoff."""

    def __init__(self, handoffs: Handoffs, handoff: Handoff) -> None:
        self._handoffs = handoffs
        self._handoff = handoff

    def recorded(self, record: HandoffRecord) -> None:
        self._handoffs.recorded()

    def finished(self, how: Finished) -> None:
        self._handoffs.finished(self._handoff, how)


def _without_accepting(config: Config) -> Config:
    """The configuration of a worker that only rehearses: no connection reaches it."""
    sockets = tuple(msgspec.structs.replace(each, accept="leader") for each in config.sockets)
    return msgspec.structs.replace(config, sockets=sockets)
