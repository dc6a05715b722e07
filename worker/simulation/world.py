"""A world without I/O for one bot: a manual clock, a lease, a journal and connections, all plain objects.

The engine uses it like the real one, so a test here checks the shipped code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from ...protocol.journal import FORMAT, Entry, Position, RecordKind
from ...protocol.lease import Holder
from ...protocol.link import WorkerMessage
from ...protocol.stream import FollowerMessage, LeaderMessage, leader_codec
from ..engine.engine import Engine
from ..io.descriptors import NoDescriptors
from ..io.listening_sockets import LoopbackSockets
from ..journal.interfaces import Journal, SegmentEnd
from ..journal.retention import Stored
from .feeds import SimulatedFeed

__all__ = ["SimulatedClock", "SimulatedRuntime", "SimulatedWorld"]


class SimulatedClock:
    """Both clocks, ns; they move only by calls."""

    def __init__(self, wall: int) -> None:
        self._wall = wall
        self._mono = 1_000_000_000
        self._suspended = 0

    def wall(self) -> int:
        return self._wall

    def mono(self) -> int:
        return self._mono

    def go_on(self, ns: int) -> None:
        """Let time pass."""
        self._wall += ns
        self._mono += ns

    def step(self, ns: int) -> None:
        """Set the wall clock, forward or back, while no time passes."""
        self._wall += ns

    def suspended(self) -> int:
        return self._suspended

    def suspend(self, ns: int) -> None:
        """Let time pass while the machine is suspended."""
        self._wall += ns
        self._suspended += ns

    def follow(self, wall: int, mono: int) -> None: ...
    def accept(self) -> None: ...


class SimulatedWorld:
    """What the processes of one bot share."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.records: list[tuple[RecordKind, bytes]] = []
        self.runtimes: dict[str, SimulatedRuntime] = {}
        self.epoch = 0
        self.holder = ""
        self.in_transit: deque[Callable[[], None]] = deque()
        """Messages on their way, in order."""
        self.feeds: dict[str, SimulatedFeed] = {}
        self.reported: deque[tuple[str, WorkerMessage]] = deque()
        """Messages of workers to the supervisor."""

    def deliver(self) -> bool:
        """Deliver all messages on their way; return whether there were any."""
        found = bool(self.in_transit)
        while self.in_transit:
            self.in_transit.popleft()()
        for feed in self.feeds.values():
            for runtime in self.runtimes.values():
                queues = runtime.engine.feeds if runtime.alive and runtime.engine is not None else None
                if queues is not None and feed.deliver(queues):
                    found = True
        return found

    def end(self, worker: str) -> None:
        """End a process: its lease is freed, and the processes that watch it are notified."""
        self.runtimes[worker].alive = False
        self.runtimes[worker].sockets.close()
        if self.holder == worker:
            self.holder = ""
        for runtime in self.runtimes.values():
            if runtime.alive and worker in runtime.watched:
                runtime.watched.discard(worker)
                self.in_transit.append(
                    lambda runtime=runtime: runtime.receive(lambda engine: engine.died(worker))
                )


class SimulatedLease:
    """One process's view of the lease."""

    def __init__(self, world: SimulatedWorld, worker: str) -> None:
        self._world = world
        self._worker = worker

    @property
    def held(self) -> bool:
        return self._world.holder == self._worker

    def take(self, holder: str, at_least: int | None = None) -> int | None:
        world = self._world
        if world.holder:
            return None
        world.holder = holder
        world.epoch = max(world.epoch, at_least or 0) + 1
        return world.epoch

    def prepare(self, holder: str, epoch: int) -> None: ...

    def drop(self) -> None:
        if self.held:
            self._world.holder = ""

    def holder(self) -> Holder | None:
        world = self._world
        return Holder(world.epoch, 0, 0, world.holder) if world.holder else None


class SimulatedJournal:
    """One process's view of the journal: one segment, a list. A position's offset counts its records."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self._records = runtime.world.records

    @property
    def position(self) -> Position:
        return Position(1, len(self._records))

    def stored(self) -> list[Stored]:
        return [Stored(1, len(self._records), 0)] if self._records else []

    def read(
        self, number: int, offset: int = 0, *, past_damage: bool = False
    ) -> Iterator[Entry | SegmentEnd]:
        for at in range(offset, len(self._records)):
            kind, payload = self._records[at]
            yield Entry(kind, payload, at + 1)
        yield SegmentEnd(len(self._records))

    def format_of(self, number: int) -> int:
        return FORMAT

    def attach(self, position: Position) -> bool:
        return position == self.position

    def settle(self, position: Position) -> None: ...

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        if self._runtime.alive:
            self._records.append((kind, payload))
        return self.position

    def in_place(self) -> bool:
        return True

    def begin(self) -> SimulatedSegment:
        return SimulatedSegment(self)

    def remove(self, numbers: list[int]) -> None: ...

    def close(self) -> None: ...


class SimulatedSegment:
    """The snapshot at the beginning of the segment."""

    def __init__(self, journal: SimulatedJournal) -> None:
        self._journal = journal

    def append(self, kind: RecordKind, payload: bytes) -> None:
        self._journal.append(kind, payload)

    def publish(self) -> bool:
        return True

    def settle(self) -> None: ...
    def discard(self) -> None: ...


class SimulatedFinalFrameSocket:
    """One process's final-frame socket: its frame overtakes all other messages."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self._successor = ""
        self.expected = False

    def expect(self) -> None:
        self.expected = True

    def relax(self) -> None:
        self.expected = False

    def reach(self, worker: str, pid: int) -> None:
        self._successor = worker

    def hand(self, data: bytes) -> bool:
        successor = self._runtime.world.runtimes.get(self._successor)
        if (
            not self._runtime.alive
            or successor is None
            or not successor.alive
            or not successor.final_frames.expected
        ):
            return False
        self._runtime.world.in_transit.appendleft(self._runtime.to(successor, data))
        return True


class SimulatedRuntime:
    """A process's runtime; see `WorkerIO` for the methods. That of a dead process does nothing."""

    def __init__(self, world: SimulatedWorld, worker: str) -> None:
        self.world = world
        self.worker = worker
        self.alive = True
        self.watched: set[str] = set()
        self.clock = world.clock
        self.lease = SimulatedLease(world, worker)
        self.journal: Journal = SimulatedJournal(self)
        self.final_frames = SimulatedFinalFrameSocket(self)
        self.descriptors = NoDescriptors()
        self.sockets = LoopbackSockets()
        self.engine: Engine | None = None
        self._leader = ""
        world.runtimes[worker] = self

    def receive(self, deliver: Callable[[Engine], None]) -> None:
        """Deliver a message to this process's engine."""
        if self.alive and self.engine is not None:
            deliver(self.engine)

    def tell(self, message: WorkerMessage) -> None:
        if self.alive:
            self.world.reported.append((self.worker, message))

    def connect(self, leader: str) -> None:
        self._leader = leader

    def to_leader(self, message: FollowerMessage) -> None:
        leader = self.world.runtimes.get(self._leader)
        if self.alive and leader is not None:
            self._send(leader, lambda engine: engine.from_follower(self.worker, message))

    def to_follower(self, worker: str, data: bytes) -> bool:
        follower = self.world.runtimes.get(worker)
        if not self.alive or follower is None or not follower.alive:
            return False
        self.world.in_transit.append(self.to(follower, data))
        return True

    def watch(self, worker: str, pid: int) -> None:
        self.watched.add(worker)

    def wake(self) -> None: ...

    def expect_exit(self, status: int) -> None: ...

    def exit_if(self, acting: Callable[[], object]) -> None: ...

    def collect_garbage(self) -> None: ...

    def to(self, follower: SimulatedRuntime, data: bytes) -> Callable[[], None]:
        """Return what delivers a leader's message to `follower`."""
        message: LeaderMessage = leader_codec.decode(data)

        def deliver(engine: Engine) -> None:
            # It may follow another leader by then, so that this connection is closed.
            if follower._leader == self.worker:
                engine.from_leader(message)

        return lambda: follower.receive(deliver)

    def _send(self, to: SimulatedRuntime, deliver: Callable[[Engine], None]) -> None:
        self.world.in_transit.append(lambda: to.receive(deliver))
