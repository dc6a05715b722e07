"""The switchboard: the socket all workers are connected to.

A worker introduces itself with `Hello` and is known from then on; whoever speaks without that is asked to. What comes
is untrusted: garbage is counted and dropped, and can't do more than that. A worker that can't be one of ours (another
protocol, another bot, another process under a worker's name) is told why and leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from ..protocol.link import (
    LINK_LIMIT,
    Failed,
    Hello,
    Identify,
    Rejected,
    SupervisorMessage,
    Welcome,
    WorkerMessage,
    supervisor_codec,
    worker_codec,
)
from ..protocol.versions import ProtocolMismatch, negotiate
from ..protocol.wire import WireError
from .postbox import Postbox

__all__ = ["SOCKET", "Switchboard"]

SOCKET = "supervisor.sock"
"""The name of the socket in the home's `run/`, known to workers."""

_QUEUE = 1000
_ASK_EVERY = 0.2
"""Seconds."""


class Switchboard:
    """Binds `endpoint` and calls `hear(worker, message)` for every message of a worker that has introduced itself.

    `admit(hello)` says why this cannot be one of our workers, "" when it can. `puzzled(what)` is told the first time
    that something odd arrives. Raises zmq.ZMQError when the endpoint can't be bound.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        bot: str,
        admit: Callable[[Hello], str],
        hear: Callable[[str, WorkerMessage], None],
        puzzled: Callable[[str], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._bot = bot
        self._admit = admit
        self._hear = hear
        self._puzzled = puzzled
        self._introduced: set[str] = set()
        self._asked: dict[str, float] = {}
        """Who was asked to introduce itself, and when."""
        self.garbage = 0
        """Messages that were none, so far."""
        self._now = (loop or asyncio.get_running_loop()).time
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, LINK_LIMIT)
        # Unknown peers are an answer (False), and a worker that reconnects displaces its own dead connection.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError:
            socket.close(0)
            raise
        self._box = Postbox(socket, self._received, loop)

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        """Send to a worker; False when it is not connected."""
        return self._box.send([worker.encode(), supervisor_codec.encode(message)])

    def drain(self) -> None:
        """Take in what has arrived: what a worker said before it ended should be known before its end is."""
        self._box.drain()

    def forget(self, worker: str) -> None:
        """The worker's process has ended."""
        self._introduced.discard(worker)
        self._asked.pop(worker, None)

    def close(self, linger: int = 0) -> None:
        self._box.close(linger)

    def _received(self, frames: list[bytes]) -> None:
        try:
            identity, body = frames
            worker = identity.decode("ascii")
            message = worker_codec.decode(body)
        except (ValueError, WireError) as problem:
            self.garbage += 1
            if self.garbage == 1:
                self._puzzled(f"dropped a message on the workers' socket that is none ({problem})")
            return
        if isinstance(message, Hello):
            self._meet(worker, message)
        elif worker in self._introduced:
            self._hear(worker, message)
        else:
            self._ask(worker)

    def _ask(self, worker: str) -> None:
        """Ask who it is. Once for all that has queued up in a worker whose supervisor was away."""
        now = self._now()
        if now - self._asked.get(worker, -_ASK_EVERY) >= _ASK_EVERY:
            self._asked[worker] = now
            self.send(worker, Identify())

    def _meet(self, worker: str, hello: Hello) -> None:
        problem = self._problem(worker, hello)
        if problem:
            self._puzzled(f"turned worker {worker} (pid {hello.pid}) away: {problem}")
            self.send(worker, Rejected(problem))
            return
        try:
            version = negotiate(f"worker {worker}", hello.protocol)
        except ProtocolMismatch as mismatch:
            self.send(worker, Rejected(mismatch.message))
            # One of ours, that is of no use: as if it had said so itself.
            self._hear(worker, Failed("protocol", mismatch.message, ""))
            return
        self._introduced.add(worker)
        self._asked.pop(worker, None)
        self.send(worker, Welcome(version))
        self._hear(worker, hello)

    def _problem(self, worker: str, hello: Hello) -> str:
        if hello.worker != worker:
            return f"it connected as {worker!r} and calls itself {hello.worker!r}"
        if hello.bot != self._bot:
            return f"it runs bot {hello.bot!r}, this supervisor runs {self._bot!r}: use another home"
        return self._admit(hello)
