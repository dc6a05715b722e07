"""The engine's access to the outside: clock, lease, journal, sockets.

The real implementation has sockets, files and a kernel lock; that of `neverblink.worker.testing` has lists. The engine
works the same with both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...protocol.lease import Holder
from ...protocol.link import WorkerMessage
from ...protocol.stream import FollowerMessage
from ..io.clock import Clock
from ..io.descriptors import DescriptorsLike
from ..io.final_frame_socket import FinalFrameSocketLike
from ..io.listening_sockets import WorkerSockets
from ..journal.interfaces import Journal

__all__ = ["LeaseLike", "WorkerIO"]


class LeaseLike(Protocol):
    """See `io.lease.Lease`."""

    @property
    def held(self) -> bool: ...
    def take(self, holder: str, at_least: int | None = None) -> int | None: ...
    def prepare(self, holder: str, epoch: int) -> None: ...
    def drop(self) -> None: ...
    def holder(self) -> Holder | None: ...


class WorkerIO(Protocol):
    """Clock, lease, journal, final-frame socket, descriptors, the bot's listening sockets, and the connections to the
    other processes."""

    @property
    def clock(self) -> Clock: ...
    @property
    def lease(self) -> LeaseLike: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def final_frames(self) -> FinalFrameSocketLike: ...
    @property
    def descriptors(self) -> DescriptorsLike: ...
    @property
    def sockets(self) -> WorkerSockets: ...

    def tell(self, message: WorkerMessage) -> None:
        """Send to the supervisor. Never blocks; the message may be lost."""
        ...

    def connect(self, leader: str) -> None:
        """Make `to_leader` send to this worker."""
        ...

    def to_leader(self, message: FollowerMessage) -> None:
        """Send to the leader. Never blocks; the message may be lost."""
        ...

    def to_follower(self, worker: str, data: bytes) -> bool:
        """Send an encoded `LeaderMessage`. Never blocks; False when the follower is gone or its queue is full."""
        ...

    def watch(self, worker: str, pid: int) -> None:
        """Call the engine's `died(worker)` when that process ends, at once if it has ended."""
        ...

    def wake(self) -> None:
        """Make the driver call the engine soon. Callable from any thread and from a signal handler."""
        ...

    def expect_exit(self, status: int) -> None:
        """This worker has left. Make sure that its process exits with `status`, by force after `EXIT_GRACE`."""
        ...

    def exit_if(self, acting: Callable[[], object]) -> None:
        """End this process soon, by force, if `acting()` still holds then. After `expect_exit`."""
        ...

    def collect_garbage(self) -> None:
        """Collect garbage, after the state was loaded."""
        ...
