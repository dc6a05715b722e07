"""The runtime of a supervised worker: sockets, the lease, the journal, and a clock that wakes it.

Three sockets: a DEALER to the supervisor, a ROUTER that this worker's followers connect to, and a DEALER to the leader
it follows. Each accepts only peers with the right keys (see `protocol.keys`). ZeroMQ reconnects by itself after a
peer's absence. No send ever waits: a message that does not fit into a queue is lost, and any message on these sockets
may be lost.
"""

from __future__ import annotations

import gc
import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX
from socket import socket as UnixSocket

import zmq

from ...protocol.assignment import Assignment
from ...protocol.endpoint import endpoint
from ...protocol.errors import NeverblinkError
from ...protocol.feed_wire import feed_key
from ...protocol.link import (
    EXIT_GRACE,
    LINK_LIMIT,
    Identify,
    Rejected,
    Report,
    WorkerMessage,
    supervisor_codec,
    worker_codec,
)
from ...protocol.listening import LISTEN_SOCKET
from ...protocol.stream import FollowerMessage, follower_codec, leader_codec
from ...protocol.wire import MAX_MESSAGE, WireError
from ..feeds.subscriptions import FeedSubscriptions
from ..io.clock import SystemClock
from ..io.descriptors import Descriptors, raise_limit
from ..io.final_frame_socket import FinalFrameSocket
from ..io.follower_socket import FollowerSocket
from ..io.identity import (
    keys_of,
    mark_worker,
    public_of,
    use_client_keys,
    use_server_keys,
)
from ..io.lease import Lease
from ..io.listening_sockets import WorkerSockets
from ..io.precise_loop import Reactor, Waker, no_alarm
from ..io.zmq_channel import SupervisorConnection, ZmqChannel
from ..journal.directory import JournalDirectory
from .exit_deadline import ExitDeadline
from .interfaces import Listener

__all__ = ["SUPERVISOR", "SupervisedRuntime"]

SUPERVISOR = "supervisor.sock"
"""The supervisor's socket in the home's `run/`."""

_LINGER_MS = 500
_TASKS_WITHIN = 2.0
"""How long a process that ends waits for each thread of the bot, in seconds."""
_LOOK_EVERY = 1_000_000_000
"""How often the worker checks that its files still exist, ns."""


_AT_ONCE = 64
_ROUNDS = 4
"""So many messages of workers are received before turns, or anything else, get their time; what is left comes next."""


class SupervisorLinkError(NeverblinkError):
    """This worker's sockets cannot be made."""


class SupervisedRuntime:
    """The runtime of the worker that `me` describes; see `Runtime` and `WorkerIO` for the methods.

    `reported()` is called with each report to the supervisor, a few times a second. `sockets` are the bot's listening
    sockets.

    Raises what `Lease`, `Waker` and `endpoint` raise, and `SupervisorLinkError` when its socket can't be made or it
    has no keys.
    """

    def __init__(
        self,
        me: Assignment,
        reported: Callable[[], None] | None = None,
        sockets: WorkerSockets | None = None,
    ) -> None:
        raise_limit(me.descriptors)
        self._keys = keys_of(me)
        self._reserve = Descriptors()
        self.sockets = sockets or WorkerSockets()
        self.sockets.spare = self._reserve.spare
        self.clock = SystemClock()
        # First: a supervisor that searches for this process must see the mark before it sees the lease.
        self._mark = mark_worker(me.home_key, me.home_id)
        self.lease = Lease(me.lease)
        self.journal = JournalDirectory(Path(me.journal), me.durability)
        self.final_frames = FinalFrameSocket(me.worker, self._path, self._reserve.spare)
        self._me = me
        self._directory = -1
        self._waker = Waker()
        self.wake = self._waker.wake
        self.ring_at: Callable[[int, int], None] = no_alarm
        self._context = zmq.Context[zmq.Socket[bytes]](1)
        # A second process under this worker's name must not conflict with it, so the identity is the process's.
        self._supervisor = self._channel(zmq.DEALER, LINK_LIMIT, f"{me.worker}.{os.urandom(8).hex()}")
        use_client_keys(self._supervisor.socket, self._keys.own, self._keys.supervisor)
        self._connection = SupervisorConnection(self._supervisor.socket, self._connected)
        self._supervisor.connect(self._address(SUPERVISOR))
        self._look_at = 0
        self._followers = self._channel(zmq.ROUTER, MAX_MESSAGE, me.worker)
        use_server_keys(self._followers.socket, self._keys.leader(me.worker))
        self.descriptors = self._bind(me.worker)
        self._feeds = FeedSubscriptions(
            me.worker, me.feeds, me.run, lambda feed: feed_key(self._keys.links, feed), self._path
        )
        self._leader: ZmqChannel | None = None
        self._deaths = False
        """A watched process may have ended."""
        self._final_frames_fd = -1
        """The final-frame socket's descriptor, while it is in the event loop."""
        self._watched: dict[str, int] = {}
        self._listener: Listener | None = None
        self._reactor: Reactor | None = None
        self._on_input: Callable[[], None] = _nothing
        self._reported = reported or _nothing
        self._deadline = ExitDeadline(EXIT_GRACE, self._remove_socket)

    # --- as the engine's `WorkerIO` ---------------------------------------------------------------------------------

    def tell(self, message: WorkerMessage) -> None:
        self._supervisor.send(worker_codec.encode(message))
        if isinstance(message, Report):
            self._reported()
            self._attend_feeds()
            if self.clock.mono() >= self._look_at:
                self._look_at = self.clock.mono() + _LOOK_EVERY
                self._look_after_files()

    def connect(self, leader: str) -> None:
        self._disconnect()
        self._leader = self._channel(zmq.DEALER, MAX_MESSAGE, self._me.worker)
        use_client_keys(self._leader.socket, self._keys.own, public_of(self._keys.leader(leader)))
        self._leader.connect(self._address(f"{leader}.sock"))
        self._listen(self._leader)

    def to_leader(self, message: FollowerMessage) -> None:
        if self._leader is not None:
            self._leader.send(follower_codec.encode(message))

    def to_follower(self, worker: str, data: bytes) -> bool:
        return self._followers.send_to(worker.encode(), data)

    def watch(self, worker: str, pid: int) -> None:
        self._unwatch(worker)
        try:
            with self._reserve.spare():
                fd = os.pidfd_open(pid)
        except OSError:
            self._watched[worker] = -1
            self._deaths = True
            self.wake()
            return
        self._watched[worker] = fd
        if self._reactor is not None:
            self._reactor.add_reader(fd, self._on_death)

    def expect_exit(self, status: int) -> None:
        self._deadline.arm(status)

    def exit_if(self, acting: Callable[[], object]) -> None:
        self._deadline.arm_early(acting)

    def collect_garbage(self) -> None:
        gc.collect()
        # Objects loaded so far stay for the whole run: later collections need not visit them.
        gc.freeze()

    # --- for the driver of the engine -------------------------------------------------------------------------------

    def open(
        self,
        reactor: Reactor,
        listener: Listener,
        on_input: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> None:
        self._reactor, self._listener, self._on_input = reactor, listener, on_input
        self.descriptors.in_turn = lambda: listener.in_turn
        self.ring_at = self._waker.open(reactor, on_input, self._receive, before_alarm)
        self._listen(self._supervisor)
        self._listen(self._followers)
        reactor.add_reader(self._connection.fd, self._on_connection)
        # Messages that arrived earlier have used up their signal.
        self.look()

    def look(self) -> bool:
        leader = self._leader
        if self._feeds.waiting:
            self._feeds.look()
        if not (
            self._supervisor.maybe_readable
            or self._followers.maybe_readable
            or (leader is not None and leader.maybe_readable)
            or self._deaths
            or self._connection.maybe_readable
            or self.final_frames.expected
        ):
            # The usual case in a tick.
            return False
        came = self._take()
        if self._deaths:
            came = True
            self._look_for_deaths()
        self._check_rejection()
        while self.final_frames.expected:
            came = True
            self._watch_final_frames()
        return came

    def close(self) -> None:
        # If a thread of the bot still acts, the kernel frees the lease at the end of the process.
        acting = self._listener is not None and self._listener.end_tasks(_TASKS_WITHIN)
        reactor = self._reactor
        if reactor is not None:
            reactor.remove_reader(self._connection.fd)
        self._connection.close()
        channels = [self._supervisor, self._followers]
        if self._leader is not None:
            channels.append(self._leader)
        self._feeds.close()
        for channel in channels:
            if reactor is not None:
                reactor.remove_reader(channel.fileno())
            channel.close(_LINGER_MS)
        for worker in list(self._watched):
            self._unwatch(worker)
        self._forget_final_frames()
        self.final_frames.close()
        self._reactor = None
        self._waker.close()
        self._context.term()
        self._remove_socket()
        self.sockets.close()
        self._reserve.close()
        if self._directory >= 0:
            os.close(self._directory)
        try:
            self.journal.close()
        finally:
            if not acting:
                self.lease.close()
            if self._mark is not None:
                self._mark.close()

    def _look_after_files(self) -> None:
        """Make removed files again: the socket for the followers, the lease for the next leader."""
        with suppress(OSError):
            self.lease.restore()
        before = os.umask(0o177)
        try:
            self._renew_directory()
            self.descriptors.restore()
        except (OSError, zmq.ZMQError):
            # A supervisor makes the directory again: check again soon.
            pass
        finally:
            os.umask(before)

    def _renew_directory(self) -> None:
        """Open the directory of the sockets again, which may have been removed and made again."""
        if self._directory >= 0:
            fresh = os.open(self._me.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            # Under the same number: ZeroMQ reconnects to the same path.
            os.dup2(fresh, self._directory, inheritable=False)
            os.close(fresh)

    def _attend_feeds(self) -> None:
        """Subscribe to the feeds as soon as the bot's position in them is known, and again where a connection ended."""
        reactor, listener = self._reactor, self._listener
        queues = listener.feeds if listener is not None else None
        if reactor is not None and queues is not None:
            self._feeds.open(reactor, queues, self._on_input)
            self._feeds.attend()

    # --- sockets ----------------------------------------------------------------------------------------------------

    def _remove_socket(self) -> None:
        # ZeroMQ does not remove the file.
        for name in (f"{self._me.worker}.sock", f"{self._me.worker}.hidden.sock"):
            Path(self._me.run, name).unlink(missing_ok=True)

    def _channel(self, kind: int, largest: int, identity: str) -> ZmqChannel:
        return ZmqChannel(self._context, kind, identity.encode(), largest)

    def _bind(self, worker: str) -> FollowerSocket:
        name = f"{worker}.sock"
        address = self._address(name)
        if _in_use(address):
            # ZeroMQ would replace that process's socket.
            raise SupervisorLinkError(
                f"worker {self._me.worker} runs already: another process listens on {name} in {self._me.run}"
            )
        # ZeroMQ leaves the socket's mode to the umask, which the whole process shares; no code of the bot runs yet.
        before = os.umask(0o177)
        try:
            return FollowerSocket(
                self._followers, self._path(name), self._path(f"{worker}.hidden.sock"), self._reserve
            )
        except (OSError, zmq.ZMQError) as problem:
            raise SupervisorLinkError(
                f"socket {name} in {self._me.run} can't be made: {problem.strerror}"
            ) from None
        finally:
            os.umask(before)

    def _address(self, name: str) -> str:
        return endpoint(self._me.run, name, self._open_directory)

    def _path(self, name: str) -> str:
        """The path of a socket of that name, short enough to be bound."""
        return self._address(name).removeprefix("ipc://")

    def _open_directory(self, directory: str) -> int:
        if self._directory < 0:
            try:
                self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as problem:
                raise SupervisorLinkError(
                    f"socket directory {directory}: {problem.strerror}: is this worker's home gone?"
                ) from None
        return self._directory

    def _listen(self, channel: ZmqChannel) -> None:
        if self._reactor is None:
            return

        def on_ring() -> None:
            channel.on_readable()
            self._receive()

        self._reactor.add_reader(channel.fileno(), on_ring)

    def _disconnect(self) -> None:
        if self._leader is not None:
            if self._reactor is not None:
                self._reactor.remove_reader(self._leader.fileno())
            self._leader.close(_LINGER_MS)
            self._leader = None
        self._forget_final_frames()

    def _receive(self) -> None:
        self.look()
        self._on_input()

    def _take(self) -> bool:
        came = False
        for _ in range(_ROUNDS):
            if not (self._take_orders() | self._take_followers() | self._take_leader()):
                break
            came = True
        return came

    def _take_orders(self) -> bool:
        channel, listener = self._supervisor, self._listener
        found = False
        while listener is not None and (body := channel.receive()) is not None:
            found = True
            self._connection.admitted()
            with suppress(WireError):
                message = supervisor_codec.decode(body)
                if isinstance(message, Identify):
                    # A new supervisor. Before the report: once all workers have reported, it may start others.
                    self.sockets.lend(self._me.worker, self._path(LISTEN_SOCKET))
                listener.ordered(message)
        return found

    def _take_followers(self) -> bool:
        channel, listener = self._followers, self._listener
        found = False
        for _ in range(_AT_ONCE):
            if listener is None or (parts := channel.receive_from()) is None:
                break
            found = True
            with suppress(WireError, ValueError):
                worker, body = parts
                self.descriptors.arrived()
                listener.from_follower(worker.decode("ascii"), follower_codec.decode(body))
        return found

    def _take_leader(self) -> bool:
        listener = self._listener
        found = False
        for _ in range(_AT_ONCE):
            # The channel may change meanwhile: a message can lead to another leader.
            channel = self._leader
            if listener is None or channel is None or (body := channel.receive()) is None:
                break
            found = True
            with suppress(WireError):
                listener.from_leader(leader_codec.decode(body))
        return found

    def _watch_final_frames(self) -> None:
        """Watch for the final frame, and receive what has arrived meanwhile."""
        channels = [self._supervisor] if self._leader is None else [self._supervisor, self._leader]
        data = self.final_frames.wait(channel.fileno() for channel in channels)
        if data:
            self._take_final_frames(data)
            return
        if data is not None:
            for channel in channels:
                channel.on_readable()
            self._take()
            return
        fd = self.final_frames.fileno()
        if self._reactor is not None and fd != self._final_frames_fd:
            # It may arrive later, too.
            self._reactor.add_reader(fd, self._on_final_frames)
            self._final_frames_fd = fd

    def _on_final_frames(self) -> None:
        self._take_final_frames(self.final_frames.receive())
        self._receive()

    def _take_final_frames(self, data: bytes | None) -> None:
        if data and self._listener is not None:
            with suppress(WireError):
                self._listener.from_leader(leader_codec.decode(data))

    def _forget_final_frames(self) -> None:
        if self._reactor is not None and self._final_frames_fd >= 0:
            self._reactor.remove_reader(self._final_frames_fd)
        self._final_frames_fd = -1
        self.final_frames.forget()

    def _check_rejection(self) -> None:
        if self._connection.maybe_readable and self._listener is not None and self._connection.look():
            self._listener.ordered(
                Rejected(
                    f"the supervisor in {self._me.run} rejects worker {self._me.worker}: its keys are of "
                    "another run, or of another home"
                )
            )

    def _on_connection(self) -> None:
        self._connection.on_readable()
        self._receive()

    def _connected(self, there: bool) -> None:
        self.descriptors.connection(there)

    # --- time, deaths, and being woken ------------------------------------------------------------------------------

    def _on_death(self) -> None:
        self._deaths = True
        self._receive()

    def _look_for_deaths(self) -> None:
        self._deaths = False
        # First receive its last messages: one may be the final frame.
        for worker, fd in list(self._watched.items()):
            if fd < 0 or _ended(fd):
                self._unwatch(worker)
                if self._listener is not None:
                    self._listener.died(worker)

    def _unwatch(self, worker: str) -> None:
        fd = self._watched.pop(worker, -1)
        if fd >= 0:
            if self._reactor is not None:
                self._reactor.remove_reader(fd)
            os.close(fd)


def _nothing() -> None:
    """The callback before one is set."""


def _in_use(address: str) -> bool:
    with UnixSocket(AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.removeprefix("ipc://"))
        except BlockingIOError:
            # The socket exists, and its process is busy.
            return True
        except OSError:
            return False
        return True


def _ended(pidfd: int) -> bool:
    # Readable from its death on, also before it is reaped.
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
