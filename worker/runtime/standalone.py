"""The runtime without a supervisor, for `python bot.py`. It has no successor, and writes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...protocol.lease import Holder
from ...protocol.link import Lead, Ready, Report, WorkerMessage
from ...protocol.stream import FollowerMessage
from ..feeds.own_feeds import OwnFeeds
from ..io.clock import Clock, SystemClock
from ..io.descriptors import NoDescriptors
from ..io.final_frame_socket import NoFinalFrameSocket
from ..io.own_configuration import own_section
from ..io.precise_loop import Reactor, Waker, no_alarm
from ..journal.interfaces import Journal, NoJournal
from ..replication.interfaces import LeaseLike
from .interfaces import Listener
from .own_sockets import own_sockets

__all__ = ["OwnLease", "StandaloneRuntime"]


class OwnLease:
    """The lease of a standalone bot: free, or its own."""

    def __init__(self) -> None:
        self.held = False
        self._epoch = 0

    def take(self, holder: str, at_least: int | None = None) -> int | None:
        self.held = True
        self._epoch = max(self._epoch, at_least or 0) + 1
        return self._epoch

    def prepare(self, holder: str, epoch: int) -> None: ...

    def drop(self) -> None:
        self.held = False

    def holder(self) -> Holder | None:
        return None


class StandaloneRuntime:
    """A standalone bot's runtime; see `Runtime` for the methods. Raises what `own_sockets` raises."""

    def __init__(self) -> None:
        self.clock: Clock = SystemClock()
        self.lease: LeaseLike = OwnLease()
        self.journal: Journal = NoJournal()
        self.final_frames = NoFinalFrameSocket()
        self.descriptors = NoDescriptors()
        self.sockets = own_sockets(Path.cwd())
        self.sockets.arrange(os.environ)
        self.feeds = OwnFeeds(own_section(Path.cwd(), "feeds"))
        self._reactor: Reactor | None = None
        self._on_input: Callable[[], None] = _nothing
        self._waker = Waker()
        self._listener: Listener | None = None
        self.wake = self._waker.wake
        self.ring_at: Callable[[int, int], None] = no_alarm

    def open(
        self,
        reactor: Reactor,
        listener: Listener,
        on_input: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._reactor, self._on_input = reactor, on_input
        self.ring_at = self._waker.open(reactor, on_input, on_input, before_alarm)

    def look(self) -> bool:
        if self.feeds.waiting:
            self.feeds.look()
        return False

    def close(self) -> None:
        self.feeds.close()
        self._waker.close()
        self.sockets.close()

    def tell(self, message: WorkerMessage) -> None:
        # A supervisor would send only this order.
        if isinstance(message, Ready) and self._listener is not None:
            self._listener.ordered(Lead())
        if isinstance(message, Report) and self._reactor is not None and self._listener is not None:
            queues = self._listener.feeds
            if queues is not None:
                self.feeds.attend(self._reactor, queues, self._on_input)

    def connect(self, leader: str) -> None: ...
    def to_leader(self, message: FollowerMessage) -> None: ...
    def watch(self, worker: str, pid: int) -> None: ...
    def expect_exit(self, status: int) -> None: ...
    def exit_if(self, acting: Callable[[], object]) -> None: ...
    def collect_garbage(self) -> None: ...

    def to_follower(self, worker: str, data: bytes) -> bool:
        return False


def _nothing() -> None:
    """The callback before one is set."""
