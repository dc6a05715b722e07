"""What the engine needs of its surroundings, as one object.

The real one is made of sockets, a file and a kernel lock; the one in `neverblink.worker.testing` is made of lists. The
engine cannot tell which it has.
"""

from __future__ import annotations

from typing import Protocol

from ...protocol.lease import Holder
from ...protocol.link import WorkerMessage
from ...protocol.stream import FollowerMessage
from ..io.clock import Clock
from ..io.descriptors import DescriptorsLike
from ..io.final_frame_socket import FinalFrameSocketLike
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
    """Clock, lease, journal, final-frame socket, descriptors, and the connections to the other processes."""

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

    def tell(self, message: WorkerMessage) -> None:
        """Send to the supervisor. Never blocks; may be lost."""
        ...

    def connect(self, leader: str) -> None:
        """From now on, `to_leader` goes to this worker."""
        ...

    def to_leader(self, message: FollowerMessage) -> None:
        """Send to the leader. Never blocks; may be lost."""
        ...

    def to_follower(self, worker: str, data: bytes) -> bool:
        """Send an encoded `LeaderMessage`. Never blocks; False when the follower is gone or its queue is full."""
        ...

    def watch(self, worker: str, pid: int) -> None:
        """Call the engine's `died(worker)` when that process ends, at once if it has."""
        ...

    def wake(self) -> None:
        """Have the driver look at the engine soon; callable from any thread and from a signal handler."""
        ...

    def expect_exit(self, status: int) -> None:
        """This worker has left. Its process exits by itself, with `status`; or is made to, after `EXIT_GRACE`."""
        ...

    def collect_garbage(self) -> None:
        """The state was loaded: a good moment to collect garbage."""
        ...
