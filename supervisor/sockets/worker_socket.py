"""The socket that all workers are connected to.

A worker is authenticated by its keys and introduces itself with `Hello`. A worker that sends anything else first is
asked to introduce itself. The handshake proves which key it has, and the kernel reports which process it is, so a
stolen secret does not work in another process. A worker that cannot belong to this bot (another protocol, another
bot, another process under a worker's name) is rejected with the reason and exits. It never disturbs the worker whose
name it used, since each process has its own identity on this socket. The input is untrusted all the same: an
undecodable message is counted and dropped.
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
from ...protocol.wire import ProtocolMismatch, WireError, negotiate
from .authentication import HandshakeMonitor, Peer, ZapHandler
from .worker_keys import WorkerKeys
from .zmq_socket import EncryptedSocket

__all__ = ["SOCKET", "WorkerSocket"]

SOCKET = "supervisor.sock"
"""The name of the socket in the home's `run/`, known to workers."""

_QUEUE = 1000
_DOMAIN = "workers"
_ASK_EVERY = 0.2
"""Seconds."""


class WorkerSocket:
    """Binds its socket with `bind`, and calls `on_message(worker, message)` for every message of a known worker.

    `reject_reason(hello)` returns why the sender cannot be one of our workers, "" when it can. Calls `warn(text)` the
    first time that something unexpected arrives. Raises what `bind` raises.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bind: Callable[[zmq.Socket[bytes]], object],
        *,
        worker_keys: WorkerKeys,
        bot: str,
        reject_reason: Callable[[Hello], str],
        on_message: Callable[[str, WorkerMessage], None],
        warn: Callable[[str], None],
    ) -> None:
        self._bot = bot
        self._reject_reason = reject_reason
        self._on_message = on_message
        self._warn = warn
        self._worker_keys = worker_keys
        self._known: dict[bytes, str] = {}
        """The workers by the identities of their connections; `_identities` is the inverse."""
        self._identities: dict[str, bytes] = {}
        self._hello_asked_at: dict[bytes, float] = {}
        """The connections that were asked to introduce themselves, and when."""
        self.garbage = 0
        """How many undecodable messages arrived."""
        self._now = asyncio.get_running_loop().time
        self._zap_handler = ZapHandler(context)
        self._zap_handler.open(_DOMAIN, _name_of)
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, worker_keys.supervisor)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, LINK_LIMIT)
        # Sending to an unknown peer returns False, and a worker that reconnects replaces its own dead connection.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        try:
            bind(socket)
        except BaseException:
            socket.close(0)
            self._zap_handler.close()
            raise
        self._handshakes = HandshakeMonitor(socket, "the workers' socket", warn)
        self._socket = EncryptedSocket(socket, self._received)

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        """Send to a worker; False when it is not connected."""
        identity = self._identities.get(worker)
        return identity is not None and self._answer(identity, message)

    def drain(self) -> None:
        """Read what has arrived: a worker's last messages must be handled before its end."""
        self._socket.drain()

    def forget(self, worker: str) -> None:
        """The worker's process has ended."""
        identity = self._identities.pop(worker, None)
        if identity is not None:
            del self._known[identity]
            self._hello_asked_at.pop(identity, None)

    def close(self, linger: int = 0) -> None:
        self._handshakes.close()
        self._socket.close(linger)
        self._zap_handler.close()

    def _answer(self, identity: bytes, message: SupervisorMessage) -> bool:
        return self._socket.send([identity, supervisor_codec.encode(message)])

    def _received(self, frames: list[bytes], name: str) -> None:
        try:
            identity, body = frames
            message = worker_codec.decode(body)
        except (ValueError, WireError) as problem:
            self.garbage += 1
            if self.garbage == 1:
                self._warn(f"dropped an undecodable message on the workers' socket ({problem})")
            return
        if isinstance(message, Hello):
            self._meet(identity, name, message)
        elif (worker := self._known.get(identity)) is not None:
            self._on_message(worker, message)
        else:
            self._ask(identity)

    def _ask(self, identity: bytes) -> None:
        """Ask a connection to introduce itself, once for all messages queued while no supervisor ran."""
        now = self._now()
        if now - self._hello_asked_at.get(identity, -_ASK_EVERY) >= _ASK_EVERY:
            self._hello_asked_at[identity] = now
            self._answer(identity, Identify())

    def _meet(self, identity: bytes, name: str, hello: Hello) -> None:
        worker = hello.worker
        problem = self._problem(name, hello)
        if problem:
            self._warn(f"turned worker {worker} (pid {hello.pid}) away: {problem}")
            self._answer(identity, Rejected(problem))
            return
        try:
            version = negotiate(f"worker {worker}", hello.protocol)
        except ProtocolMismatch as mismatch:
            self._answer(identity, Rejected(mismatch.message))
            # It is one of ours and cannot be used: handle it as if it had reported the failure.
            self._on_message(worker, Failed("protocol", mismatch.message, ""))
            return
        self.forget(worker)
        self._known[identity] = worker
        self._identities[worker] = identity
        self._hello_asked_at.pop(identity, None)
        self._answer(identity, Welcome(version))
        self._on_message(worker, hello)

    def _problem(self, name: str, hello: Hello) -> str:
        if hello.bot != self._bot:
            return f"it runs bot {hello.bot!r}, this supervisor runs {self._bot!r}: use another home"
        problem = self._reject_reason(hello)
        if problem:
            return problem
        key, pid = name.split(" ")
        if key != self._worker_keys.public(hello.worker).hex():
            return f"its secret is not the one that worker {hello.worker!r} was started with"
        if pid not in ("0", str(hello.pid)):
            return f"it calls itself pid {hello.pid}, and is pid {pid}"
        return ""


def _name_of(peer: Peer) -> str:
    """The name of an accepted peer: its key and its pid."""
    return f"{peer.key.hex()} {peer.pid}"
