"""The session: the engine as the bot's own code sees it, for `Worker` and `join` loops."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from ...protocol.feed_named import FeedNamed
from ...protocol.seat_events import Role
from ..io.listening_sockets import WorkerSockets
from ..model.cells import StateError
from ..model.decision import Recorder
from ..model.feed_view import FeedViews
from ..model.inbox import Inbox
from ..model.task_declaration import declare
from ..replication.interfaces import WorkerIO
from .engine import Engine

__all__ = ["BotSession"]


class BotSession:
    """The operations of a worker that its bot may use."""

    def __init__(
        self, engine: Engine, io: WorkerIO, feeds: Iterable[FeedNamed] = (), *, any_feed: bool = False
    ) -> None:
        self.replica = engine.replica
        self._engine = engine
        self._io = io
        self.feeds = FeedViews(feeds, engine.inbox.feeds, io.clock.wall, any_name=any_feed)

    @property
    def state(self) -> Any:
        return self._engine.replica.state

    @property
    def inbox(self) -> Inbox:
        return self._engine.inbox

    @property
    def paused(self) -> bool:
        return self._engine.replica.paused

    @property
    def durable(self) -> bool:
        return self._engine.leading.writer.failing is None

    @property
    def leading(self) -> bool:
        return self._engine.role is Role.LEADING

    @property
    def led_before(self) -> bool:
        return self._engine.led_before

    def while_leading(
        self, target: Any, args: tuple[Any, ...], name: str, on_end: str, loop: str = ""
    ) -> None:
        self._engine.declare_task(declare(target, args, name, on_end), loop)

    @property
    def recorder(self) -> Recorder:
        return self._engine.leading.decisions

    @property
    def sockets(self) -> WorkerSockets:
        return self._io.sockets

    def set_timer(
        self, name: str, at: int | None, after: str | timedelta | None, every: str | timedelta | None
    ) -> None:
        self._check("set", name)
        self._engine.replica.timers.set(name, self._io.clock.wall(), at, after, every)

    def cancel_timer(self, name: str) -> bool:
        self._check("cancelled", name)
        return self._engine.replica.timers.cancel(name)

    def _check(self, what: str, name: str) -> None:
        if not self._engine.leading.turns.open:
            raise StateError(
                f"timer {name!r} was {what} outside a turn: timers are part of the state, so set and cancel them in "
                "on_tick, on_event, on_timer, on_command or on_lead"
            )
