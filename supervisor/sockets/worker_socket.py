"""The switchboard: the socket all workers are connected to.

A worker is let in by its keys, introduces itself with `Hello`, and is known from then on; whoever speaks before it did
is asked to. Two things are not its word alone: which key it has is proven by the handshake, and which process it is by
the kernel, so a secret that got into other hands is of no use there. A worker that can't be one of ours (another
protocol, another bot, another process under a worker's name) is told why and leaves; it never was in the way of the one
whose name it used, since each process has an identity of its own on this socket. What comes is untrusted all the same:
garbage is counted and dropped, and can't do more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from ...protocol.link import (
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
from ...protocol.versions import ProtocolMismatch, negotiate
from ...protocol.wire import WireError
from .handshake_monitor import HandshakeMonitor
from .worker_keys import WorkerKeys
from .zap import Peer, ZapHandler
from .zmq_socket import EncryptedSocket

__all__ = ["SOCKET", "WorkerSocket"]

SOCKET = "supervisor.sock"
"""The name of the socket in the home's `run/`, known to workers."""

_QUEUE = 1000
_DOMAIN = "workers"
_ASK_EVERY = 0.2
"""Seconds."""


class WorkerSocket:
    """Has `bind` bind its socket, and calls `hear(worker, message)` for every message of a worker that is known.

    `admit(hello)` says why this cannot be one of our workers, "" when it can. `puzzled(what)` is told the first time
    that something odd arrives. Raises what `bind` raises.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bind: Callable[[zmq.Socket[bytes]], object],
        *,
        gate: ZapHandler,
        worker_keys: WorkerKeys,
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
        self._worker_keys = worker_keys
        self._known: dict[bytes, str] = {}
        """The workers by the identities of their connections, and the other way round."""
        self._identities: dict[str, bytes] = {}
        self._asked: dict[bytes, float] = {}
        """Who was asked to introduce itself, and when."""
        self.garbage = 0
        """Messages that were none, so far."""
        self._now = (loop or asyncio.get_running_loop()).time
        gate.open(_DOMAIN, _name_of)
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, worker_keys.supervisor)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, LINK_LIMIT)
        # Unknown peers are an answer (False), and a worker that reconnects displaces its own dead connection.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        try:
            bind(socket)
        except BaseException:
            socket.close(0)
            raise
        self._handshakes = HandshakeMonitor(socket, "the workers' socket", puzzled, loop)
        self._box = EncryptedSocket(socket, self._received, loop)

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        """Send to a worker; False when it is not connected."""
        identity = self._identities.get(worker)
        return identity is not None and self._answer(identity, message)

    def drain(self) -> None:
        """Take in what has arrived: what a worker said before it ended should be known before its end is."""
        self._box.drain()

    def forget(self, worker: str) -> None:
        """The worker's process has ended."""
        identity = self._identities.pop(worker, None)
        if identity is not None:
            del self._known[identity]
            self._asked.pop(identity, None)

    def close(self, linger: int = 0) -> None:
        self._handshakes.close()
        self._box.close(linger)

    def _answer(self, identity: bytes, message: SupervisorMessage) -> bool:
        return self._box.send([identity, supervisor_codec.encode(message)])

    def _received(self, frames: list[bytes], name: str) -> None:
        try:
            identity, body = frames
            message = worker_codec.decode(body)
        except (ValueError, WireError) as problem:
            self.garbage += 1
            if self.garbage == 1:
                self._puzzled(f"dropped a message on the workers' socket that is none ({problem})")
            return
        if isinstance(message, Hello):
            self._meet(identity, name, message)
        elif (worker := self._known.get(identity)) is not None:
            self._hear(worker, message)
        else:
            self._ask(identity)

    def _ask(self, identity: bytes) -> None:
        """Ask who it is. Once for all that has queued up in a worker whose supervisor was away."""
        now = self._now()
        if now - self._asked.get(identity, -_ASK_EVERY) >= _ASK_EVERY:
            self._asked[identity] = now
            self._answer(identity, Identify())

    def _meet(self, identity: bytes, name: str, hello: Hello) -> None:
        worker = hello.worker
        problem = self._problem(name, hello)
        if problem:
            self._puzzled(f"turned worker {worker} (pid {hello.pid}) away: {problem}")
            self._answer(identity, Rejected(problem))
            return
        try:
            version = negotiate(f"worker {worker}", hello.protocol)
        except ProtocolMismatch as mismatch:
            self._answer(identity, Rejected(mismatch.message))
            # One of ours, that is of no use: as if it had said so itself.
            self._hear(worker, Failed("protocol", mismatch.message, ""))
            return
        self.forget(worker)
        self._known[identity] = worker
        self._identities[worker] = identity
        self._asked.pop(identity, None)
        self._answer(identity, Welcome(version))
        self._hear(worker, hello)

    def _problem(self, name: str, hello: Hello) -> str:
        if hello.bot != self._bot:
            return f"it runs bot {hello.bot!r}, this supervisor runs {self._bot!r}: use another home"
        problem = self._admit(hello)
        if problem:
            return problem
        key, pid = name.split(" ")
        if key != self._worker_keys.public(hello.worker).hex():
            return f"its secret is not the one that worker {hello.worker!r} was started with"
        if pid not in ("0", str(hello.pid)):
            return f"it calls itself pid {hello.pid}, and is pid {pid}"
        return ""


def _name_of(visitor: Peer) -> str:
    """Under which name a visitor is let in. Who has come this far was told the key of this socket by a supervisor."""
    return f"{visitor.key.hex()} {visitor.pid}"
